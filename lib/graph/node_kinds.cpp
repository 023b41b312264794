#include "graph/node_kinds.hpp"

#include <algorithm>

#include "graph/lower.hpp"

namespace splitcnn::inline v0 {

bool is_activation(Op op) noexcept {
  switch (op) {
    case Op::relu:
    case Op::clip:
    case Op::leaky_relu:
    case Op::prelu:
    case Op::hard_sigmoid:
    case Op::hard_swish:
    case Op::sigmoid:
    case Op::tanh:
      return true;
    default:
      return false;
  }
}

bool has_weights(const Graph& graph, const Node& node) {
  if (node.op == Op::conv) return true;
  if (node.op != Op::gemm && node.op != Op::matmul) return false;
  return graph.tensor(node.inputs[0]).constant || graph.tensor(node.inputs[1]).constant;
}

bool is_identity(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::identity:
      return true;
    case Op::slice:
      if (std::any_of(node.steps.begin(), node.steps.end(), [](std::int64_t step) { return step != 1; }))
        return false;
      [[fallthrough]];
    case Op::pad:
    case Op::reshape:
      return graph.tensor(node.inputs[0]).shape == graph.tensor(node.outputs[0]).shape;
    default:
      return false;
  }
}

bool is_depthwise(const Graph& graph, const Node& node) {
  return node.op == Op::conv && node.groups > 1 && node.groups == graph.tensor(node.inputs[0]).shape[1];
}

bool is_pointwise(const Graph&, const Node& node) {
  return node.op == Op::conv && node.groups == 1 && node.window == Window{};
}

bool is_channel_affine(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::batch_norm:
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
      break;
    default:
      return false;
  }
  std::vector<double> scale, shift;
  return channel_affine(graph, node, scale, shift);
}

bool is_output(const Graph& graph, TensorId tensor) {
  const auto outputs = graph.outputs();
  return std::find(outputs.begin(), outputs.end(), tensor) != outputs.end();
}

bool feeds(const Graph& graph, NodeId writer, NodeId first, NodeId last) {
  for (const TensorId t : graph.nodes()[writer].outputs) {
    const auto readers = graph.consumers(t);
    if (readers.empty() || readers.front() < first || readers.back() >= last || is_output(graph, t))
      return false;
  }
  return true;
}

}  // namespace splitcnn::inline v0
