#include <fmt/core.h>

#include <utility>

#include "graph/graph_data.hpp"
#include "graph/shape_inference.hpp"

namespace splitcnn::inline v0 {

namespace {

std::string unique_name(std::string name, const auto& taken) {
  if (!taken.contains(name)) return name;
  for (std::size_t i = 1;; ++i) {
    std::string candidate = fmt::format("{}_{}", name, i);
    if (!taken.contains(candidate)) return candidate;
  }
}

TensorId add_tensor(auto& data, std::string name, const Shape& shape, std::shared_ptr<const std::vector<float>> values, NodeId producer) {
  const auto id = static_cast<TensorId>(data.tensors.size());
  if (!data.by_name.emplace(name, id).second) {
    throw Error{Errc::bad_model, fmt::format("graph '{}': two tensors are called '{}'; rename one", data.name, name)};
  }
  data.tensors.push_back({std::move(name), shape, values != nullptr});
  data.constants.push_back(std::move(values));
  data.producers.push_back(producer);
  data.consumers.emplace_back();
  return id;
}

}  // namespace

GraphBuilder::GraphBuilder(std::string name) : data_{std::make_unique<Graph::Data>()} { data_->name = std::move(name); }
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;
GraphBuilder::~GraphBuilder() = default;

TensorId GraphBuilder::input(std::string name, const Shape& shape) {
  const TensorId id = add_tensor(*data_, std::move(name), shape, nullptr, Graph::Data::no_node);
  data_->inputs.push_back(id);
  return id;
}

TensorId GraphBuilder::constant(std::string name, const Shape& shape, std::vector<float> values) {
  if (static_cast<std::int64_t>(values.size()) != shape.elements()) {
    throw Error{Errc::bad_model, fmt::format("constant '{}': {} values for the shape {}", name, values.size(), to_string(shape))};
  }
  auto shared = std::make_shared<const std::vector<float>>(std::move(values));
  return add_tensor(*data_, std::move(name), shape, std::move(shared), Graph::Data::no_node);
}

TensorId GraphBuilder::add(Node node, std::string output_name, std::optional<Shape> shape) {
  std::vector<std::string> names;
  names.push_back(std::move(output_name));
  std::vector<Shape> shapes;
  if (shape) shapes.push_back(*shape);
  return add_multi(std::move(node), std::move(names), std::move(shapes)).front();
}

std::vector<TensorId> GraphBuilder::add_multi(Node node, std::vector<std::string> output_names, std::vector<Shape> shapes) {
  const auto id = static_cast<NodeId>(data_->nodes.size());
  if (node.name.empty()) node.name = fmt::format("{}_{}", to_string(node.op), id);
  node.name = unique_name(std::move(node.name), data_->node_names);

  std::vector<Shape> inputs;
  for (const TensorId t : node.inputs) {
    if (t >= data_->tensors.size()) {
      throw Error{Errc::bad_model, fmt::format("node '{}' ({}): reads tensor {} which does not exist", node.name, to_string(node.op), t)};
    }
    inputs.push_back(data_->tensors[t].shape);
  }
  const std::vector<Shape> outputs = infer_shapes(node, inputs, shapes);
  output_names.resize(outputs.size());
  node.outputs.clear();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    std::string name = std::move(output_names[i]);
    if (name.empty()) name = unique_name(outputs.size() == 1 ? node.name : fmt::format("{}_{}", node.name, i), data_->by_name);
    node.outputs.push_back(add_tensor(*data_, std::move(name), outputs[i], nullptr, id));
  }
  for (const TensorId t : node.inputs) {
    auto& readers = data_->consumers[t];
    if (readers.empty() || readers.back() != id) readers.push_back(id);
  }
  data_->node_names.insert(node.name);
  data_->nodes.push_back(std::move(node));
  return data_->nodes.back().outputs;
}

void GraphBuilder::output(TensorId id) {
  if (id >= data_->tensors.size() || data_->producers[id] == Graph::Data::no_node) {
    throw Error{Errc::bad_model, fmt::format("graph '{}': output '{}' is written by no node", data_->name,
                                             id < data_->tensors.size() ? data_->tensors[id].name : std::to_string(id))};
  }
  data_->outputs.push_back(id);
}

const Shape& GraphBuilder::shape(TensorId id) const {
  if (id >= data_->tensors.size()) throw Error{Errc::bad_argument, fmt::format("graph '{}' has no tensor {}", data_->name, id)};
  return data_->tensors[id].shape;
}

Graph GraphBuilder::build() && {
  if (data_->inputs.empty() || data_->outputs.empty()) {
    throw Error{Errc::bad_model, fmt::format("graph '{}' has {} inputs and {} outputs; it needs one of each", data_->name,
                                             data_->inputs.size(), data_->outputs.size())};
  }
  return Graph{std::shared_ptr<const Graph::Data>{std::move(data_)}};
}

}  // namespace splitcnn::inline v0
