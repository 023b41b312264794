#include "graph/shape_inference.hpp"

#include <fmt/core.h>

#include <cmath>

namespace splitcnn::inline v0 {

namespace {

constexpr std::int64_t max_elements = std::int64_t{1} << 40;  // far above any real tensor, far below overflow
constexpr int max_window = 1 << 20;

[[noreturn]] void fail(const Node& node, const std::string& what) {
  throw Error{Errc::bad_model, fmt::format("node '{}' ({}): {}", node.name, to_string(node.op), what)};
}

void check_inputs(const Node& node, std::span<const Shape> inputs, std::size_t least, std::size_t most) {
  if (inputs.size() < least || inputs.size() > most) {
    fail(node, fmt::format("has {} inputs, needs {}", inputs.size(),
                           least == most ? std::to_string(least) : fmt::format("{} to {}", least, most)));
  }
}

void check_rank(const Node& node, const Shape& shape, std::size_t rank) {
  if (shape.rank() != rank) fail(node, fmt::format("input of shape {} must have {} dimensions", to_string(shape), rank));
}

std::size_t checked_axis(const Node& node, std::size_t rank) {
  if (node.axes.empty() || node.axes[0] < 0 || node.axes[0] >= static_cast<std::int64_t>(rank)) {
    fail(node, fmt::format("axis {} is outside a tensor of {} dimensions", node.axes.empty() ? -1 : node.axes[0], rank));
  }
  return static_cast<std::size_t>(node.axes[0]);
}

void check_per_dimension(const Node& node, const std::vector<std::int64_t>& values, std::size_t rank, const char* what) {
  if (values.size() != rank) fail(node, fmt::format("{} has {} entries for {} dimensions", what, values.size(), rank));
}

void check_window(const Node& node) {
  const Window& w = node.window;
  for (const int v : {w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w}) {
    if (v < 1 || v > max_window) fail(node, fmt::format("kernel, stride and dilation must be 1 to {}", max_window));
  }
  for (const int v : {w.pad_top, w.pad_left, w.pad_bottom, w.pad_right}) {
    if (v < 0 || v > max_window) fail(node, fmt::format("padding must be 0 to {}", max_window));
  }
}

Shape windowed(const Node& node, const Shape& x, std::int64_t channels) {
  check_window(node);
  const Window& w = node.window;
  const std::int64_t h = window_output(x[2], w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom, node.ceil_mode);
  const std::int64_t v = window_output(x[3], w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right, node.ceil_mode);
  if (h < 1 || v < 1) {
    fail(node, fmt::format("its {}x{} window does not fit into the input {}", w.kernel_h, w.kernel_w, to_string(x)));
  }
  return {x[0], channels, h, v};
}

Shape conv_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 2, 3);
  check_rank(node, in[0], 4);
  check_rank(node, in[1], 4);
  const Shape& w = in[1];
  if (node.groups < 1 || in[0][1] % node.groups != 0 || w[0] % node.groups != 0 || w[1] != in[0][1] / node.groups) {
    fail(node, fmt::format("weights {} with {} groups do not fit the input {}", to_string(w), node.groups, to_string(in[0])));
  }
  if (w[2] != node.window.kernel_h || w[3] != node.window.kernel_w) {
    fail(node, fmt::format("weights {} do not have the kernel {}x{}", to_string(w), node.window.kernel_h, node.window.kernel_w));
  }
  if (in.size() == 3 && in[2] != Shape{w[0]}) {
    fail(node, fmt::format("bias {} does not fit {} output channels", to_string(in[2]), w[0]));
  }
  return windowed(node, in[0], w[0]);
}

Shape batch_norm_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 5, 5);
  if (in[0].rank() < 2) fail(node, fmt::format("input {} has no channels", to_string(in[0])));
  for (const Shape& s : in.subspan(1)) {
    if (s != Shape{in[0][1]}) fail(node, fmt::format("parameter {} does not fit {} channels", to_string(s), in[0][1]));
  }
  return in[0];
}

