#pragma once
/// Graphs that several tests of the graph folder look at.
#include <cstdint>
#include <random>
#include <splitcnn/graph.hpp>
#include <string>
#include <utility>
#include <vector>

namespace splitcnn_test {

using namespace splitcnn;

/// Short spellings for hand-made graphs. Weights are zero: nothing here is computed.
class Sketch {
 public:
  explicit Sketch(Shape input = {1, 8, 16, 16}) : input_{b_.input("input", input)} {}

  [[nodiscard]] TensorId input() const { return input_; }
  [[nodiscard]] const Shape& shape(TensorId x) const { return b_.shape(x); }

  TensorId constant(const Shape& shape, float value = 0) {
    return b_.constant("c" + std::to_string(constants_++), shape,
                       std::vector<float>(static_cast<std::size_t>(shape.elements()), value));
  }
  TensorId add(Node node, std::optional<Shape> shape = {}) { return b_.add(std::move(node), {}, shape); }
  TensorId op(Op op, TensorId x, std::string name = {}) {
    return add({.op = op, .name = std::move(name), .inputs = {x}});
  }
  TensorId binary(Op op, TensorId a, TensorId b, std::string name = {}) {
    return add({.op = op, .name = std::move(name), .inputs = {a, b}});
  }
  TensorId conv(TensorId x, std::int64_t out, int kernel = 1, int groups = 1, std::string name = {}) {
    Node node{.op = Op::conv, .name = std::move(name), .groups = groups};
    node.inputs = {x, constant({out, shape(x)[1] / groups, kernel, kernel})};
    node.window.kernel_h = node.window.kernel_w = kernel;
    node.window.pad_top = node.window.pad_left = node.window.pad_bottom = node.window.pad_right = kernel / 2;
    return add(std::move(node));
  }
  TensorId depthwise(TensorId x) { return conv(x, shape(x)[1], 3, static_cast<int>(shape(x)[1])); }
  TensorId batch_norm(TensorId x) {
    const Shape c{shape(x)[1]};
    return add({.op = Op::batch_norm,
                .inputs = {x, constant(c, 1), constant(c), constant(c), constant(c, 1)},
                .alpha = 1e-5f});
  }
  TensorId concat(std::vector<TensorId> parts, std::int64_t axis = 1, std::string name = {}) {
    return add({.op = Op::concat, .name = std::move(name), .inputs = std::move(parts), .axes = {axis}});
  }
  TensorId reshape(TensorId x, const Shape& shape, std::string name = {}) {
    return add({.op = Op::reshape, .name = std::move(name), .inputs = {x}}, shape);
  }
  TensorId flatten(TensorId x) { return reshape(x, {1, shape(x).elements()}, "flatten"); }
  TensorId gemm(TensorId x, std::int64_t out, std::string name = {}) {
    const TensorId w = constant({out, shape(x).back()});
    return add({.op = Op::gemm,
                .name = std::move(name),
                .inputs = {x, w},
                .transpose_b = true,
                .alpha = 1,
                .beta = 1});
  }
  GraphBuilder& builder() { return b_; }
  Graph build(std::vector<TensorId> outputs) {
    for (const TensorId t : outputs) b_.output(t);
    return std::move(b_).build();
  }

 private:
  GraphBuilder b_{"sketch"};
  TensorId input_;
  int constants_ = 0;
};

/// The same graph as an importer would see it: no torchvision modules.
inline Graph without_modules(const Graph& graph) {
  GraphBuilder b{graph.name()};
  std::vector<TensorId> moved(graph.tensors().size());
  for (const TensorId t : graph.inputs()) moved[t] = b.input(graph.tensor(t).name, graph.tensor(t).shape);
  for (const Node& old : graph.nodes()) {
    Node node = old;
    node.module.clear();
    for (TensorId& t : node.inputs) {
      if (graph.tensor(t).constant) {
        const auto values = graph.constant(t);
        moved[t] = b.constant(graph.tensor(t).name, graph.tensor(t).shape, {values.begin(), values.end()});
      }
      t = moved[t];
    }
    std::vector<std::string> names;
    std::vector<Shape> shapes;
    for (const TensorId t : old.outputs) {
      names.push_back(graph.tensor(t).name);
      shapes.push_back(graph.tensor(t).shape);
    }
    const auto outputs = b.add_multi(std::move(node), names, shapes);
    for (std::size_t i = 0; i < outputs.size(); ++i) moved[old.outputs[i]] = outputs[i];
  }
  for (const TensorId t : graph.outputs()) b.output(moved[t]);
  return std::move(b).build();
}

/// Convolutions, sums, concatenations, splits, activations and identities over random earlier tensors, one to
/// three outputs.
inline Graph random_dag(std::uint64_t seed) {
  std::mt19937_64 random{seed};
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  Sketch s{{1, 4, 6, 6}};
  std::vector<TensorId> alive{s.input()};
  if (below(4) == 0) alive.push_back(s.builder().input("second", {1, 4, 6, 6}));
  std::vector<TensorId> written;
  const std::size_t count = 1 + below(40);
  // A small window makes long chains, a large one makes long skips.
  const std::size_t window = 1 + below(6);
  const auto pick = [&] { return alive[alive.size() - 1 - below(std::min(window, alive.size()))]; };
  for (std::size_t i = 0; i < count; ++i) {
    const TensorId x = pick();
    TensorId y = 0;
    switch (below(8)) {
      case 0:
        y = s.conv(x, 4, 3);
        break;
      case 1:
        y = s.conv(x, 4, 1);
        break;
      case 2:
        y = s.depthwise(x);
        break;
      case 3:
        y = s.op(Op::relu, x);
        break;
      case 4:
        y = s.binary(Op::add, x, pick());
        break;
      case 5:
        y = s.conv(s.concat({x, pick()}), 4);
        break;
      case 6:
        y = s.op(Op::identity, x);
        break;
      default: {
        const auto halves = s.builder().add_multi({.op = Op::split, .inputs = {x}, .axes = {1}}, {},
                                                  {{1, 2, 6, 6}, {1, 2, 6, 6}});
        y = s.concat({halves[1], halves[0]});
      }
    }
    alive.push_back(y);
    written.push_back(y);
  }
  std::vector<TensorId> outputs{written.back()};
  for (std::size_t i = below(3); i > 0; --i) {
    const TensorId t = written[below(written.size())];
    if (t != outputs.front() && t != outputs.back()) outputs.push_back(t);
  }
  return s.build(outputs);
}

}  // namespace splitcnn_test
