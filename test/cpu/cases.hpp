#pragma once
/// Small random graphs and the comparison of executors on them.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "cpu/executor.hpp"
#include "cpu/reference_ops.hpp"
#include "splitcnn/graph.hpp"
#include "support/catch.hpp"

namespace splitcnn_test {

using namespace splitcnn;

class Random {
 public:
  explicit Random(unsigned long long seed) : engine_{seed} {}

  int draw(int low, int high) { return std::uniform_int_distribution{low, high}(engine_); }
  bool chance(int percent) { return draw(1, 100) <= percent; }
  template <class T>
  T pick(std::initializer_list<T> items) {
    return items.begin()[draw(0, static_cast<int>(items.size()) - 1)];
  }
  void fill(std::span<float> values, float low = -1, float high = 1) {
    std::uniform_real_distribution<float> d{low, high};
    for (float& v : values) v = d(engine_);
  }
  std::vector<float> values(const Shape& shape, float low = -1, float high = 1) {
    std::vector<float> v(static_cast<std::size_t>(shape.elements()));
    fill(v, low, high);
    return v;
  }
  /// Dimensions of 1 to `most`, fewer than 3000 elements.
  Shape shape(int rank, int most = 7) {
    for (;;) {
      Shape s;
      std::vector<std::int64_t> dims;
      for (int d = 0; d < rank; ++d) dims.push_back(draw(1, most));
      s = Shape{std::span<const std::int64_t>{dims}};
      if (s.elements() < 3000) return s;
    }
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

/// A graph under construction with random constants.
class Maker {
 public:
  explicit Maker(Random& random) : random{random} {}

  TensorId input(const Shape& shape) { return builder.input("in" + std::to_string(count++), shape); }
  TensorId constant(const Shape& shape, float low = -1, float high = 1) {
    return builder.constant("c" + std::to_string(count++), shape, random.values(shape, low, high));
  }
  TensorId add(Node node, std::optional<Shape> shape = {}) { return builder.add(std::move(node), {}, shape); }
  const Shape& shape(TensorId t) const { return builder.shape(t); }
  Graph finish(TensorId t) {
    builder.output(t);
    return std::move(builder).build();
  }

  Random& random;
  GraphBuilder builder{"case"};
  int count = 0;
};

inline std::string text(const Graph& graph) {
  std::string s;
  for (const Node& n : graph.nodes()) {
    s += std::string{to_string(n.op)} + "(";
    for (const TensorId t : n.inputs)
      s += graph.tensor(t).name + ":" + to_string(graph.tensor(t).shape) + " ";
    s += ") -> " + graph.tensor(n.outputs[0]).name + ":" + to_string(graph.tensor(n.outputs[0]).shape) + "; ";
  }
  return s;
}

/// max |a - b| / max |b|; infinite when a NaN is on one side only.
inline double error(std::span<const float> a, std::span<const float> b) {
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return INFINITY;
    if (a[i] == b[i] || std::isnan(a[i])) continue;
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  for (const float v : b) largest = std::max(largest, std::fabs(static_cast<double>(v)));
  return worst / largest;
}

/// Values of tensors as they are stored.
using Values = std::map<TensorId, std::vector<float>>;

inline Values random_inputs(const Graph& graph, Random& random) {
  Values values;
  for (const TensorId t : graph.inputs()) values[t] = random.values(graph.tensor(t).shape, -2, 2);
  return values;
}

/// Runs nodes [first, last) on `values` and adds what they write to it.
inline void run_range(const Graph& graph, NodeId first, NodeId last, Values& values,
                      const CpuExecutorOptions& options = {}) {
  CpuExecutor executor{graph, first, last, options};
  for (std::size_t i = 0; i < executor.input_ids().size(); ++i) {
    const auto& from = values.at(executor.input_ids()[i]);
    std::copy(from.begin(), from.end(), executor.input(i).begin());
  }
  executor.run();
  for (std::size_t i = 0; i < executor.output_ids().size(); ++i) {
    const auto out = executor.output(i);
    values[executor.output_ids()[i]].assign(out.begin(), out.end());
  }
}

inline void run_all(const Graph& graph, Values& values, const CpuExecutorOptions& options = {}) {
  run_range(graph, 0, static_cast<NodeId>(graph.nodes().size()), values, options);
}

/// Largest error over the graph's outputs.
inline double output_error(const Graph& graph, const Values& a, const Values& b) {
  double worst = 0;
  for (const TensorId t : graph.outputs()) worst = std::max(worst, error(a.at(t), b.at(t)));
  return worst;
}

/// The executor against the obvious loops.
inline void check_against_reference(const Graph& graph, Random& random, double tolerance,
                                    const CpuExecutorOptions& options = {}) {
  Values fast = random_inputs(graph, random), slow = fast;
  run_all(graph, fast, options);
  run_all(graph, slow, {.f16_storage = options.f16_storage, .reference = true});
  INFO(text(graph));
  REQUIRE(output_error(graph, fast, slow) <= tolerance);
}

inline Node activation(Random& random, TensorId x) {
  switch (random.draw(0, 5)) {
    case 0:
      return {.op = Op::relu, .inputs = {x}};
    case 1:
      return {.op = Op::clip, .inputs = {x}, .alpha = -0.5f, .beta = 0.75f};
    case 2:
      return {.op = Op::clip, .inputs = {x}, .alpha = 0, .beta = random.chance(50) ? 0.6f : INFINITY};
    case 3:
      return {.op = Op::leaky_relu, .inputs = {x}, .alpha = 0.1f};
    case 4:
      return {.op = Op::hard_sigmoid, .inputs = {x}, .alpha = 0.2f, .beta = 0.5f};
    default:
      return {.op = Op::hard_swish, .inputs = {x}};
  }
}

inline Node batch_norm(Maker& m, TensorId x) {
  const Shape c{m.shape(x)[1]};
  return {.op = Op::batch_norm,
          .inputs = {x, m.constant(c), m.constant(c), m.constant(c), m.constant(c, 0.5f, 2)},
          .alpha = 1e-3f};
}

}  // namespace splitcnn_test