Shape binary_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 2, 2);
  const auto shape = broadcast(in[0], in[1]);
  if (!shape) fail(node, fmt::format("shapes {} and {} do not broadcast", to_string(in[0]), to_string(in[1])));
  return *shape;
}

Shape concat_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 1, 100'000);
  const std::size_t axis = checked_axis(node, in[0].rank());
  Shape out = in[0];
  for (const Shape& s : in.subspan(1)) {
    bool fits = s.rank() == out.rank();
    for (std::size_t d = 0; fits && d < out.rank(); ++d) fits = d == axis || s[d] == out[d];
    if (!fits) fail(node, fmt::format("shapes {} and {} differ outside axis {}", to_string(in[0]), to_string(s), axis));
    out[axis] += s[axis];
  }
  return out;
}

Shape slice_shape(const Node& node, const Shape& x) {
  check_per_dimension(node, node.begins, x.rank(), "begins");
  check_per_dimension(node, node.ends, x.rank(), "ends");
  check_per_dimension(node, node.steps, x.rank(), "steps");
  Shape out = x;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const std::int64_t step = node.steps[d], begin = node.begins[d], end = node.ends[d];
    const bool inside = step > 0 ? begin >= 0 && begin <= x[d] && end >= 0 && end <= x[d]
                                 : begin >= -1 && begin < x[d] && end >= -1 && end < x[d];
    if (step == 0 || !inside) fail(node, fmt::format("range {}:{}:{} is outside dimension {} of {}", begin, end, step, d, to_string(x)));
    const std::int64_t span = step > 0 ? end - begin : begin - end;
    const std::int64_t stride = step > 0 ? step : -step;
    out[d] = span <= 0 ? 0 : (span - 1) / stride + 1;
  }
  return out;
}

Shape pad_shape(const Node& node, const Shape& x) {
  check_per_dimension(node, node.begins, x.rank(), "begins");
  check_per_dimension(node, node.ends, x.rank(), "ends");
  Shape out = x;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    if (node.begins[d] < 0 || node.ends[d] < 0 || node.begins[d] > max_elements || node.ends[d] > max_elements) {
      fail(node, fmt::format("padding {} and {} of dimension {} must not be negative", node.begins[d], node.ends[d], d));
    }
    out[d] += node.begins[d] + node.ends[d];
  }
  return out;
}

Shape gather_shape(const Node& node, const Shape& x, std::span<const Shape> given) {
  const std::size_t axis = checked_axis(node, x.rank());
  for (const std::int64_t i : node.begins) {
    if (i < 0 || i >= x[axis]) fail(node, fmt::format("index {} is outside axis {} of {}", i, axis, to_string(x)));
  }
  Shape out = x;
  out[axis] = static_cast<std::int64_t>(node.begins.size());
  if (given.empty()) return out;
  if (given[0].elements() != out.elements()) {
    fail(node, fmt::format("{} indices on axis {} of {} do not make {}", node.begins.size(), axis, to_string(x), to_string(given[0])));
  }
  return given[0];  // scalar or multi-dimensional indices
}

Shape transpose_shape(const Node& node, const Shape& x) {
  check_per_dimension(node, node.axes, x.rank(), "permutation");
  Shape out = x;
  std::vector<bool> seen(x.rank());
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const std::int64_t from = node.axes[d];
    if (from < 0 || from >= static_cast<std::int64_t>(x.rank()) || seen[static_cast<std::size_t>(from)]) {
      fail(node, "axes are not a permutation");
    }
    seen[static_cast<std::size_t>(from)] = true;
    out[d] = x[static_cast<std::size_t>(from)];
  }
  return out;
}

