#pragma once
/// Static shape inference of the internal operators, in logical order.
#include <optional>
#include <span>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// The output shapes of `node` for these input shapes (one per node.inputs). `given` holds the shapes the caller states: needed for
/// reshape, split and reduce_mean, optional for gather and resize, checked against the rule everywhere else. Throws bad_model naming the node.
std::vector<Shape> infer_shapes(const Node& node, std::span<const Shape> inputs, std::span<const Shape> given = {});

/// numpy broadcasting; nullopt when the shapes do not go together.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

/// Output size of one dimension of a convolution or pool; <= 0 when the window does not fit. Ceil mode drops a last window that
/// would start in the padding behind the input (as PyTorch and ONNX Runtime do).
std::int64_t window_output(std::int64_t size, int kernel, int stride, int dilation, int pad_before, int pad_after, bool ceil_mode);

}  // namespace splitcnn::inline v0
