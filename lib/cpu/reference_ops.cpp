#include "cpu/reference_ops.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace splitcnn::inline v0::cpu {

namespace {

using Index = std::vector<std::int64_t>;
using Values = std::vector<float>;

std::size_t size_of(const Shape& shape) { return static_cast<std::size_t>(shape.elements()); }
std::size_t at_axis(const Node& node) { return static_cast<std::size_t>(node.axes[0]); }

/// The element of an operand that meets index `at` of the result under numpy broadcasting.
float broadcast_at(const Shape& shape, const Values& values, const Index& at) {
  Index own(shape.rank());
  const std::size_t missing = at.size() - shape.rank();
  for (std::size_t d = 0; d < own.size(); ++d) own[d] = shape[d] == 1 ? 0 : at[d + missing];
  return values[flat(shape, own)];
}

float unary_value(const Node& node, float x) {
  const double v = x;
  const auto hard = [v](double alpha, double beta) { return std::max(0.0, std::min(1.0, alpha * v + beta)); };
  switch (node.op) {
    case Op::relu:
      return std::max(0.0f, x);
    case Op::clip:
      return std::min(std::max(x, node.alpha), node.beta);
    case Op::leaky_relu:
      return x < 0 ? node.alpha * x : x;
    case Op::hard_sigmoid:
      return static_cast<float>(hard(node.alpha, node.beta));
    case Op::hard_swish:
      return static_cast<float>(v * hard(1.0 / 6.0, 0.5));
    case Op::sigmoid:
      return static_cast<float>(1.0 / (1.0 + std::exp(-v)));
    case Op::tanh:
      return static_cast<float>(std::tanh(v));
    case Op::exp:
      return static_cast<float>(std::exp(v));
    case Op::sqrt:
      return static_cast<float>(std::sqrt(v));
    default:
      return x;
  }
}

float binary(Op op, float a, float b) {
  switch (op) {
    case Op::add:
      return a + b;
    case Op::sub:
      return a - b;
    case Op::mul:
      return a * b;
    case Op::div:
      return a / b;
    default:
      return a < 0 ? a * b : a;  // prelu
  }
}

Values batch_norm(const Node& node, const Shape& shape, const std::vector<Values>& in) {
  Values y(in[0].size());
  for_each_index(shape, [&](const Index& at) {
    const auto c = static_cast<std::size_t>(at[1]);
    const std::size_t i = flat(shape, at);
    y[i] = static_cast<float>((static_cast<double>(in[0][i]) - in[3][c]) /
                                  std::sqrt(static_cast<double>(in[4][c]) + node.alpha) * in[1][c] +
                              in[2][c]);
  });
  return y;
}

/// Mean over axes; the kept axes, in order, are the result's order.
Values mean(const Shape& in, const std::vector<std::int64_t>& axes, const Values& x) {
  Shape kept = in;
  std::int64_t count = 1;
  for (const std::int64_t axis : axes) {
    count *= in[static_cast<std::size_t>(axis)];
    kept[static_cast<std::size_t>(axis)] = 1;
  }
  std::vector<double> sums(size_of(kept));
  for_each_index(in, [&](Index at) {
    const float v = x[flat(in, at)];
    for (const std::int64_t axis : axes) at[static_cast<std::size_t>(axis)] = 0;
    sums[flat(kept, at)] += static_cast<double>(v);
  });
  Values y;
  for (const double s : sums) y.push_back(static_cast<float>(s / static_cast<double>(count)));
  return y;
}

Values softmax(const Node& node, const Shape& shape, const Values& x) {
  Values y(x.size());
  const std::size_t axis = at_axis(node);
  for_each_index(shape, [&](const Index& at) {
    Index other = at;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (other[axis] = 0; other[axis] < shape[axis]; ++other[axis])
      top = std::max(top, static_cast<double>(x[flat(shape, other)]));
    for (other[axis] = 0; other[axis] < shape[axis]; ++other[axis])
      sum += std::exp(static_cast<double>(x[flat(shape, other)]) - top);
    const double v = static_cast<double>(x[flat(shape, at)]) - top;
    y[flat(shape, at)] = static_cast<float>(node.op == Op::softmax ? std::exp(v) / sum : v - std::log(sum));
  });
  return y;
}

Values lrn(const Node& node, const Shape& shape, const Values& x) {
  Values y(x.size());
  for_each_index(shape, [&](const Index& at) {
    const std::int64_t first = std::max<std::int64_t>(0, at[1] - (node.size - 1) / 2);
    const std::int64_t last = std::min(shape[1] - 1, at[1] + node.size / 2);  // ceil((size - 1) / 2)
    double squares = 0;
    Index other = at;
    for (other[1] = first; other[1] <= last; ++other[1])
      squares += std::pow(static_cast<double>(x[flat(shape, other)]), 2);
    const double d = node.bias + static_cast<double>(node.alpha) / node.size * squares;
    y[flat(shape, at)] = static_cast<float>(static_cast<double>(x[flat(shape, at)]) /
                                            std::pow(d, static_cast<double>(node.beta)));
  });
  return y;
}

/// Output element by output element: where in the input does it come from?
template <class F>
Values pick(const Shape& out, const Shape& in, const Values& x, const F& source) {
  Values y(size_of(out));
  for_each_index(out, [&](const Index& at) { y[flat(out, at)] = x[flat(in, source(at))]; });
  return y;
}

Values slice(const Node& node, const Shape& out, const Shape& in, const Values& x) {
  return pick(out, in, x, [&](Index at) {
    for (std::size_t d = 0; d < at.size(); ++d) at[d] = node.begins[d] + at[d] * node.steps[d];
    return at;
  });
}

Values transpose(const Node& node, const Shape& out, const Shape& in, const Values& x) {
  return pick(out, in, x, [&](const Index& at) {
    Index from(at.size());
    for (std::size_t d = 0; d < at.size(); ++d) from[static_cast<std::size_t>(node.axes[d])] = at[d];
    return from;
  });
}

Values pad(const Node& node, const Shape& out, const Shape& in, const Values& x) {
  Values y(size_of(out), node.alpha);
  for_each_index(in, [&](const Index& at) {
    Index to = at;
    for (std::size_t d = 0; d < to.size(); ++d) to[d] += node.begins[d];
    y[flat(out, to)] = x[flat(in, at)];
  });
  return y;
}

Values gather(const Node& node, const Shape& in, const Values& x) {
  Shape plain = in;  // whatever the shape of the indices, the order of the result is this one
  plain[at_axis(node)] = static_cast<std::int64_t>(node.begins.size());
  return pick(plain, in, x, [&](Index at) {
    at[at_axis(node)] = node.begins[static_cast<std::size_t>(at[at_axis(node)])];
    return at;
  });
}

std::vector<Values> split(const Graph& graph, const Node& node, const Shape& in, const Values& x) {
  std::vector<Values> parts;
  std::int64_t begin = 0;
  for (const TensorId t : node.outputs) {
    const Shape& out = graph.tensor(t).shape;
    parts.push_back(pick(out, in, x, [&](Index at) {
      at[at_axis(node)] += begin;
      return at;
    }));
    begin += out[at_axis(node)];
  }
  return parts;
}

Values concat(const Graph& graph, const Node& node, const Shape& out, const std::vector<Values>& inputs) {
  Values y(size_of(out));
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Shape& in = graph.tensor(node.inputs[i]).shape;
    for_each_index(in, [&](const Index& at) {
      Index to = at;
      to[at_axis(node)] += begin;
      y[flat(out, to)] = inputs[i][flat(in, at)];
    });
    begin += in[at_axis(node)];
  }
  return y;
}

