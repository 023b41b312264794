// Activations, arithmetic, matrix products and reductions.
#include <fmt/core.h>

#include <cfloat>
#include <limits>

#include "graph/onnx/node_context.hpp"

namespace splitcnn::inline v0 {

namespace {

template <Op op>
void unary(NodeContext& c) {
  c.expect_inputs(1, 1);
  c.emit({.op = op}, {&c.input(0)});
}

template <Op op>
void binary(NodeContext& c) {
  c.expect_inputs(2, 2);
  c.emit({.op = op}, {&c.input(0), &c.input(1)});
}

/// A bound at or beyond the largest float bounds nothing.
float lower(float v) { return v <= -FLT_MAX ? -std::numeric_limits<float>::infinity() : v; }
float upper(float v) { return v >= FLT_MAX ? std::numeric_limits<float>::infinity() : v; }

void clip(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 11 ? 1 : 3);
  Node node{.op = Op::clip, .alpha = -FLT_MAX, .beta = FLT_MAX};
  if (c.opset() < 11) {
    node.alpha = c.real("min", node.alpha);
    node.beta = c.real("max", node.beta);
  } else {
    if (c.has(1)) node.alpha = c.constant_real(1, "bounds");
    if (c.has(2)) node.beta = c.constant_real(2, "bounds");
  }
  node.alpha = lower(node.alpha);
  node.beta = upper(node.beta);
  c.emit(std::move(node), {&c.input(0)});
}

void leaky_relu(NodeContext& c) {
  c.expect_inputs(1, 1);
  c.emit({.op = Op::leaky_relu, .alpha = c.real("alpha", 0.01f)}, {&c.input(0)});
}

void prelu(NodeContext& c) {
  c.expect_inputs(2, 2);
  if (!c.is_constant(1))
    c.unsupported("its slope is computed from the input image; only a constant one is supported");
  c.emit({.op = Op::prelu}, {&c.input(0), &c.input(1)});
}

void hard_sigmoid(NodeContext& c) {
  c.expect_inputs(1, 1);
  c.emit({.op = Op::hard_sigmoid, .alpha = c.real("alpha", 0.2f), .beta = c.real("beta", 0.5f)},
         {&c.input(0)});
}

/// One input stays an identity, n inputs become n-1 additions from the left.
void sum(NodeContext& c) {
  c.expect_inputs(1, 100'000);
  if (c.inputs() == 1) return c.emit({.op = Op::identity}, {&c.input(0)});
  Value* total = &c.input(0);
  for (std::size_t i = 1; i + 1 < c.inputs(); ++i)
    total = &c.emit_before({.op = Op::add}, {total, &c.input(i)}, fmt::format("sum{}", i));
  c.emit({.op = Op::add}, {total, &c.input(c.inputs() - 1)});
}

void gemm(NodeContext& c) {
  c.expect_inputs(2, 3);
  Node node{.op = Op::gemm,
            .transpose_a = c.flag("transA", false),
            .transpose_b = c.flag("transB", false),
            .alpha = c.real("alpha", 1.0f),
            .beta = c.real("beta", 1.0f)};
  std::vector<Value*> inputs{&c.input(0), &c.input(1)};
  if (c.has(2)) inputs.push_back(&c.input(2));
  c.emit(std::move(node), std::move(inputs));
}

/// numpy: a vector on the left is a row, on the right a column, and that dimension vanishes from the result.
void matmul(NodeContext& c) {
  c.expect_inputs(2, 2);
  Value *a = &c.input(0), *b = &c.input(1);
  const bool row = a->shape.rank() == 1, column = b->shape.rank() == 1;
  if (!row && !column) return c.emit({.op = Op::matmul}, {a, b});
  if (row) a = &c.emit_before({.op = Op::reshape}, {a}, "row", Shape{1, a->shape[0]});
  if (column) b = &c.emit_before({.op = Op::reshape}, {b}, "column", Shape{b->shape[0], 1});
  Value& product = c.emit_before({.op = Op::matmul}, {a, b}, "product");
  std::vector<std::int64_t> dims(product.shape.begin(), product.shape.end());
  if (column) dims.pop_back();
  if (row) dims.erase(dims.end() - (column ? 1 : 2));
  c.emit_reshape(product, c.shape_of(dims));
}

/// Until opset 12 the tensor was flattened to two dimensions at `axis` and the softmax ran over all that
/// follows.
template <Op op>
void softmax(NodeContext& c) {
  c.expect_inputs(1, 1);
  const Shape x = c.shape(0);
  const std::size_t axis =
      c.axis(c.integer("axis", c.opset() < 13 ? 1 : -1), std::max<std::size_t>(x.rank(), 1));
  const auto along = [&](std::size_t d) { return Node{.op = op, .axes = {static_cast<std::int64_t>(d)}}; };
  if (c.opset() >= 13) return c.emit(along(axis), {&c.input(0)});

  std::size_t large = axis, larges = 0;  // dimensions of 1 do not matter
  std::int64_t outer = 1, inner = 1;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    (d < axis ? outer : inner) *= x[d];
    if (d >= axis && x[d] != 1) large = d, ++larges;
  }
  if (larges <= 1) return c.emit(along(large), {&c.input(0)});
  Value& flat = c.emit_before({.op = Op::reshape}, {&c.input(0)}, "flat", Shape{outer, inner});
  Value& result = c.emit_before(along(1), {&flat}, "rows");
  c.emit_reshape(result, x);
}

void reduce_mean(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 18 ? 1 : 2);
  const Shape x = c.shape(0);
  auto axes = c.moved_integers("axes", 1, 18);
  if (!axes || axes->empty()) {
    if (c.flag("noop_with_empty_axes", false)) return c.emit({.op = Op::identity}, {&c.input(0)});
    axes.emplace();
    for (std::size_t d = 0; d < x.rank(); ++d) axes->push_back(static_cast<std::int64_t>(d));
  }
  Node node{.op = Op::reduce_mean, .axes = c.axes(*axes, x.rank())};
  const bool keep = c.flag("keepdims", true);
  std::vector<std::int64_t> dims;
  std::size_t next = 0;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const bool reduced = next < node.axes.size() && node.axes[next] == static_cast<std::int64_t>(d);
    if (reduced) ++next;
    if (!reduced || keep) dims.push_back(reduced ? 1 : x[d]);
  }
  c.emit(std::move(node), {&c.input(0)}, c.shape_of(dims));
}

constexpr OperatorEntry math_entries[] = {
    {"Relu", unary<Op::relu>},
    {"Sigmoid", unary<Op::sigmoid>},
    {"Tanh", unary<Op::tanh>},
    {"Exp", unary<Op::exp>},
    {"Sqrt", unary<Op::sqrt>},
    {"HardSwish", unary<Op::hard_swish>},
    {"Clip", clip},
    {"LeakyRelu", leaky_relu},
    {"PRelu", prelu},
    {"HardSigmoid", hard_sigmoid},
    {"Add", binary<Op::add>},
    {"Sub", binary<Op::sub>},
    {"Mul", binary<Op::mul>},
    {"Div", binary<Op::div>},
    {"Sum", sum},
    {"Gemm", gemm},
    {"MatMul", matmul},
    {"Softmax", softmax<Op::softmax>},
    {"LogSoftmax", softmax<Op::log_softmax>},
    {"ReduceMean", reduce_mean},
};

}  // namespace

std::span<const OperatorEntry> math_operators() { return math_entries; }

}  // namespace splitcnn::inline v0
