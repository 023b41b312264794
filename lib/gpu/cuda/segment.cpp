// A loaded program: copied, its weights uploaded once, its plans chosen per batch size and kept in the cache
// on disk.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "gpu/cuda/objects.hpp"
#include "gpu/cuda/plan_cache.hpp"
#include "gpu/cuda/tuner.hpp"

namespace splitcnn::inline v0::gpu {

using namespace cuda;

namespace {

PlanCache cache_of(const GpuSegment& segment, std::uint32_t batch) {
  const GpuDevice& device = *segment.device;
  PlanKey key = plan_key(*device.properties, device.cudart, device.driver);
  key.program = segment.view.hash;
  key.batch = batch;
  key.options = fmt::format("cap {} tune {} deterministic {} invariant {}", device.workspace_cap,
                            static_cast<int>(device.options.tune), device.options.deterministic,
                            device.options.batch_invariant);
  return {device.cache_directory, key};
}

bool has_choice(const TailOp& op) { return op.kind == TailKind::conv || op.kind == TailKind::fc; }

/// What the cache has for this batch; nothing unless every entry is still good.
std::optional<BatchPlan> from_cache(const GpuSegment& segment, std::uint32_t batch) try {
  const auto entries = cache_of(segment, batch).load();
  BatchPlan plan;
  plan.layers.resize(segment.ops.size());
  std::size_t expected = 0;
  for (const TailOp& op : segment.ops) expected += has_choice(op);
  if (entries.empty() || entries.size() != expected) return std::nullopt;
  const DeviceProperties& device = *segment.device->properties;
  for (const CachedPlan& e : entries) {
    if (e.op >= segment.ops.size() || !has_choice(segment.ops[e.op])) return std::nullopt;
    if (e.shape != conv_shape(segment.ops[e.op], batch).text()) return std::nullopt;
    LayerPlan& layer = plan.layers[e.op];
    layer.micros = e.micros;
    if (e.json.empty()) continue;  // our own kernel won
    if (find_erratum(errata(), static_cast<std::int64_t>(cudnnGetVersion()), device.sm(), e.traits))
      return std::nullopt;
    layer.plan = std::make_shared<const ConvPlan>(ConvPlan::from_json(e.json, e.traits, device));
    layer.tier = Tier::cached;
    if (layer.workspace() > segment.device->workspace_cap) return std::nullopt;
    ++plan.from_cache;
  }
  return plan;
} catch (const CudnnError&) {
  return std::nullopt;
}

void to_cache(const GpuSegment& segment, std::uint32_t batch, const BatchPlan& plan) {
  std::vector<CachedPlan> entries;
  for (std::size_t i = 0; i < segment.ops.size(); ++i) {
    if (!has_choice(segment.ops[i])) continue;
    const LayerPlan& layer = plan.layers[i];
    if (layer.legacy) return;  // has no representation: choose again next time
    CachedPlan e{.op = static_cast<std::uint32_t>(i),
                 .shape = conv_shape(segment.ops[i], batch).text(),
                 .tier = static_cast<int>(layer.tier),
                 .micros = layer.micros};
    if (layer.plan) {
      e.traits = layer.plan->traits();
      e.json = layer.plan->json();
    }
    entries.push_back(std::move(e));
  }
  cache_of(segment, batch).store(entries);  // a cache that cannot be written is no error
}

BatchPlan choose(GpuSegment& segment, std::uint32_t batch, const BatchPlan* first) {
  BatchPlan plan;
  plan.layers.resize(segment.ops.size());
  Tuner tuner{segment, batch};
  std::map<ConvShape, std::size_t> done;  // layers of one shape share a plan
  for (std::size_t i = 0; i < segment.ops.size(); ++i) {
    const TailOp& op = segment.ops[i];
    if (!has_choice(op)) continue;
    const auto [found, fresh] = done.try_emplace(conv_shape(op, batch), i);
    if (!fresh) {
      plan.layers[i] = plan.layers[found->second];
      continue;
    }
    const bool pinned = first && segment.device->options.batch_invariant != 0;
    const std::int64_t engine = pinned && first->layers[i].plan ? first->layers[i].plan->traits().engine : -1;
    plan.layers[i] = pinned && engine < 0 ? LayerPlan{} : tuner.choose(op, engine);
  }
  return plan;
}

}  // namespace

GpuSegment::GpuSegment(GpuDevice* owner, const TailView& program)
    : device{owner},
      tensors(program.tensors, program.tensors + program.n_tensors),
      ops(program.ops, program.ops + program.n_ops),
      inputs(program.inputs, program.inputs + program.n_inputs),
      outputs(program.outputs, program.outputs + program.n_outputs),
      groups(program.groups, program.groups + program.n_groups),
      host_weights(program.weights, program.weights + program.weights_bytes),
      view{program},
      weights{program.weights_bytes} {
  for (std::uint64_t i = 0; i < program.n_ops; ++i)
    names.emplace_back(program.node_names ? program.node_names[i] : "");
  view.tensors = tensors.data();
  view.ops = ops.data();
  view.inputs = inputs.data();
  view.outputs = outputs.data();
  view.groups = groups.data();
  view.weights = host_weights.data();
  view.node_names = nullptr;
  if (!host_weights.empty())
    check(cudaMemcpy(weights.data(), host_weights.data(), host_weights.size(), cudaMemcpyHostToDevice),
          "the weights cannot be uploaded");
}

const BatchPlan& GpuSegment::plan(std::uint32_t batch) {
  const std::lock_guard lock{mutex};
  if (const auto found = plans.find(batch); found != plans.end()) return found->second;
  auto chosen = from_cache(*this, batch);
  if (!chosen) {
    const auto first = plans.find(1);
    chosen = choose(*this, batch, first == plans.end() ? nullptr : &first->second);
    to_cache(*this, batch, *chosen);
  }
  for (const LayerPlan& layer : chosen->layers)
    chosen->workspace = std::max(chosen->workspace, layer.workspace());
  return plans.emplace(batch, std::move(*chosen)).first->second;
}

std::string GpuSegment::describe() {
  const std::lock_guard lock{mutex};
  auto batches = nlohmann::json::array();
  for (const auto& [batch, plan] : plans) {
    auto layers = nlohmann::json::array();
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (!has_choice(ops[i])) continue;
      const LayerPlan& layer = plan.layers[i];
      nlohmann::json entry{
          {"op", i}, {"node", names[i]}, {"tier", static_cast<int>(layer.tier)}, {"us", layer.micros}};
      if (layer.plan) {
        entry["engine"] = layer.plan->traits().engine;
        entry["runtime_compiled"] = layer.plan->traits().runtime_compiled;
      }
      layers.push_back(std::move(entry));
    }
    batches.push_back({{"batch", batch},
                       {"workspace", plan.workspace},
                       {"from_cache", plan.from_cache},
                       {"layers", std::move(layers)}});
  }
  return nlohmann::json{{"backend", "cudnn"},
                        {"device", device->properties->name()},
                        {"sm", device->properties->sm()},
                        {"cudnn", cudnnGetVersion()},
                        {"program", fmt::format("{:016x}", view.hash)},
                        {"ops", ops.size()},
                        {"groups", groups.size()},
                        {"weights", host_weights.size()},
                        {"arena", view.arena_bytes},
                        {"batches", std::move(batches)}}
      .dump();
}

}  // namespace splitcnn::inline v0::gpu