double resize_source(const Node& node, std::int64_t o, std::size_t d, std::int64_t in, std::int64_t out) {
  const float scale = node.scales[d];
  const auto x = static_cast<float>(o);
  switch (node.coordinates) {
    case Coordinates::half_pixel:
      return (x + 0.5f) / scale - 0.5f;
    case Coordinates::pytorch_half_pixel:
      return out > 1 ? (x + 0.5f) / scale - 0.5f : 0.0f;
    case Coordinates::asymmetric:
      return x / scale;
    case Coordinates::align_corners:
      return out > 1 ? x * static_cast<float>(in - 1) / static_cast<float>(out - 1) : 0.0f;
  }
  return 0;
}

}  // namespace

std::vector<float> reference_resize(const Graph& graph, const Node& node, const std::vector<float>& input) {
  const Shape &in = graph.tensor(node.inputs[0]).shape, &out = graph.tensor(node.outputs[0]).shape;
  const auto clamped = [&](double v, std::size_t d) {
    return std::clamp(static_cast<std::int64_t>(v), std::int64_t{0}, in[d] - 1);
  };
  Values y(size_of(out));
  for_each_index(out, [&](const Index& at) {
    Index from(at.size());
    if (node.resize_mode == ResizeMode::nearest) {
      for (std::size_t d = 0; d < at.size(); ++d) {
        const double x = resize_source(node, at[d], d, in[d], out[d]);
        from[d] = clamped(node.nearest_floor ? std::floor(x) : std::ceil(x - 0.5), d);
      }
      y[flat(out, at)] = input[flat(in, from)];
      return;
    }
    double sum = 0;
    for (std::size_t corner = 0; corner < std::size_t{1} << at.size(); ++corner) {
      double weight = 1;
      for (std::size_t d = 0; d < at.size(); ++d) {
        const double x = resize_source(node, at[d], d, in[d], out[d]), below = std::floor(x);
        const bool upper = (corner >> d & 1) != 0;
        weight *= upper ? x - below : 1 - (x - below);
        from[d] = std::clamp(static_cast<std::int64_t>(below) + (upper ? 1 : 0), std::int64_t{0}, in[d] - 1);
      }
      if (weight != 0) sum += weight * static_cast<double>(input[flat(in, from)]);
    }
    y[flat(out, at)] = static_cast<float>(sum);
  });
  return y;
}

