#include "splitcnn/graph.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "graph/graph_data.hpp"

namespace splitcnn::inline v0 {

const char* to_string(Op op) noexcept {
  switch (op) {
    case Op::conv: return "conv";
    case Op::batch_norm: return "batch_norm";
    case Op::relu: return "relu";
    case Op::clip: return "clip";
    case Op::leaky_relu: return "leaky_relu";
    case Op::prelu: return "prelu";
    case Op::hard_sigmoid: return "hard_sigmoid";
    case Op::hard_swish: return "hard_swish";
    case Op::sigmoid: return "sigmoid";
    case Op::tanh: return "tanh";
    case Op::exp: return "exp";
    case Op::sqrt: return "sqrt";
    case Op::max_pool: return "max_pool";
    case Op::average_pool: return "average_pool";
    case Op::global_average_pool: return "global_average_pool";
    case Op::reduce_mean: return "reduce_mean";
    case Op::add: return "add";
    case Op::sub: return "sub";
    case Op::mul: return "mul";
    case Op::div: return "div";
    case Op::concat: return "concat";
    case Op::slice: return "slice";
    case Op::split: return "split";
    case Op::pad: return "pad";
    case Op::gather: return "gather";
    case Op::reshape: return "reshape";
    case Op::transpose: return "transpose";
    case Op::resize: return "resize";
    case Op::gemm: return "gemm";
    case Op::matmul: return "matmul";
    case Op::softmax: return "softmax";
    case Op::log_softmax: return "log_softmax";
    case Op::lrn: return "lrn";
    case Op::identity: return "identity";
  }
  return "unknown";
}

Shape storage_shape(const Shape& logical) {
  if (logical.rank() != 4) return logical;
  return {logical[0], logical[2], logical[3], logical[1]};
}

Graph::Graph(std::shared_ptr<const Data> data) noexcept : data_{std::move(data)} {}

const std::string& Graph::name() const noexcept { return data_->name; }
std::span<const Node> Graph::nodes() const noexcept { return data_->nodes; }
std::span<const GraphTensor> Graph::tensors() const noexcept { return data_->tensors; }
std::span<const TensorId> Graph::inputs() const noexcept { return data_->inputs; }
std::span<const TensorId> Graph::outputs() const noexcept { return data_->outputs; }

std::span<const float> Graph::constant(TensorId id) const noexcept {
  const auto& values = data_->constants[id];
  return values ? std::span<const float>{*values} : std::span<const float>{};
}

std::optional<TensorId> Graph::find_tensor(std::string_view name) const noexcept {
  const auto found = data_->by_name.find(std::string{name});
  return found == data_->by_name.end() ? std::nullopt : std::optional{found->second};
}

std::optional<NodeId> Graph::producer(TensorId id) const noexcept {
  const NodeId node = data_->producers[id];
  return node == Data::no_node ? std::nullopt : std::optional{node};
}

std::span<const NodeId> Graph::consumers(TensorId id) const noexcept { return data_->consumers[id]; }

std::int64_t Graph::macs(NodeId id) const noexcept {
  const Node& node = nodes()[id];
  if (node.op != Op::conv && node.op != Op::gemm && node.op != Op::matmul) return 0;
  const std::int64_t out = tensor(node.outputs[0]).shape.elements();
  const Shape& a = tensor(node.inputs[0]).shape;
  if (node.op == Op::conv) {
    const Shape& w = tensor(node.inputs[1]).shape;
    return out * w[1] * w[2] * w[3];
  }
  return out * (node.op == Op::gemm && node.transpose_a ? a[0] : a.back());
}

Boundary boundary(const Graph& graph, NodeId first, NodeId last) {
  Boundary b;
  const auto inside = [&](std::optional<NodeId> node) { return node && *node >= first && *node < last; };
  for (NodeId n = first; n < last; ++n) {
    for (const TensorId t : graph.nodes()[n].inputs) {
      if (!graph.tensor(t).constant && !inside(graph.producer(t))) b.inputs.push_back(t);
    }
    for (const TensorId t : graph.nodes()[n].outputs) {
      const auto readers = graph.consumers(t);
      const auto outputs = graph.outputs();
      const bool read_later = !readers.empty() && readers.back() >= last;
      if (read_later || std::find(outputs.begin(), outputs.end(), t) != outputs.end()) b.outputs.push_back(t);
    }
  }
  for (auto* ids : {&b.inputs, &b.outputs}) {
    std::sort(ids->begin(), ids->end());
    ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
  }
  return b;
}

Graph Graph::extract(NodeId first, NodeId last) const {
  if (first >= last || last > nodes().size()) {
    throw Error{Errc::bad_argument, fmt::format("graph '{}': nodes [{}, {}) of {} are no segment", name(), first, last, nodes().size())};
  }
  GraphBuilder builder{fmt::format("{}_{}_{}", name(), first, last)};
  const Boundary edge = boundary(*this, first, last);
  std::vector<TensorId> moved(tensors().size(), ~TensorId{0});
  for (const TensorId t : edge.inputs) moved[t] = builder.input(tensor(t).name, tensor(t).shape);
  for (NodeId n = first; n < last; ++n) {
    Node node = nodes()[n];
    for (TensorId& t : node.inputs) {
      if (moved[t] == ~TensorId{0}) {
        const auto values = constant(t);
        moved[t] = builder.constant(tensor(t).name, tensor(t).shape, {values.begin(), values.end()});
      }
      t = moved[t];
    }
    const std::vector<TensorId> old = node.outputs;
    std::vector<std::string> names;
    std::vector<Shape> shapes;
    for (const TensorId t : old) {
      names.push_back(tensor(t).name);
      shapes.push_back(tensor(t).shape);
    }
    const std::vector<TensorId> outputs = builder.add_multi(std::move(node), std::move(names), std::move(shapes));
    for (std::size_t i = 0; i < old.size(); ++i) moved[old[i]] = outputs[i];
  }
  for (const TensorId t : edge.outputs) builder.output(moved[t]);
  return std::move(builder).build();
}

}  // namespace splitcnn::inline v0
