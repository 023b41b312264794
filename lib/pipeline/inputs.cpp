#include "pipeline/inputs.hpp"

#include <cstring>

namespace splitcnn::inline v0 {

void check_inputs(const PipelineCore& core, InputBytes inputs) {
  const std::vector<TensorSpec>& specs = core.wiring.inputs;
  if (!core.wiring.same_inputs) {
    throw Error{Errc::mismatch,
                "push: the routes of this plan take their input in different types, so plain bytes would not "
                "fit all of "
                "them; push camera frames, or fill what acquire() gives by its spec"};
  }
  if (inputs.size() != specs.size()) {
    throw Error{Errc::mismatch, "push: " + std::to_string(inputs.size()) +
                                    " inputs given, the pipeline takes " + std::to_string(specs.size())};
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (inputs[i].size() == specs[i].bytes()) continue;
    throw Error{Errc::mismatch, "push: input " + std::to_string(i) + " '" + specs[i].name + "' has " +
                                    std::to_string(inputs[i].size()) + " bytes, " +
                                    to_string(specs[i].dtype) + ' ' + to_string(specs[i].shape) + " takes " +
                                    std::to_string(specs[i].bytes())};
  }
}

void check_float_input(const PipelineCore& core, std::span<const float> input) {
  const std::vector<TensorSpec>& specs = core.wiring.inputs;
  if (specs.size() != 1 || specs[0].dtype != DType::f32) {
    throw Error{
        Errc::mismatch,
        "push: floats given, and the pipeline does not take exactly one f32 input; push bytes, one span "
        "per input"};
  }
  const std::span<const std::byte> bytes = std::as_bytes(input);
  check_inputs(core, {&bytes, 1});
}

void copy_inputs(const PipelineCore& core, PipelineFrame& frame, InputBytes inputs) noexcept {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].empty()) std::memcpy(core.input(frame, i).data, inputs[i].data(), inputs[i].size());
  }
}

void check_camera(const PipelineCore& core) {
  if (!core.plan || !core.plan->input_transform) {
    throw Error{
        Errc::bad_argument,
        "push: a camera frame needs a plan with an input transform; set Plan::input_transform, or push "
        "tensors"};
  }
  if (core.wiring.inputs.size() != 1) {
    throw Error{Errc::bad_argument, "push: a camera frame fills one input, and the pipeline has " +
                                        std::to_string(core.wiring.inputs.size()) + "; push tensors"};
  }
}

namespace {

Status convert_for(PipelineCore& core, PipelineSource& source, PipelineFrame& frame, std::size_t route,
                   const CameraFrame& camera) {
  std::optional<FrameConverter>& converter = source.converters[route];
  const TensorView& view = frame.tensors[core.wiring.routes[route].inputs[0]];
  if (!converter) converter.emplace(*core.plan->input_transform, *view.spec);
  return (*converter)(camera, view.data);
}

}  // namespace

void convert_input(PipelineCore& core, PipelineSource& source, PipelineFrame& frame,
                   const CameraFrame& camera) {
  Status status;
  try {
    const std::lock_guard lock{source.converting};
    status = convert_for(core, source, frame, frame.route, camera);
    // Standby routes get it in their own type, so that the frame can change over at any time.
    for (std::size_t r = 0; core.has_standby() && r < core.wiring.routes.size() && status.ok(); ++r) {
      if (frame.filled >> r & 1) continue;
      status = convert_for(core, source, frame, r, camera);
      frame.filled |= core.fed_alike(r);
    }
  } catch (...) {
    core.give_back(frame);
    throw;
  }
  if (status.ok()) return;
  core.give_back(frame);
  throw Error{Errc::bad_argument, status.message};
}

}  // namespace splitcnn::inline v0
