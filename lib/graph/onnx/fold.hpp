#pragma once
/// Evaluation of internal nodes whose inputs are all constant.
#include <optional>
#include <span>
#include <vector>

#include "graph/onnx/const_tensor.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// The outputs of `node`, whose shapes were inferred as `shapes`; nullopt when there is no evaluator for it
/// (the node then stays in the graph). Takes from the budget before it allocates.
std::optional<std::vector<ConstTensor>> fold_node(const Node& node,
                                                  std::span<const ConstTensor* const> inputs,
                                                  std::span<const Shape> shapes, ElementBudget& budget);

/// x in the shape `shape` by numpy rules.
ConstTensor expand(const ConstTensor& x, const Shape& shape, ElementBudget& budget);

/// Element-wise f over two broadcast tensors of one element type T.
template <class T, class F>
std::vector<T> broadcast_apply(const ConstTensor& a, const ConstTensor& b, const Shape& shape,
                               ElementBudget& budget, F f) {
  const ConstTensor left = expand(a, shape, budget), right = expand(b, shape, budget);
  std::vector<T> out;
  out.reserve(left.size());
  std::visit(
      [&](const auto& x) {
        using X = std::decay_t<decltype(x)>;
        const auto& y = std::get<X>(right.values);
        for (std::size_t i = 0; i < x.size(); ++i) out.push_back(static_cast<T>(f(x[i], y[i])));
      },
      left.values);
  return out;
}

}  // namespace splitcnn::inline v0
