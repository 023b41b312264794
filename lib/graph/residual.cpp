#include "graph/residual.hpp"

#include <algorithm>

namespace splitcnn::inline v0 {

namespace {

/// Per op: how many ops lie on the longest way to it.
std::vector<int> depths(const Graph& graph, const LoweredSegment& segment) {
  std::vector<int> of_tensor(graph.tensors().size(), 0), depth;
  for (const LoweredOp& op : segment.ops) {
    int d = 0;
    for (const TensorId t : op.inputs) d = std::max(d, of_tensor[t]);
    depth.push_back(++d);
    for (const TensorId t : op.outputs) of_tensor[t] = d;
  }
  return depth;
}

bool rectifies_from_zero(const Activation& a) {
  using Kind = Activation::Kind;
  return a.kind == Kind::none || a.kind == Kind::relu || (a.kind == Kind::clip && a.alpha == 0);
}

}  // namespace

std::vector<std::size_t> residual_adds(const Graph& graph, const LoweredSegment& segment) {
  constexpr std::size_t nobody = no_residual;
  std::vector<std::size_t> writer(graph.tensors().size(), nobody), readers(graph.tensors().size(), 0);
  for (std::size_t i = 0; i < segment.ops.size(); ++i) {
    for (const TensorId t : segment.ops[i].outputs) writer[t] = i;
    for (const TensorId t : segment.ops[i].inputs) ++readers[t];
  }
  const auto leaves = [&](TensorId t) {
    return std::binary_search(segment.boundary.outputs.begin(), segment.boundary.outputs.end(), t);
  };
  const auto fits = [&](TensorId t) {
    if (writer[t] == nobody || readers[t] != 1 || leaves(t)) return false;
    const LoweredOp& op = segment.ops[writer[t]];
    return op.op == Op::conv && !op.dense && op.activation.kind == Activation::Kind::none &&
           !(op.groups > 1 && op.groups == op.in_channels);
  };
  const std::vector<int> depth = depths(graph, segment);
  std::vector<std::size_t> adds(segment.ops.size(), no_residual);
  for (std::size_t i = 0; i < segment.ops.size(); ++i) {
    const LoweredOp& add = segment.ops[i];
    if (add.op != Op::add || !rectifies_from_zero(add.activation) || add.inputs[0] == add.inputs[1]) continue;
    const Shape& shape = graph.tensor(add.inputs[0]).shape;
    if (shape.rank() != 4 || shape != graph.tensor(add.inputs[1]).shape) continue;
    std::size_t best = nobody;
    for (const TensorId t : add.inputs) {
      if (!fits(t)) continue;
      const std::size_t conv = writer[t];
      if (best == nobody || depth[conv] > depth[best] || (depth[conv] == depth[best] && conv > best)) best = conv;
    }
    if (best != nobody) adds[best] = i;
  }
  return adds;
}

}  // namespace splitcnn::inline v0
