// Convolutions, depthwise and affine ops, dense layers, general products.
#include <cmath>
#include <limits>

#include "gpu/tail/builder.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

using Kind = Activation::Kind;

std::int64_t up8(std::int64_t n) { return (n + tail_pad - 1) / tail_pad * tail_pad; }

TailWindow window_of(const Window& w) {
  return {w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w, w.pad_top, w.pad_left, w.pad_bottom, w.pad_right};
}

/// {n, h, w, c} of x and {p, q, k} of y, for ranks 4 and 2.
void set_geometry(const Builder& b, TailOp& op) {
  const TailTensor &x = b.at(op.x[0]), &y = b.at(op.y);
  const bool image = x.rank == 4;
  op.n = x.dims[0];
  op.h = image ? x.dims[1] : 1;
  op.w = image ? x.dims[2] : 1;
  op.c = x.dims[x.rank - 1];
  op.p = y.rank == 4 ? y.dims[1] : 1;
  op.q = y.rank == 4 ? y.dims[2] : 1;
  op.k = y.dims[y.rank - 1];
}

/// [out][taps][in] to [out padded][taps][in padded].
std::vector<float> padded_weights(const std::vector<float>& w, std::int64_t outs, std::int64_t taps, std::int64_t ins) {
  const std::int64_t in_padded = up8(ins);
  std::vector<float> padded(static_cast<std::size_t>(up8(outs) * taps * in_padded));
  for (std::int64_t row = 0; row < outs * taps; ++row) {
    for (std::int64_t i = 0; i < ins; ++i)
      padded[static_cast<std::size_t>(row * in_padded + i)] = w[static_cast<std::size_t>(row * ins + i)];
  }
  return padded;
}

void place_bias(Builder& b, TailOp& op, const std::vector<float>& bias) {
  std::vector<float> padded = bias;
  padded.resize(static_cast<std::size_t>(up8(static_cast<std::int64_t>(bias.size()))));
  op.bias = b.place_halves(padded);
}

void place_weights(Builder& b, TailOp& op, const std::vector<float>& weights) {
  op.weights = b.place_halves(weights);
  op.weights_bytes = weights.size() * 2;
}

/// What a cuDNN layer can do itself, and what is left for later.
struct Epilogue {
  TailAct act = TailAct::none;
  float clamp = std::numeric_limits<float>::infinity();
  bool separate = false;

  explicit Epilogue(const Activation& a) {
    if (a.kind == Kind::relu || (a.kind == Kind::clip && a.alpha == 0 && !(a.beta < 0))) {
      act = TailAct::relu;
      if (a.kind == Kind::clip) clamp = a.beta;
    } else {
      separate = a.kind != Kind::none;
    }
  }
};

/// The tensor a cuDNN layer writes: y itself, or an intermediate that the rest of the activation reads.
class LayerResult {
 public:
  LayerResult(Builder& b, const Activation& a, std::uint32_t y)
      : b_{b}, activation_{a}, epilogue_{a}, y_{y}, written_{epilogue_.separate ? b.make(b.logical(y)) : y} {}

  void set(TailOp& op) const {
    op.y = written_;
    op.act = epilogue_.act;
  }
  /// After the op: the clamp its readers owe, or the activation as an op.
  void finish() const {
    if (std::isfinite(epilogue_.clamp)) b_.clamps[b_.root(written_)] = epilogue_.clamp;
    if (epilogue_.separate) copy_activated(b_, written_, y_, activation_);
  }

 private:
  Builder& b_;
  const Activation& activation_;
  Epilogue epilogue_;
  std::uint32_t y_, written_;
};

void build_depthwise(Builder& b, const LoweredOp& lowered) {
  const std::uint32_t x = b.operand(lowered.inputs[0]), y = b.result(lowered.outputs[0]);
  TailOp& op = b.add(TailKind::depthwise);
  op.x[0] = x;
  op.y = y;
  op.window = window_of(lowered.window);
  set_geometry(b, op);
  set_activation(op, lowered.activation);
  const std::int64_t taps = std::int64_t{lowered.window.kernel_h} * lowered.window.kernel_w, c = lowered.in_channels;
  std::vector<float> weights(static_cast<std::size_t>(taps * up8(c)));
  for (std::int64_t i = 0; i < c; ++i) {
    for (std::int64_t t = 0; t < taps; ++t)
      weights[static_cast<std::size_t>(t * up8(c) + i)] = lowered.weights[static_cast<std::size_t>(i * taps + t)];
  }
  place_weights(b, op, weights);
  place_bias(b, op, lowered.bias);
}

