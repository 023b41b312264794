// One request at a time: memory, handles, and a CUDA graph per slot and batch size.
#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/kernels/launch.hpp"
#include "gpu/cuda/objects.hpp"

namespace splitcnn::inline v0::gpu {

using namespace cuda;

GpuContext::GpuContext(GpuSegment* owner, std::uint32_t n_slots, std::uint32_t most)
    : segment{owner},
      max_batch{most},
      main{make_stream()},
      side{make_stream()},
      fork{make_event()},
      join{make_event()},
      handles{make_dnn_handle(), make_dnn_handle()},
      slots(n_slots) {
  check(cudnnSetStream(handles[0].get(), main.get()), "cuDNN does not take a stream");
  check(cudnnSetStream(handles[1].get(), side.get()), "cuDNN does not take a stream");
  std::int64_t largest[2] = {0, 0};
  for (const std::uint32_t batch : tail_batches) {
    if (batch > max_batch) break;
    const BatchPlan& plan = segment->plan(batch);
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
      std::int64_t& need = largest[segment->ops[i].lane];
      need = std::max(need, plan.layers[i].workspace());
    }
  }
  for (std::size_t lane = 0; lane < 2; ++lane)
    workspace[lane] = DeviceMemory{static_cast<std::uint64_t>(largest[lane])};
  arena = DeviceMemory{segment->view.arena_bytes * max_batch};
  // Groups: their steps have addresses in them, so there is one set a batch size.
  for (const std::uint32_t batch : tail_batches) {
    if (batch > max_batch) break;
    for (const TailGroup& g : segment->groups) {
      const GroupPlan plan = make_group(segment->view, g, batch, memory({}));
      Group& group = groups[batch].emplace_back();
      group.n_steps = static_cast<std::int32_t>(plan.steps.size());
      group.shared_bytes = plan.shared_bytes;
      const std::uint64_t bytes = plan.steps.size() * sizeof(GroupStep);
      group.steps = DeviceMemory{bytes};
      if (bytes != 0)
        check(cudaMemcpy(group.steps.data(), plan.steps.data(), bytes, cudaMemcpyHostToDevice),
              "a group cannot be uploaded");
    }
  }
}

ProgramMemory GpuContext::memory(const Slot& slot) const {
  return {arena.data(), segment->weights.data(), segment->host_weights.data(), slot.inputs.data(),
          slot.outputs.data()};
}

void GpuContext::bind(std::uint32_t index, void* const* in, void* const* out) {
  if (index >= slots.size())
    throw Refusal{GpuCode::bad_argument,
                  fmt::format("slot {}: there are {}; count from 0", index, slots.size())};
  Slot& slot = slots[index];
  slot.inputs.assign(in, in + segment->inputs.size());
  slot.outputs.assign(out, out + segment->outputs.size());
  slot.graphs.clear();  // they have the old addresses in them
}

void GpuContext::prepare(std::uint32_t index, std::uint32_t frames) {
  if (index >= slots.size() || slots[index].inputs.size() != segment->inputs.size())
    throw Refusal{GpuCode::bad_argument,
                  fmt::format("slot {}: is not bound; call context_bind first", index)};
  if (frames == 0 || frames > max_batch || padded_batch(frames) != frames)
    throw Refusal{GpuCode::bad_argument,
                  fmt::format("a batch of {}: take a prepared size up to {}", frames, max_batch)};
  Slot& slot = slots[index];
  if (slot.graphs.count(frames) != 0) return;
  // Once for real: modules load at their first launch, which must not happen inside a capture.
  enqueue(slot, frames);
  check(cudaStreamSynchronize(main.get()), "the first run of a segment fails");
  check(cudaStreamBeginCapture(main.get(), cudaStreamCaptureModeThreadLocal), "a stream cannot be captured");
  cudaGraph_t raw = nullptr;
  try {
    enqueue(slot, frames);
  } catch (...) {
    cudaStreamEndCapture(main.get(), &raw);
    const Graph dropped{raw};
    throw;
  }
  check(cudaStreamEndCapture(main.get(), &raw), "the capture of a segment fails");
  const Graph graph{raw};
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, graph.get(), 0), "a captured segment cannot be made ready");
  GraphExec owned{exec};
  check(cudaGraphUpload(exec, main.get()), "a captured segment cannot be uploaded");
  check(cudaStreamSynchronize(main.get()), "a captured segment cannot be uploaded");
  slot.graphs.emplace(frames, std::move(owned));
}

