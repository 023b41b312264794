// Element functions with broadcasting, means, softmax and LRN, entry and exit.
#include <cmath>

#include "gpu/tail/builder.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

/// Steps of an operand over the loops of y, as numpy broadcasts.
void set_steps(const Builder& b, std::vector<Loop>& loops, const std::vector<std::size_t>& axis, std::size_t which,
               std::uint32_t operand, std::size_t y_rank) {
  const Shape& shape = b.logical(operand);
  const auto strides = b.strides(operand);
  const std::size_t missing = y_rank - std::min(y_rank, shape.rank());
  for (std::size_t d = 0; d < loops.size(); ++d) {
    const std::size_t a = axis[d];
    loops[d].step[which] = a < missing || shape[a - missing] == 1 ? 0 : strides[a - missing];
  }
}

TailOp& elementwise(Builder& b, TailMath math, std::initializer_list<std::uint32_t> operands, std::uint32_t y) {
  std::vector<std::size_t> axis;
  std::vector<Loop> loops = b.loops_over(y, axis);
  std::size_t i = 0;
  for (const std::uint32_t x : operands) set_steps(b, loops, axis, i++, x, b.logical(y).rank());
  TailOp& op = b.add(TailKind::elementwise);
  op.math = math;
  std::copy(operands.begin(), operands.end(), op.x);
  op.y = y;
  op.pad_lanes = b.pads(y);
  set_walks(op, loops, {0, 0, 0, 0}, op.pad_lanes == 0);
  return op;
}

IoType io_type(DType t) { return t == DType::i8 ? IoType::i8 : t == DType::f16 ? IoType::f16 : IoType::f32; }

TailIo io_of(const EdgeTensor& edge, std::uint32_t tensor) {
  return {io_type(edge.representation.dtype), edge.representation.fix_point, tensor, edge.spec.bytes()};
}

/// Steps of an io buffer per LOGICAL axis.
LogicalStrides io_strides(const Shape& logical, bool channels_last) {
  LogicalStrides s{};
  if (logical.rank() == 4 && channels_last) {
    return {logical[1] * logical[2] * logical[3], 1, logical[3] * logical[1], logical[1]};
  }
  std::int64_t step = 1;
  for (std::size_t d = logical.rank(); d-- > 0; step *= logical[d]) s[d] = step;
  return s;
}

}  // namespace

void copy_activated(Builder& b, std::uint32_t x, std::uint32_t y, const Activation& activation) {
  set_activation(elementwise(b, TailMath::copy, {x}, y), activation);
}

void build_unary(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const std::uint32_t x = b.operand(lowered.inputs[0]);
  if (node.op == Op::identity) {
    b.bind(lowered.outputs[0], b.alias(x, b.logical(x), lowered.outputs[0]));
    return;
  }
  TailMath math = TailMath::copy;
  Activation activation = lowered.activation;
  using Kind = Activation::Kind;
  switch (node.op) {
    case Op::relu: activation = {Kind::relu}; break;
    case Op::clip: activation = {Kind::clip, node.alpha, node.beta}; break;
    case Op::leaky_relu: activation = {Kind::leaky_relu, node.alpha}; break;
    case Op::hard_sigmoid: activation = {Kind::hard_sigmoid, node.alpha, node.beta}; break;
    case Op::hard_swish: activation = {Kind::hard_swish}; break;
    case Op::sigmoid: math = TailMath::sigmoid; break;
    case Op::tanh: math = TailMath::tanh; break;
    case Op::exp: math = TailMath::exp; break;
    default: math = TailMath::sqrt; break;
  }
  set_activation(elementwise(b, math, {x}, b.result(lowered.outputs[0])), activation);
}

void build_binary(Builder& b, const LoweredOp& lowered) {
  const std::size_t rank = b.graph.tensor(lowered.outputs[0]).shape.rank();
  const std::uint32_t x = b.operand(lowered.inputs[0], rank), other = b.operand(lowered.inputs[1], rank);
  const TailMath math = lowered.op == Op::add   ? TailMath::add
                        : lowered.op == Op::sub ? TailMath::sub
                        : lowered.op == Op::mul ? TailMath::mul
                        : lowered.op == Op::div ? TailMath::div
                                                : TailMath::prelu;
  set_activation(elementwise(b, math, {x, other}, b.result(lowered.outputs[0])), lowered.activation);
}

void build_batch_norm(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const auto value = [&](std::size_t input, std::size_t c) { return static_cast<double>(b.graph.constant(node.inputs[input])[c]); };
  const std::uint32_t x = b.operand(lowered.inputs[0]);
  const Shape& shape = b.logical(x);
  for (std::size_t i = 1; i < 5; ++i) {
    if (!b.graph.tensor(node.inputs[i]).constant) b.refuse("batch normalisation with computed statistics");
  }
  std::vector<float> scale, shift;
  for (std::size_t c = 0; c < static_cast<std::size_t>(shape[1]); ++c) {
    const double s = value(1, c) / std::sqrt(value(4, c) + static_cast<double>(node.alpha));
    scale.push_back(static_cast<float>(s));
    shift.push_back(static_cast<float>(value(2, c) - value(3, c) * s));
  }
  std::vector<std::int64_t> dims(shape.rank(), 1);
  dims[1] = shape[1];
  const Shape per_channel{std::span<const std::int64_t>{dims}};
  const std::uint32_t s = b.constant(per_channel, scale), t = b.constant(per_channel, shift);
  set_activation(elementwise(b, TailMath::affine, {x, s, t}, b.result(lowered.outputs[0])), lowered.activation);
}

