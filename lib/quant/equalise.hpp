#pragma once
/// Cross-layer equalisation: scales between two convolutions that give every channel its share of the int8 range.
#include <span>
#include <vector>

#include "graph/lower.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// Multiplies what an equalised output needs and divides what an equalised input brings. Null: plain.
void scale_channels(const LoweredOp& op, const ChannelScale* in, const ChannelScale* out, std::vector<float>& weights, std::vector<float>& bias);

/// A tensor that can be equalised: written by one convolution with an activation that commutes with scaling, read by another, seen by
/// nobody else.
struct EqualisablePair {
  std::size_t writer = 0, reader = 0;  ///< indices into the lowered operations
  TensorId tensor = 0;
  TensorId observed = 0;               ///< where ranges are taken: before a clip, so that it shows whether the clip ever bites
  bool clipped = false;                ///< ReLU6
};
std::vector<EqualisablePair> find_pairs(const Graph& graph, std::span<const LoweredOp> ops);

/// `ranges[i]` holds the largest value of each channel of pairs[i].observed (magnitude; for ReLU and ReLU6 of positive values). The fix
/// points of the result are still open.
std::vector<ChannelScale> equalise(std::span<const LoweredOp> ops, std::span<const EqualisablePair> pairs,
                                   std::span<const std::vector<float>> ranges);

}  // namespace splitcnn::inline v0
