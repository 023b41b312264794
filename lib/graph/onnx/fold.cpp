#include "graph/onnx/fold.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace splitcnn::inline v0 {

namespace {

using Steps = std::vector<std::int64_t>;  // distance in elements, per dimension

Steps row_major(const Shape& shape) {
  Steps steps(shape.rank());
  std::int64_t step = 1;
  for (std::size_t d = shape.rank(); d-- > 0;) {
    steps[d] = step;
    step *= shape[d];
  }
  return steps;
}

/// Calls f(offset) for every index of `shape` in row-major order, offset = start + sum(index * steps).
template <class F>
void walk(const Shape& shape, std::int64_t start, const Steps& steps, F f) {
  const std::int64_t n = shape.elements();
  std::vector<std::int64_t> index(shape.rank());
  std::int64_t offset = start;
  for (std::int64_t i = 0; i < n; ++i) {
    f(offset);
    for (std::size_t d = shape.rank(); d-- > 0;) {
      offset += steps[d];
      if (++index[d] < shape[d]) break;
      offset -= steps[d] * shape[d];
      index[d] = 0;
    }
  }
}

template <class T>
std::vector<T> pick(const std::vector<T>& x, const Shape& shape, std::int64_t start, const Steps& steps) {
  std::vector<T> out;
  out.reserve(static_cast<std::size_t>(shape.elements()));
  walk(shape, start, steps, [&](std::int64_t at) { out.push_back(x[static_cast<std::size_t>(at)]); });
  return out;
}

template <class T>
void place(const std::vector<T>& x, const Shape& shape, std::vector<T>& out, std::int64_t start,
           const Steps& steps) {
  std::size_t i = 0;
  walk(shape, start, steps, [&](std::int64_t at) { out[static_cast<std::size_t>(at)] = x[i++]; });
}

template <class T>
std::vector<T> sliced(const std::vector<T>& x, const Shape& from, const Node& node, const Shape& to) {
  Steps steps = row_major(from);
  std::int64_t start = 0;
  for (std::size_t d = 0; d < steps.size(); ++d) {
    start += node.begins[d] * steps[d];
    steps[d] *= node.steps[d];
  }
  return pick(x, to, start, steps);
}

template <class T>
std::vector<T> transposed(const std::vector<T>& x, const Shape& from, const Node& node, const Shape& to) {
  const Steps original = row_major(from);
  Steps steps;
  for (const std::int64_t axis : node.axes) steps.push_back(original[static_cast<std::size_t>(axis)]);
  return pick(x, to, 0, steps);
}

template <class T>
std::vector<T> gathered(const std::vector<T>& x, const Shape& from, const Node& node) {
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  std::int64_t inner = 1, outer = 1;
  for (std::size_t d = 0; d < from.rank(); ++d) (d < axis ? outer : inner) *= d == axis ? 1 : from[d];
  std::vector<T> out;
  for (std::int64_t o = 0; o < outer; ++o) {
    for (const std::int64_t index : node.begins) {
      const auto first = x.begin() + (o * from[axis] + index) * inner;
      out.insert(out.end(), first, first + inner);
    }
  }
  return out;
}

template <class T>
std::vector<T> padded(const std::vector<T>& x, const Shape& from, const Node& node, const Shape& to) {
  std::vector<T> out(static_cast<std::size_t>(to.elements()), static_cast<T>(node.alpha));
  const Steps steps = row_major(to);
  std::int64_t start = 0;
  for (std::size_t d = 0; d < steps.size(); ++d) start += node.begins[d] * steps[d];
  place(x, from, out, start, steps);
  return out;
}

template <class T>
std::vector<T> concatenated(std::span<const ConstTensor* const> inputs, const Node& node, const Shape& to) {
  std::vector<T> out(static_cast<std::size_t>(to.elements()));
  const Steps steps = row_major(to);
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  std::int64_t start = 0;
  for (const ConstTensor* x : inputs) {
    place(std::get<std::vector<T>>(x->values), x->shape, out, start, steps);
    start += x->shape[axis] * steps[axis];
  }
  return out;
}

template <class T>
std::vector<ConstTensor> split_up(const std::vector<T>& x, const ConstTensor& whole, const Node& node,
                               std::span<const Shape> shapes) {
  const Steps steps = row_major(whole.shape);
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  std::vector<ConstTensor> parts;
  std::int64_t start = 0;
  for (const Shape& shape : shapes) {
    parts.push_back({shape, pick(x, shape, start, steps), whole.boolean});
    start += shape[axis] * steps[axis];
  }
  return parts;
}

/// Integers wrap around as two's complement does: no undefined behaviour on hostile values.
std::int64_t arithmetic(Op op, std::int64_t a, std::int64_t b) {
  const auto x = static_cast<std::uint64_t>(a), y = static_cast<std::uint64_t>(b);
  switch (op) {
    case Op::add:
      return static_cast<std::int64_t>(x + y);
    case Op::sub:
      return static_cast<std::int64_t>(x - y);
    case Op::mul:
      return static_cast<std::int64_t>(x * y);
    default:
      if (b == 0) throw Error{Errc::bad_model, "divides an integer by zero; export the model again"};
      return b == -1 ? static_cast<std::int64_t>(0 - x) : a / b;
  }
}

float arithmetic(Op op, float a, float b) {
  switch (op) {
    case Op::add:
      return a + b;
    case Op::sub:
      return a - b;
    case Op::mul:
      return a * b;
    default:
      return a / b;
  }
}

std::optional<std::function<float(float)>> unary(const Node& n) {
  switch (n.op) {
    case Op::relu:
      return [](float x) { return std::max(x, 0.0f); };
    case Op::clip:
      return [&n](float x) { return std::min(std::max(x, n.alpha), n.beta); };
    case Op::leaky_relu:
      return [&n](float x) { return x < 0 ? n.alpha * x : x; };
    case Op::hard_sigmoid:
      return [&n](float x) { return std::max(0.0f, std::min(1.0f, n.alpha * x + n.beta)); };
    case Op::hard_swish:
      return [](float x) { return x * std::max(0.0f, std::min(1.0f, x / 6 + 0.5f)); };
    case Op::sigmoid:
      return [](float x) { return 1 / (1 + std::exp(-x)); };
    case Op::tanh:
      return [](float x) { return std::tanh(x); };
    case Op::exp:
      return [](float x) { return std::exp(x); };
    case Op::sqrt:
      return [](float x) { return std::sqrt(x); };
    default:
      return std::nullopt;
  }
}

std::vector<float> mean(const ConstTensor& x, const Node& node) {
  Shape kept = x.shape;  // the result with the reduced axes kept as 1
  Steps steps;
  double count = 1;
  for (const std::int64_t axis : node.axes) {
    const auto d = static_cast<std::size_t>(axis);
    count *= static_cast<double>(kept[d]);
    kept[d] = 1;
  }
  steps = row_major(kept);
  for (const std::int64_t axis : node.axes) steps[static_cast<std::size_t>(axis)] = 0;
  std::vector<double> sums(static_cast<std::size_t>(kept.elements()));
  std::size_t i = 0;
  walk(x.shape, 0, steps, [&](std::int64_t at) { sums[static_cast<std::size_t>(at)] += x.floats()[i++]; });
  std::vector<float> out;
  for (const double sum : sums) out.push_back(static_cast<float>(sum / count));
  return out;
}

bool same_types(std::span<const ConstTensor* const> inputs) {
  return std::all_of(inputs.begin(), inputs.end(),
                     [&](const ConstTensor* x) { return x->is_float() == inputs[0]->is_float(); });
}

std::optional<ConstTensor> fold_one(const Node& node, std::span<const ConstTensor* const> in,
                                    const Shape& shape, ElementBudget& budget) {
  const ConstTensor& x = *in[0];
  const auto structural = [&](auto f) {
    budget.take(shape.elements());
    using Values = decltype(ConstTensor::values);  // spelt here: clang 14 crashes on it inside the lambda
    return ConstTensor{shape, std::visit([&](const auto& v) -> Values { return f(v); }, x.values), x.boolean};
  };
  switch (node.op) {
    case Op::identity:
    case Op::reshape:
      return structural([&](const auto& v) { return v; });
    case Op::slice:
      return structural([&](const auto& v) { return sliced(v, x.shape, node, shape); });
    case Op::transpose:
      return structural([&](const auto& v) { return transposed(v, x.shape, node, shape); });
    case Op::gather:
      return structural([&](const auto& v) { return gathered(v, x.shape, node); });
    case Op::pad:
      return structural([&](const auto& v) { return padded(v, x.shape, node, shape); });
    case Op::concat:
      if (!same_types(in)) return std::nullopt;
      return structural([&](const auto& v) {
        return concatenated<typename std::decay_t<decltype(v)>::value_type>(in, node, shape);
      });
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
      if (!same_types(in)) return std::nullopt;
      if (x.is_float()) {
        return ConstTensor{shape, broadcast_apply<float>(x, *in[1], shape, budget, [&](auto a, auto b) {
                             return arithmetic(node.op, a, b);
                           })};
      }
      return ConstTensor{shape, broadcast_apply<std::int64_t>(x, *in[1], shape, budget, [&](auto a, auto b) {
                           return arithmetic(node.op, a, b);
                         })};
    case Op::reduce_mean:
      if (!x.is_float()) return std::nullopt;
      budget.take(shape.elements() * 3);  // double sums
      return ConstTensor{shape, mean(x, node)};
    default:
      break;
  }
  const auto f = unary(node);
  if (!f || !x.is_float()) return std::nullopt;
  budget.take(shape.elements());
  std::vector<float> out(x.floats().size());
  std::transform(x.floats().begin(), x.floats().end(), out.begin(), *f);
  return ConstTensor{shape, std::move(out)};
}

}  // namespace

ConstTensor expand(const ConstTensor& x, const Shape& shape, ElementBudget& budget) {
  budget.take(shape.elements());
  Steps steps(shape.rank(), 0);
  const Steps own = row_major(x.shape);
  const std::size_t offset = shape.rank() - x.shape.rank();
  for (std::size_t d = 0; d < own.size(); ++d) steps[d + offset] = x.shape[d] == 1 ? 0 : own[d];
  return {shape,
          std::visit([&](const auto& v) -> decltype(x.values) { return pick(v, shape, 0, steps); }, x.values),
          x.boolean};
}

std::optional<std::vector<ConstTensor>> fold_node(const Node& node,
                                                  std::span<const ConstTensor* const> inputs,
                                                  std::span<const Shape> shapes, ElementBudget& budget) {
  if (node.op == Op::split) {
    budget.take(inputs[0]->shape.elements());
    return std::visit([&](const auto& v) { return split_up(v, *inputs[0], node, shapes); }, inputs[0]->values);
  }
  auto value = fold_one(node, inputs, shapes[0], budget);
  if (!value) return std::nullopt;
  std::vector<ConstTensor> out;
  out.push_back(std::move(*value));
  return out;
}

}  // namespace splitcnn::inline v0