void build_mean(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const std::uint32_t x = b.operand(lowered.inputs[0]), y = b.result(lowered.outputs[0]);
  const Shape& shape = b.logical(x);
  const auto& axes = node.axes;
  if (shape.rank() == 4 && axes == std::vector<std::int64_t>{2, 3}) {  // the same bytes whether the axes stay or not
    TailOp& op = b.add(TailKind::global_average_pool);
    op.x[0] = x;
    op.y = y;
    op.n = b.at(x).dims[0];
    op.h = b.at(x).dims[1];
    op.w = b.at(x).dims[2];
    op.c = op.k = b.at(x).dims[3];
    set_activation(op, lowered.activation);
    return;
  }
  // The kept axes of x meet the axes of y in logical order, sizes of one aside.
  const auto xs = b.strides(x), ys = b.strides(y);
  std::vector<Loop> kept, reduced;
  std::vector<std::int64_t> y_steps;
  for (std::size_t d = 0; d < b.logical(y).rank(); ++d) {
    if (b.logical(y)[d] != 1) y_steps.push_back(ys[d]);
  }
  std::size_t next = 0;
  for (std::size_t d = 0; d < shape.rank(); ++d) {
    const bool gone = std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(d)) != axes.end();
    if (gone) {
      reduced.push_back({shape[d], {0, xs[d], 0, 0}});
    } else if (shape[d] != 1) {
      kept.push_back({shape[d], {xs[d], 0, 0, y_steps.at(next++)}});
    }
  }
  TailOp& op = b.add(TailKind::mean);
  op.x[0] = x;
  op.y = y;
  set_walks(op, reduced, {0, 0, 0, 0}, true);
  const TailWalk over = op.walk[1];
  set_walks(op, kept, {0, 0, 0, 0}, true);
  op.walk[1] = over;
  op.clear = b.pads(y) != 0;
  set_activation(op, lowered.activation);
}

void build_axis(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const std::uint32_t x = b.operand(lowered.inputs[0]), y = b.result(lowered.outputs[0]);
  const std::size_t along = node.op == Op::lrn ? 1 : static_cast<std::size_t>(node.axes[0]);
  const auto xs = b.strides(x);
  std::vector<std::size_t> axis;
  std::vector<Loop> loops = b.loops_over(y, axis), others;
  TailOp& op = b.add(node.op == Op::lrn ? TailKind::lrn : node.op == Op::softmax ? TailKind::softmax : TailKind::log_softmax);
  op.x[0] = x;
  op.y = y;
  for (std::size_t d = 0; d < loops.size(); ++d) {
    loops[d].step[0] = xs[axis[d]];
    if (axis[d] != along) {
      others.push_back(loops[d]);
      continue;
    }
    op.axis_n = static_cast<std::int32_t>(loops[d].n);
    op.axis_x = static_cast<std::int32_t>(xs[along]);
    op.axis_y = static_cast<std::int32_t>(loops[d].step[3]);
  }
  set_walks(op, others, {0, 0, 0, 0}, true);
  op.clear = b.pads(y) != 0;
  if (node.op != Op::lrn) return;
  op.lrn_before = (node.size - 1) / 2;
  op.lrn_after = node.size - 1 - op.lrn_before;
  op.alpha = node.alpha / static_cast<float>(node.size);
  op.beta = node.beta;
  op.lrn_bias = node.bias;
}

void build_entry(Builder& b, const EdgeTensor& edge, std::uint32_t io) {
  const std::uint32_t y = b.result(edge.id);
  const auto steps = io_strides(b.logical(y), edge.representation.channels_last);
  std::vector<std::size_t> axis;
  std::vector<Loop> loops = b.loops_over(y, axis);
  for (std::size_t d = 0; d < loops.size(); ++d) loops[d].step[0] = steps[axis[d]];
  b.program.inputs.push_back(io_of(edge, y));
  TailOp& op = b.add(TailKind::entry);
  op.y = y;
  op.io = io;
  op.pad_lanes = b.pads(y);
  set_walks(op, loops, {0, 0, 0, 0}, op.pad_lanes == 0);
}

void build_exit(Builder& b, const EdgeTensor& edge, std::uint32_t io) {
  const std::uint32_t x = b.operand(edge.id);
  const Shape& logical = b.logical(x);
  const auto from = b.strides(x), to = io_strides(logical, edge.representation.channels_last);
  std::vector<Loop> loops;
  for (std::size_t d = 0; d < logical.rank(); ++d) loops.push_back({logical[d], {from[d], 0, 0, to[d]}});
  // In the order of the buffer.
  if (logical.rank() == 4 && edge.representation.channels_last) loops = {loops[0], loops[2], loops[3], loops[1]};
  b.program.outputs.push_back(io_of(edge, x));
  TailOp& op = b.add(TailKind::exit);
  op.x[0] = x;
  op.io = io;
  set_walks(op, loops, {0, 0, 0, 0}, true);
}

}  // namespace splitcnn::inline v0::gpu