/// The input of a dense layer as packed rows; `in` receives their length with padding, `flattened` whether the rows are images.
std::uint32_t dense_rows(Builder& b, const LoweredOp& op, std::int64_t& in, bool& flattened) {
  const std::uint32_t x = b.operand(op.inputs[0]);
  const TailTensor& t = b.at(x);
  const std::int64_t taps = std::int64_t{op.window.kernel_h} * op.window.kernel_w;
  flattened = t.rank == 4 && op.dense_rows == 1 && t.dims[3] == op.in_channels && t.dims[1] == op.window.kernel_h &&
              t.dims[2] == op.window.kernel_w;
  if (flattened) {
    in = t.frame_elements;
    return x;
  }
  in = up8(op.in_channels);
  if (taps == 1 && t.rank != 4 && t.dims[t.rank - 1] == op.in_channels) return x;
  return reshaped(b, x, Shape{op.dense_rows, op.in_channels}, no_tensor);
}

}  // namespace

void set_activation(TailOp& op, const Activation& a) {
  op.act = a.kind == Kind::none           ? TailAct::none
           : a.kind == Kind::relu         ? TailAct::relu
           : a.kind == Kind::clip         ? TailAct::clip
           : a.kind == Kind::leaky_relu   ? TailAct::leaky_relu
           : a.kind == Kind::hard_sigmoid ? TailAct::hard_sigmoid
                                          : TailAct::hard_swish;
  op.act_alpha = a.alpha;
  op.act_beta = a.beta;
}

void build_conv(Builder& b, const LoweredOp& lowered, const LoweredOp* add) {
  if (lowered.groups > 1 && lowered.groups == lowered.in_channels && lowered.groups == lowered.out_channels)
    return build_depthwise(b, lowered);
  std::uint32_t z = no_tensor;
  if (add) z = b.operand(add->inputs[add->inputs[0] == lowered.outputs[0] ? 1 : 0]);
  const std::uint32_t x = b.operand(lowered.inputs[0]);
  const Activation& activation = add ? add->activation : lowered.activation;
  const LayerResult result{b, activation, b.result(add ? add->outputs[0] : lowered.outputs[0])};
  TailOp& op = b.add(TailKind::conv);
  op.x[0] = x;
  op.x[1] = z;
  result.set(op);
  op.window = window_of(lowered.window);
  op.groups = lowered.groups;
  set_geometry(b, op);
  const std::int64_t taps = std::int64_t{lowered.window.kernel_h} * lowered.window.kernel_w;
  if (lowered.groups == 1) {
    place_weights(b, op, padded_weights(lowered.weights, lowered.out_channels, taps, lowered.in_channels));
  } else {
    place_weights(b, op, lowered.weights);
  }
  place_bias(b, op, lowered.bias);
  result.finish();
}

void build_dense(Builder& b, const LoweredOp& lowered) {
  if (lowered.groups > 1) return build_depthwise(b, lowered);  // an affine node on rank 2
  std::int64_t in = 0;
  bool flattened = false;
  const std::uint32_t x = dense_rows(b, lowered, in, flattened), y = b.result(lowered.outputs[0]);
  // Rank 4 is stored with its rows apart: the product goes to packed rows first.
  const bool packed = b.at(y).rank != 4;
  const std::uint32_t rows = packed ? y : b.make(Shape{lowered.dense_rows, lowered.out_channels});
  const LayerResult result{b, lowered.activation, rows};
  TailOp& op = b.add(TailKind::fc);
  op.x[0] = x;
  result.set(op);
  op.rows = lowered.dense_rows;
  op.in = static_cast<std::int32_t>(in);
  op.c = op.in;
  op.k = lowered.out_channels;
  const std::int64_t taps = std::int64_t{lowered.window.kernel_h} * lowered.window.kernel_w;
  place_weights(b, op,
                flattened ? padded_weights(lowered.weights, lowered.out_channels, taps, lowered.in_channels)
                          : padded_weights(lowered.weights, lowered.out_channels, 1, taps * lowered.in_channels));
  place_bias(b, op, lowered.bias);
  result.finish();
  if (!packed) {
    const std::uint32_t turned = reshaped(b, rows, b.logical(y), b.at(y).source);
    b.bind(lowered.outputs[0], turned);
  }
}

