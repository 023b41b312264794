#pragma once
/// Cross-layer equalisation: scales inside groups of tensors that give every channel its share of the int8 range.
#include <cstdint>
#include <span>
#include <vector>

#include "graph/lower.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// Multiplies what an equalised output needs and divides what an equalised input brings. Null: plain.
void scale_channels(const LoweredOp& op, const ChannelScale* in, const ChannelScale* out, std::vector<float>& weights, std::vector<float>& bias);

/// The input channel of every weight.
std::vector<std::uint32_t> input_channels(const LoweredOp& op);

struct GroupTensor {
  TensorId tensor = 0;
  TensorId observed = 0;  ///< where ranges are taken: before a clip, so that it shows whether the clip ever bites
  bool clipped = false;   ///< ReLU6
  bool positive = false;  ///< only values above zero count
};

/// Tensors that must carry the same scales because adds and pools tie them together, written and read by convolutions only.
struct EqualisableGroup {
  std::vector<GroupTensor> tensors;
  std::vector<std::size_t> writers, readers;  ///< indices into the lowered operations
  NodeId first = 0, last = 0;                 ///< nodes a segment must contain for the group to be inside it
  std::size_t channels = 0;
};
std::vector<EqualisableGroup> find_groups(const Graph& graph, std::span<const LoweredOp> ops);

/// `ranges[g][i]` holds the largest value of each channel of groups[g].tensors[i].observed. One entry per tensor, sorted by tensor; the
/// fix points are still open.
std::vector<ChannelScale> equalise(std::span<const LoweredOp> ops, std::span<const EqualisableGroup> groups,
                                   std::span<const std::vector<std::vector<float>>> ranges);

}  // namespace splitcnn::inline v0