void GpuContext::run(std::uint32_t index, std::uint32_t frames, cudaStream_t stream) {
  const auto ready = [&]() -> cudaGraphExec_t {
    if (index >= slots.size()) return nullptr;
    const auto found = slots[index].graphs.find(frames);
    return found == slots[index].graphs.end() ? nullptr : found->second.get();
  };
  if (!ready()) prepare(index, frames);
  check(cudaGraphLaunch(ready(), stream), "a segment cannot be started");
}

void GpuContext::enqueue(const Slot& slot, std::uint32_t frames) {
  const ProgramMemory at = memory(slot);
  const BatchPlan& plan = segment->plan(frames);
  const auto found = groups.find(frames);
  for (std::uint64_t i = 0, g = 0; i < segment->ops.size(); ++i) {
    const bool begins = g < segment->groups.size() && segment->groups[g].first == i;
    if (begins) {
      const Group& group = found->second[g];
      const std::uint32_t last = segment->groups[g++].last;
      if (group.n_steps != 0) {
        check(launch_group({reinterpret_cast<const GroupStep*>(group.steps.data()), group.n_steps}, frames,
                           group.shared_bytes, main.get()),
              "a group of layers cannot be started");
        i = last - 1;
        continue;
      }
    }
    const TailOp& op = segment->ops[i];
    if (op.wait >= 0) {  // of the other lane; what it has enqueued since does no harm
      const Event& event = op.lane == 1 ? fork : join;
      check(cudaEventRecord(event.get(), lane(1 - op.lane)), "two streams cannot be joined");
      check(cudaStreamWaitEvent(lane(op.lane), event.get(), 0), "two streams cannot be joined");
    }
    enqueue_op(i, frames, at, plan.layers[i]);
  }
}

void GpuContext::enqueue_op(std::uint64_t index, std::uint32_t frames, const ProgramMemory& at,
                            const LayerPlan& layer) {
  const TailOp& op = segment->ops[index];
  const OpCall call = make_call(segment->view, index, frames, at);
  const cudaStream_t stream = lane(op.lane);
  if (const std::uint64_t bytes = clear_bytes(call); bytes != 0)
    check(cudaMemsetAsync(call.y, 0, bytes, stream), "a tensor cannot be cleared");
  if (layer.tier != Tier::own) {
    return execute(handles[op.lane].get(), layer,
                   {.x = call.x[0],
                    .weights = call.weights + op.weights,
                    .bias = call.weights + op.bias,
                    .z = op.kind == TailKind::conv ? call.x[1] : nullptr,
                    .y = call.y},
                   workspace[op.lane].data());
  }
  with_kernel(call, [&](const auto& body, std::uint32_t blocks, std::uint32_t shared) {
    check(launch(body, blocks, shared, stream), "a kernel cannot be started");
  });
}

void GpuContext::debug_run(std::uint64_t first, std::uint64_t last, std::uint32_t frames, std::int32_t tier) {
  if (first > last || last > segment->ops.size() || frames == 0 || frames > max_batch)
    throw Refusal{GpuCode::bad_argument,
                  fmt::format("ops [{}, {}) with {} frames: there are {} ops and {} frames at most", first,
                              last, frames, segment->ops.size(), max_batch)};
  if (slots.empty() || slots[0].inputs.size() != segment->inputs.size())
    throw Refusal{GpuCode::bad_argument, "slot 0: is not bound; call context_bind first"};
  const ProgramMemory at = memory(slots[0]);
  const BatchPlan& plan = segment->plan(frames);
  for (std::uint64_t i = first; i < last; ++i) {
    LayerPlan layer = plan.layers[i];
    if (tier == static_cast<std::int32_t>(Tier::own)) {
      layer = {};
    } else if (tier >= 0 && static_cast<std::int32_t>(layer.tier) != tier) {
      throw Refusal{GpuCode::unsupported, fmt::format("op {}: has no plan of tier {}", i, tier)};
    }
    enqueue_op(i, frames, at, layer);
    check(cudaStreamSynchronize(lane(segment->ops[i].lane)), "an op fails");
  }
}

}  // namespace splitcnn::inline v0::gpu
