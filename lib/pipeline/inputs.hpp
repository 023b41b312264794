#pragma once
/// What push and infer share: checking and copying a frame's inputs into its token.
#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {

using InputBytes = std::span<const std::span<const std::byte>>;

/// Throws mismatch when the inputs are not what the pipeline takes.
void check_inputs(const PipelineCore& core, InputBytes inputs);
/// The same for one f32 input.
void check_float_input(const PipelineCore& core, std::span<const float> input);
void copy_inputs(const PipelineCore& core, PipelineFrame& frame, InputBytes inputs) noexcept;

/// Throws bad_argument when the pipeline does not take camera frames.
void check_camera(const PipelineCore& core);
/// Converts with the source's converter for the frame's route. Throws what the converter reports; the token
/// is then given back.
void convert_input(PipelineCore& core, PipelineSource& source, PipelineFrame& frame,
                   const CameraFrame& camera);

}  // namespace splitcnn::inline v0
