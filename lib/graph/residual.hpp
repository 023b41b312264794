#pragma once
/// The residual rule: which convolution of a lowered segment takes a following add into itself, so that conv, sum and activation are
/// rounded once, as a GPU's convolution does it. The GPU builds its layers from this; the CPU in FP16-storage mode leaves
/// out the rounding between the two, so both round at the same points.
#include <cstddef>
#include <vector>

#include "graph/lower.hpp"

namespace splitcnn::inline v0 {

constexpr std::size_t no_residual = ~std::size_t{0};

/// Per op: the index of the add that a convolution is taken into, no_residual for all others. The convolution is not depthwise,
/// has no activation of its own and no other reader; both operands of the add have its shape; the add's activation is
/// none, ReLU, or a clip from 0. Of two candidates the deeper one is taken (longest way from the segment's inputs), so that a shortcut
/// convolution can run beside the main path.
std::vector<std::size_t> residual_adds(const Graph& graph, const LoweredSegment& segment);

}  // namespace splitcnn::inline v0