Shape resize_shape(const Node& node, const Shape& x, std::span<const Shape> given) {
  if (node.scales.size() != x.rank()) fail(node, fmt::format("{} scales for {} dimensions", node.scales.size(), x.rank()));
  Shape out = x;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const double size = std::floor(static_cast<double>(x[d]) * static_cast<double>(node.scales[d]));
    if (!(size >= 0) || size > static_cast<double>(max_elements)) fail(node, fmt::format("scale {} of dimension {}", node.scales[d], d));
    out[d] = static_cast<std::int64_t>(size);
  }
  if (given.empty()) return out;
  if (given[0].rank() != x.rank()) fail(node, fmt::format("size {} for an input {}", to_string(given[0]), to_string(x)));
  return given[0];
}

Shape gemm_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 2, 3);
  check_rank(node, in[0], 2);
  check_rank(node, in[1], 2);
  const std::int64_t m = in[0][node.transpose_a ? 1 : 0], ka = in[0][node.transpose_a ? 0 : 1];
  const std::int64_t kb = in[1][node.transpose_b ? 1 : 0], n = in[1][node.transpose_b ? 0 : 1];
  if (ka != kb) fail(node, fmt::format("matrices {} and {} do not multiply", to_string(in[0]), to_string(in[1])));
  const Shape out{m, n};
  if (in.size() == 3 && broadcast(in[2], out) != out) fail(node, fmt::format("bias {} does not fit {}", to_string(in[2]), to_string(out)));
  return out;
}

Shape matmul_shape(const Node& node, std::span<const Shape> in) {
  check_inputs(node, in, 2, 2);
  const Shape &a = in[0], &b = in[1];
  if (a.rank() < 2 || b.rank() < 2) fail(node, fmt::format("matrices {} and {} need two dimensions or more", to_string(a), to_string(b)));
  if (a.back() != b[b.rank() - 2]) fail(node, fmt::format("matrices {} and {} do not multiply", to_string(a), to_string(b)));
  const Shape outer_a{std::span{a.begin(), a.rank() - 2}}, outer_b{std::span{b.begin(), b.rank() - 2}};
  const auto outer = broadcast(outer_a, outer_b);
  if (!outer) fail(node, fmt::format("matrices {} and {} do not broadcast", to_string(a), to_string(b)));
  std::vector<std::int64_t> dims(outer->begin(), outer->end());
  dims.push_back(a[a.rank() - 2]);
  dims.push_back(b.back());
  return Shape{std::span<const std::int64_t>{dims}};
}

Shape given_shape(const Node& node, std::span<const Shape> given, std::int64_t elements) {
  if (given.size() != 1) fail(node, "its output shape must be stated");
  if (given[0].elements() != elements) fail(node, fmt::format("{} elements do not make the shape {}", elements, to_string(given[0])));
  return given[0];
}

Shape reduce_shape(const Node& node, const Shape& x, std::span<const Shape> given) {
  std::int64_t rest = x.elements();
  for (const std::int64_t axis : node.axes) {
    if (axis < 0 || axis >= static_cast<std::int64_t>(x.rank())) fail(node, fmt::format("axis {} is outside {}", axis, to_string(x)));
    const std::int64_t d = x[static_cast<std::size_t>(axis)];
    if (d == 0) fail(node, "mean over an empty dimension");
    rest /= d;
  }
  return given_shape(node, given, rest);
}

void check_split(const Node& node, const Shape& x, std::span<const Shape> given) {
  const std::size_t axis = checked_axis(node, x.rank());
  std::int64_t sum = 0;
  for (const Shape& s : given) {
    if (s.rank() != x.rank()) fail(node, fmt::format("part {} of {}", to_string(s), to_string(x)));
    for (std::size_t d = 0; d < x.rank(); ++d) {
      if (d != axis && s[d] != x[d]) fail(node, fmt::format("part {} of {} along axis {}", to_string(s), to_string(x), axis));
    }
    sum += s[axis];
  }
  if (given.empty() || sum != x[axis]) fail(node, fmt::format("its parts do not add up to {} along axis {}", to_string(x), axis));
}

