#include "gpu/cuda/conv_plan.hpp"

#include <algorithm>

namespace splitcnn::inline v0::gpu::cuda {

namespace {

EngineTraits traits_of(const Descriptor& config) {
  const Descriptor engine{CUDNN_BACKEND_ENGINE_DESCRIPTOR};
  config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  const auto behaviour = engine.get_many<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                                     CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
  const auto numerical = engine.get_many<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                      CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  const auto has = [](const auto& notes, auto note) {
    return std::find(notes.begin(), notes.end(), note) != notes.end();
  };
  // Winograd and FFT are not here: they trade precision, too.
  return {.engine = engine.get<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX),
          .runtime_compiled = has(behaviour, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION),
          .nondeterministic = has(numerical, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC),
          .reduced_precision = has(numerical, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) ||
                               has(numerical, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) ||
                               has(numerical, CUDNN_NUMERICAL_NOTE_FFT) ||
                               has(numerical, CUDNN_NUMERICAL_NOTE_WINOGRAD),
          .needs_cublaslt = has(behaviour, CUDNN_BEHAVIOR_NOTE_CUBLASLT_DEPENDENCY)};
}

/// The heuristics' configurations, best guess first; none when the mode has nothing for this graph.
std::vector<Descriptor> configurations(const ConvGraph& graph, const DeviceProperties& device,
                                       cudnnBackendHeurMode_t mode, std::size_t most) {
  Descriptor heuristics{CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR};
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor())
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
      .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device.descriptor());
  if (heuristics.try_finalize() != CUDNN_STATUS_SUCCESS) return {};
  const auto there = static_cast<std::size_t>(std::max<std::int64_t>(
      0, heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR)));
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::size_t i = 0; i < std::min(there, most); ++i)
    raw.push_back(found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  if (raw.empty()) return {};
  std::int64_t got = 0;
  if (cudnnBackendGetAttribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                               static_cast<std::int64_t>(raw.size()), &got,
                               raw.data()) != CUDNN_STATUS_SUCCESS)
    return {};
  while (found.size() > static_cast<std::size_t>(std::max<std::int64_t>(0, got))) found.pop_back();
  return found;
}

/// Whether the filter lets it pass, counting the reason when not.
bool passes(const EngineTraits& traits, const DeviceProperties& device, const PlanFilter& filter,
            PlanCensus& census) {
  const auto refuse = [](std::size_t& counter) { return ++counter, false; };
  if (traits.runtime_compiled != filter.runtime_compiled) return refuse(census.other_kind);
  if (find_erratum(filter.errata, static_cast<std::int64_t>(cudnnGetVersion()), device.sm(), traits))
    return refuse(census.by_erratum);
  if (filter.deterministic && traits.nondeterministic) return refuse(census.not_deterministic);
  if (traits.reduced_precision) return refuse(census.reduced_precision);
  return true;
}

void add_plans(const std::vector<Descriptor>& configs, const DeviceProperties& device,
               const PlanFilter& filter, PlanCensus& census, std::vector<ConvPlan>& plans) {
  census.asked += configs.size();
  for (const Descriptor& config : configs) {
    if (plans.size() >= filter.most) return;
    const EngineTraits traits = traits_of(config);
    if (!passes(traits, device, filter, census)) continue;
    Descriptor plan{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)
        .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device.descriptor());
    if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) {
      ++census.not_finalized;
      continue;
    }
    ConvPlan built{std::move(plan), traits};
    if (built.workspace() > filter.workspace_cap) {
      ++census.too_much_workspace;
      continue;
    }
    plans.push_back(std::move(built));
  }
}

}  // namespace

ConvPlan::ConvPlan(Descriptor plan, EngineTraits traits)
    : plan_{std::move(plan)},
      traits_{traits},
      workspace_{plan_.get<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)} {}

ConvPlan ConvPlan::from_json(const std::string& json, const EngineTraits& traits,
                             const DeviceProperties& device) {
  Descriptor plan{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device.descriptor())
      .set_many(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, std::span<const char>{json})
      .finalize("a saved plan is not accepted");
  return {std::move(plan), traits};
}

std::string ConvPlan::json() const { return plan_.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION); }

std::vector<ConvPlan> find_plans(const ConvGraph& graph, const DeviceProperties& device,
                                 const PlanFilter& filter, PlanCensus* census) {
  PlanCensus own;
  PlanCensus& counts = census ? *census : own;
  constexpr std::size_t all = 64;  // the filter decides how many stay
  std::vector<ConvPlan> plans;
  add_plans(configurations(graph, device, CUDNN_HEUR_MODE_A, all), device, filter, counts, plans);
  if (plans.empty()) {
    counts.fallback = true;
    add_plans(configurations(graph, device, CUDNN_HEUR_MODE_FALLBACK, all), device, filter, counts, plans);
  }
  return plans;
}

}  // namespace splitcnn::inline v0::gpu::cuda
