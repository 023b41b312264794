// Where the tensors of every token lie: in memory of the pipeline's own, or where their consumer would like
// them.
#include <cstdlib>
#include <cstring>
#include <new>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

constexpr std::size_t alignment = 64;

AlignedBuffer allocate(std::size_t bytes) {
  const std::size_t rounded = (bytes / alignment + 1) * alignment;
  AlignedBuffer buffer{static_cast<std::byte*>(std::aligned_alloc(alignment, rounded))};
  if (!buffer) throw std::bad_alloc{};
  std::memset(buffer.get(), 0, rounded);
  return buffer;
}

bool host_can_write(Memory memory) { return memory == Memory::host || memory == Memory::pinned; }

}  // namespace

void AlignedFree::operator()(std::byte* p) const noexcept { std::free(p); }

void PipelineCore::make_frames() {
  frames_ = std::vector<PipelineFrame>(depth);
  for (PipelineFrame& frame : frames_) {
    frame.core = this;
    frame.tensors.resize(wiring.tensors.size());
  }
  take_offers();
  for (PipelineFrame& frame : frames_) {
    for (std::size_t t = 0; t < wiring.tensors.size(); ++t) {
      TensorView& view = frame.tensors[t];
      if (view.data) continue;
      buffers_.push_back(allocate(wiring.tensors[t].spec.bytes()));
      view = {buffers_.back().get(), &wiring.tensors[t].spec, 1, Memory::host};
    }
    free_.push_back(&frame);
  }
}

/// Zeros for the checks of stages that frames can avoid; nobody reads what comes out.
void PipelineCore::make_check_buffers() {
  for (StageNode& node : nodes_) {
    if (!node.avoidable) continue;
    for (const std::span<const TensorSpec> specs : {node.stage->inputs(), node.stage->outputs()}) {
      for (const TensorSpec& spec : specs) {
        buffers_.push_back(allocate(spec.bytes()));
        node.check_views.push_back({buffers_.back().get(), &spec, 1, Memory::host});
      }
    }
  }
}

void PipelineCore::take_offers() {
  for (std::size_t s = 0; s < nodes_.size(); ++s) {
    for (std::size_t slot = 0; slot < depth; ++slot) {
      const auto offer = nodes_[s].stage->try_input_buffers(slot);
      if (!offer) continue;
      if (offer->size() != nodes_[s].n_inputs) {
        throw Error{Errc::mismatch, "stage '" + nodes_[s].name + "': offers " +
                                        std::to_string(offer->size()) + " input buffers for a slot and has " +
                                        std::to_string(nodes_[s].n_inputs) +
                                        " inputs; try_input_buffers() must give one view per input"};
      }
      for (std::size_t i = 0; i < offer->size(); ++i) take_offer(s, slot, i, (*offer)[i]);
    }
  }
}

void PipelineCore::take_offer(std::size_t stage, std::size_t slot, std::size_t input,
                              const TensorView& view) {
  const auto tensor = only_tensor(stage, input);
  if (!tensor || !view.data) return;
  const WiredTensor& wired = wiring.tensors[*tensor];
  // A Result may be read after the stage is gone, so outputs of the pipeline never live in a stage's memory.
  if (wired.is_output || frames_[slot].tensors[*tensor].data) return;
  const bool same_device =
      wired.stage != WiredTensor::no_stage && nodes_[wired.stage].device == nodes_[stage].device;
  if (!host_can_write(view.memory) && !same_device) return;
  frames_[slot].tensors[*tensor] = {view.data, &wired.spec, 1, view.memory};
}

/// The tensor behind an input when it is the same on every route. Otherwise two tensors of one frame could
/// end up in one buffer, so such offers are not taken.
std::optional<std::size_t> PipelineCore::only_tensor(std::size_t stage, std::size_t input) const {
  std::optional<std::size_t> found;
  for (const WiredRoute& route : wiring.routes) {
    for (const Step& step : route.steps) {
      if (step.stage != stage) continue;
      if (found && *found != step.inputs[input]) return std::nullopt;
      found = step.inputs[input];
    }
  }
  return found;
}

}  // namespace splitcnn::inline v0