void build_product(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const std::uint32_t a = b.operand(lowered.inputs[0]), m = b.operand(lowered.inputs[1]);
  const std::uint32_t c = lowered.inputs.size() == 3 ? b.operand(lowered.inputs[2], 2) : no_tensor;
  const std::uint32_t y = b.result(lowered.outputs[0]);
  const Shape &as = b.graph.tensor(lowered.inputs[0]).shape, &bs = b.graph.tensor(lowered.inputs[1]).shape;
  const Shape& ys = b.graph.tensor(lowered.outputs[0]).shape;
  if (as.rank() < 2 || bs.rank() < 2) b.refuse("a product with an operand of rank 1");
  const auto sa = b.strides(a), sb = b.strides(m), sy = b.strides(y);
  const std::size_t ra = as.rank(), rb = bs.rank(), ry = ys.rank();
  const bool gemm = node.op == Op::gemm, ta = gemm && node.transpose_a, tb = gemm && node.transpose_b;
  TailOp& op = b.add(TailKind::product);
  op.x[0] = a;
  op.x[1] = m;
  op.x[2] = c;
  op.y = y;
  op.pm = static_cast<std::int32_t>(ys[ry - 2]);
  op.pn = static_cast<std::int32_t>(ys[ry - 1]);
  op.pk = static_cast<std::int32_t>(ta ? as[0] : as[ra - 1]);
  const auto step = [](std::int64_t s) { return static_cast<std::int32_t>(s); };
  op.a_m = step(ta ? sa[1] : sa[ra - 2]);
  op.a_k = step(ta ? sa[0] : sa[ra - 1]);
  op.b_k = step(tb ? sb[1] : sb[rb - 2]);
  op.b_n = step(tb ? sb[0] : sb[rb - 1]);
  op.y_m = step(sy[ry - 2]);
  op.y_n = step(sy[ry - 1]);
  op.alpha = gemm ? node.alpha : 1.0f;
  op.beta = gemm ? node.beta : 0.0f;
  if (c != no_tensor) {
    const auto sc = b.strides(c);
    const Shape& cs = b.logical(c);
    const std::size_t last = cs.rank() - 1;  // rank 1 is one row for all
    op.c_m = last == 0 || cs[last - 1] == 1 ? 0 : step(sc[last - 1]);
    op.c_n = cs[last] == 1 ? 0 : step(sc[last]);
  }
  std::vector<Loop> loops;
  const auto batch_step = [&](const Shape& s, const LogicalStrides& strides, std::size_t d) {
    const std::size_t missing = ry - s.rank();
    return d < missing || s[d - missing] == 1 ? std::int64_t{0} : strides[d - missing];
  };
  for (std::size_t d = 0; d + 2 < ry; ++d)
    loops.push_back({ys[d], {batch_step(as, sa, d), batch_step(bs, sb, d), 0, sy[d]}});
  set_walks(op, loops, {0, 0, 0, 0}, true);
  op.clear = b.pads(y) != 0;
}

void build_window(Builder& b, const LoweredOp& lowered) {
  const Node& node = b.graph.nodes()[lowered.node];
  const std::uint32_t x = b.operand(lowered.inputs[0]), y = b.result(lowered.outputs[0]);
  if (b.at(x).rank != 4) b.refuse("a pool of a tensor that is no image");
  TailOp& op = b.add(lowered.op == Op::max_pool       ? TailKind::max_pool
                     : lowered.op == Op::average_pool ? TailKind::average_pool
                                                      : TailKind::global_average_pool);
  op.x[0] = x;
  op.y = y;
  if (op.kind != TailKind::global_average_pool) op.window = window_of(node.window);
  op.count_include_pad = node.count_include_pad;
  set_geometry(b, op);
  set_activation(op, lowered.activation);
}

}  // namespace splitcnn::inline v0::gpu
