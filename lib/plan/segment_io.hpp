#pragma once
/// What a segment's tensors look like at its edges. One rule for every kind of stage, so that neighbours always agree:
///   - graph inputs and outputs: f32 in the model's own layout. With an input transform in the plan, graph inputs are channels
///     last in the segment's own type (i8 on a DPU, f16 on a GPU, f32 on the CPU): the pipeline converts camera frames into that.
///     One that several segments read has one type: i8 when one of them is a DPU, else f16 when one is a GPU, else f32.
///   - a tensor that a DPU segment of the route writes or reads: i8 with its fix point, channels last;
///   - else, when a GPU segment writes or reads it: f16, channels last;
///   - else f32, channels last.
/// A tensor that is both (a graph output that another segment reads) crosses as the boundary representation; the stage that
/// writes it also writes the f32 graph output under its own name, and the boundary copy is called "<name>@i8" ("@f16", "@f32"; more "@" behind it
/// where the model itself has such a name).
#include <vector>

#include "core/convert.hpp"
#include "splitcnn/plan.hpp"

namespace splitcnn::inline v0 {

struct EdgeTensor {
  TensorId id = 0;
  TensorSpec spec;                ///< name, memory shape, dtype, fix_point as they cross
  Representation representation;  ///< the same for core/convert.hpp
};

struct SegmentIo {
  std::vector<EdgeTensor> inputs, outputs;
};

/// Throws bad_argument when the segment is not part of the plan. Found by address first, by value otherwise.
SegmentIo segment_io(const Plan& plan, const Segment& segment);

enum class DeviceKind : std::uint8_t { cpu, dpu, gpu };
/// By prefix: "dpu...", "gpu...", everything else is a CPU.
DeviceKind device_kind(std::string_view device) noexcept;

}  // namespace splitcnn::inline v0