Shape one_output(const Node& node, std::span<const Shape> in, std::span<const Shape> given) {
  const auto unary = [&]() -> const Shape& {
    check_inputs(node, in, 1, 1);
    return in[0];
  };
  switch (node.op) {
    case Op::conv: return conv_shape(node, in);
    case Op::batch_norm: return batch_norm_shape(node, in);
    case Op::relu: case Op::clip: case Op::leaky_relu: case Op::hard_sigmoid: case Op::hard_swish: case Op::sigmoid:
    case Op::tanh: case Op::exp: case Op::sqrt: case Op::identity: return unary();
    case Op::prelu: {
      const Shape shape = binary_shape(node, in);
      if (shape != in[0]) fail(node, fmt::format("slope {} does not broadcast to {}", to_string(in[1]), to_string(in[0])));
      return shape;
    }
    case Op::max_pool: case Op::average_pool: check_rank(node, unary(), 4); return windowed(node, in[0], in[0][1]);
    case Op::global_average_pool: check_rank(node, unary(), 4); return {in[0][0], in[0][1], 1, 1};
    case Op::reduce_mean: return reduce_shape(node, unary(), given);
    case Op::add: case Op::sub: case Op::mul: case Op::div: return binary_shape(node, in);
    case Op::concat: return concat_shape(node, in);
    case Op::slice: return slice_shape(node, unary());
    case Op::pad: return pad_shape(node, unary());
    case Op::gather: return gather_shape(node, unary(), given);
    case Op::reshape: return given_shape(node, given, unary().elements());
    case Op::transpose: return transpose_shape(node, unary());
    case Op::resize: return resize_shape(node, unary(), given);
    case Op::gemm: return gemm_shape(node, in);
    case Op::matmul: return matmul_shape(node, in);
    case Op::softmax: case Op::log_softmax: checked_axis(node, unary().rank()); return in[0];
    case Op::lrn:
      if (unary().rank() < 2 || node.size < 1) fail(node, "needs channels and a size of 1 or more");
      return in[0];
    case Op::split: break;  // handled by the caller: several outputs
  }
  fail(node, "has no shape rule");
}

void check_size(const Node& node, const Shape& shape) {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) {
    if (d != 0 && n > max_elements / d) fail(node, fmt::format("output {} is too large", to_string(shape)));
    n *= d;
  }
}

}  // namespace

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape out = a.rank() >= b.rank() ? a : b;
  const Shape& other = a.rank() >= b.rank() ? b : a;
  const std::size_t offset = out.rank() - other.rank();
  for (std::size_t d = 0; d < other.rank(); ++d) {
    std::int64_t& x = out[d + offset];
    if (x == other[d] || other[d] == 1) continue;
    if (x != 1) return std::nullopt;
    x = other[d];
  }
  return out;
}

std::int64_t window_output(std::int64_t size, int kernel, int stride, int dilation, int pad_before, int pad_after, bool ceil_mode) {
  const std::int64_t room = size + pad_before + pad_after - (std::int64_t{dilation} * (kernel - 1) + 1);
  if (room < 0) return 0;
  std::int64_t out = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (out - 1) * stride >= size + pad_before) --out;
  return out;
}

std::vector<Shape> infer_shapes(const Node& node, std::span<const Shape> inputs, std::span<const Shape> given) {
  if (node.op == Op::split) {
    check_inputs(node, inputs, 1, 1);
    check_split(node, inputs[0], given);
    return {given.begin(), given.end()};
  }
  const Shape shape = one_output(node, inputs, given);
  check_size(node, shape);
  if (given.size() > 1 || (given.size() == 1 && given[0] != shape)) {
    fail(node, fmt::format("its output has the shape {}, not the stated {}", to_string(shape), to_string(given[0])));
  }
  return {shape};
}

}  // namespace splitcnn::inline v0