std::vector<float> reference_product(const Graph& graph, const Node& node,
                                     const std::vector<std::vector<float>>& inputs) {
  const Shape &a = graph.tensor(node.inputs[0]).shape, &b = graph.tensor(node.inputs[1]).shape;
  const Shape& out = graph.tensor(node.outputs[0]).shape;
  const bool gemm = node.op == Op::gemm;
  const bool turn_a = gemm && node.transpose_a, turn_b = gemm && node.transpose_b;
  Values y(size_of(out));
  for_each_index(out, [&](const Index& at) {
    const std::int64_t row = at[at.size() - 2], column = at.back();
    const std::int64_t terms = turn_a ? a[0] : a.back();
    double sum = 0;
    for (std::int64_t k = 0; k < terms; ++k) {
      Index index_a = at, index_b = at;
      index_a[at.size() - 2] = turn_a ? k : row;
      index_a.back() = turn_a ? row : k;
      index_b[at.size() - 2] = turn_b ? column : k;
      index_b.back() = turn_b ? k : column;
      sum += static_cast<double>(broadcast_at(a, inputs[0], index_a)) *
             static_cast<double>(broadcast_at(b, inputs[1], index_b));
    }
    if (gemm) sum *= static_cast<double>(node.alpha);
    if (gemm && inputs.size() == 3) {
      sum += static_cast<double>(node.beta) *
             static_cast<double>(broadcast_at(graph.tensor(node.inputs[2]).shape, inputs[2], at));
    }
    y[flat(out, at)] = static_cast<float>(sum);
  });
  return y;
}

std::vector<std::vector<float>> reference_node(const Graph& graph, const Node& node,
                                               const std::vector<std::vector<float>>& inputs) {
  const Shape &in = graph.tensor(node.inputs[0]).shape, &out = graph.tensor(node.outputs[0]).shape;
  const Values& x = inputs[0];
  switch (node.op) {
    case Op::conv:
      return {reference_conv(graph, node, inputs)};
    case Op::max_pool:
    case Op::average_pool:
      return {reference_pool(graph, node, x)};
    case Op::gemm:
    case Op::matmul:
      return {reference_product(graph, node, inputs)};
    case Op::resize:
      return {reference_resize(graph, node, x)};
    case Op::batch_norm:
      return {batch_norm(node, in, inputs)};
    case Op::global_average_pool:
      return {mean(in, {2, 3}, x)};
    case Op::reduce_mean:
      return {mean(in, node.axes, x)};
    case Op::softmax:
    case Op::log_softmax:
      return {softmax(node, in, x)};
    case Op::lrn:
      return {lrn(node, in, x)};
    case Op::slice:
      return {slice(node, out, in, x)};
    case Op::split:
      return split(graph, node, in, x);
    case Op::concat:
      return {concat(graph, node, out, inputs)};
    case Op::pad:
      return {pad(node, out, in, x)};
    case Op::gather:
      return {gather(node, in, x)};
    case Op::transpose:
      return {transpose(node, out, in, x)};
    case Op::reshape:
    case Op::identity:
      return {x};
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::prelu: {
      Values y(size_of(out));
      const Shape& other = graph.tensor(node.inputs[1]).shape;
      for_each_index(out, [&](const Index& at) {
        y[flat(out, at)] = binary(node.op, broadcast_at(in, x, at), broadcast_at(other, inputs[1], at));
      });
      return {y};
    }
    default: {
      Values y;
      for (const float v : x) y.push_back(unary_value(node, v));
      return {y};
    }
  }
}

std::vector<float> to_logical(const Shape& logical, std::span<const float> stored) {
  Values values(size_of(logical));
  const Shape storage = storage_shape(logical);
  for_each_index(logical, [&](const Index& at) {
    const Index from = logical.rank() == 4 ? Index{at[0], at[2], at[3], at[1]} : at;
    values[flat(logical, at)] = stored[flat(storage, from)];
  });
  return values;
}

void to_storage(const Shape& logical, std::span<const float> values, float* stored) {
  const Shape storage = storage_shape(logical);
  for_each_index(logical, [&](const Index& at) {
    const Index to = logical.rank() == 4 ? Index{at[0], at[2], at[3], at[1]} : at;
    stored[flat(storage, to)] = values[flat(logical, at)];
  });
}

}  // namespace splitcnn::inline v0::cpu
