#pragma once
/// The slow, obvious loops: every operator written straight from its ONNX definition, sums in double, nothing
/// shared with the fast path. The oracle of the tests.
#include <span>
#include <vector>

#include "graph/lower.hpp"

namespace splitcnn::inline v0::cpu {

/// One node on tensors in LOGICAL row-major order; one input per node.inputs.
std::vector<std::vector<float>> reference_node(const Graph& graph, const Node& node,
                                               const std::vector<std::vector<float>>& inputs);

/// A convolution, pool or other op with few words, in the same order.
std::vector<float> reference_conv(const Graph& graph, const Node& node,
                                  const std::vector<std::vector<float>>& inputs);
std::vector<float> reference_pool(const Graph& graph, const Node& node, const std::vector<float>& input);
std::vector<float> reference_resize(const Graph& graph, const Node& node, const std::vector<float>& input);
std::vector<float> reference_product(const Graph& graph, const Node& node,
                                     const std::vector<std::vector<float>>& inputs);

/// Op::conv of a lowered segment, with its activation, on tensors as they are stored.
std::vector<float> reference_lowered_conv(const LoweredOp& op, const Shape& in, const Shape& out,
                                          std::span<const float> x);
float reference_activation(const Activation& activation, float x);

/// Between logical row-major order and storage order.
std::vector<float> to_logical(const Shape& logical, std::span<const float> stored);
void to_storage(const Shape& logical, std::span<const float> values, float* stored);

/// Counts through a shape: calls f(index) for every index, last dimension fastest.
template <class F>
void for_each_index(const Shape& shape, const F& f) {
  if (shape.elements() == 0) return;
  std::vector<std::int64_t> at(shape.rank(), 0);
  for (;;) {
    f(at);
    std::size_t d = shape.rank();
    while (d > 0 && ++at[d - 1] == shape[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

/// Position of an index in row-major order.
inline std::size_t flat(const Shape& shape, const std::vector<std::int64_t>& at) {
  std::int64_t position = 0;
  for (std::size_t d = 0; d < shape.rank(); ++d) position = position * shape[d] + at[d];
  return static_cast<std::size_t>(position);
}

}  // namespace splitcnn::inline v0::cpu
