// Parameters of the layers' bodies.
#include "gpu/cuda/kernels/calls.hpp"

#include "gpu/cuda/kernels/call_parts.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

std::int32_t padded(std::int32_t n) { return (n + tail_pad - 1) / tail_pad * tail_pad; }

Geometry geometry(const OpCall& call) {
  const TailOp& op = *call.op;
  Geometry g;
  g.n = op.n * static_cast<std::int32_t>(call.frames);
  g.h = op.h;
  g.w = op.w;
  g.c = op.c;
  g.cp = call.padded_x;
  g.p = op.p;
  g.q = op.q;
  g.k = op.k;
  g.kp = call.padded_y;
  g.window = op.window;
  g.groups = op.groups;
  if (op.kind == TailKind::fc) {
    g = {};
    g.n = static_cast<std::int32_t>(fc_rows(call));
    g.c = g.cp = op.in;
    g.k = op.k;
    g.kp = call.padded_y;
  }
  if (op.kind == TailKind::global_average_pool) {
    g.window = {};
    g.window.kernel_h = op.h;
    g.window.kernel_w = op.w;
  }
  return g;
}

std::uint32_t positive(std::int64_t n) { return static_cast<std::uint32_t>(n); }

}  // namespace

std::uint64_t clear_bytes(const OpCall& call) {
  return call.op->clear ? std::uint64_t{call.frames} * static_cast<std::uint64_t>(call.frame_y) * 2 : 0;
}

std::uint32_t fc_rows(const OpCall& call) { return static_cast<std::uint32_t>(call.op->rows) * call.frames; }

ConvBody conv_body(const OpCall& call) {
  ConvBody b;
  b.g = geometry(call);
  b.x = call.x[0];
  b.z = call.op->kind == TailKind::conv ? call.x[1] : nullptr;
  b.weights = halves_at(call.weights, call.op->weights);
  b.bias = halves_at(call.weights, call.op->bias);
  b.y = call.y;
  b.act = act_of(*call.op);
  b.by_k = FastDiv{b.g.kp};
  b.by_q = FastDiv{b.g.q};
  b.by_p = FastDiv{b.g.p};
  b.total = positive(std::int64_t{b.g.n} * b.g.p * b.g.q * b.g.kp);
  return b;
}

template <int kernel, int stride, int tile>
DepthwiseBody<kernel, stride, tile> depthwise_body(const OpCall& call) {
  DepthwiseBody<kernel, stride, tile> b;
  b.g = geometry(call);
  b.x = call.x[0];
  b.weights = halves_at(call.weights, call.op->weights);
  b.bias = halves_at(call.weights, call.op->bias);
  b.y = call.y;
  b.act = act_of(*call.op);
  b.load_max = limit_of(*call.op, 0);
  const std::int32_t tiles = (b.g.q + tile - 1) / tile;
  b.by_c8 = FastDiv{b.g.cp / 8};
  b.by_tiles = FastDiv{tiles};
  b.by_p = FastDiv{b.g.p};
  b.total = positive(std::int64_t{b.g.n} * b.g.p * tiles * (b.g.cp / 8));
  return b;
}
template DepthwiseBody<0, 1, 1> depthwise_body(const OpCall&);
template DepthwiseBody<3, 1, 4> depthwise_body(const OpCall&);
template DepthwiseBody<3, 2, 2> depthwise_body(const OpCall&);
template DepthwiseBody<5, 1, 4> depthwise_body(const OpCall&);
template DepthwiseBody<5, 2, 2> depthwise_body(const OpCall&);

template <bool maximum>
PoolBody<maximum> pool_body(const OpCall& call) {
  PoolBody<maximum> b;
  b.pool.g = geometry(call);
  b.pool.x = call.x[0];
  b.pool.act = act_of(*call.op);
  b.pool.load_max = limit_of(*call.op, 0);
  b.pool.count_include_pad = static_cast<std::int32_t>(call.op->count_include_pad);
  b.y = call.y;
  const Geometry& g = b.pool.g;
  b.by_c8 = FastDiv{g.kp / 8};
  b.by_q = FastDiv{g.q};
  b.by_p = FastDiv{g.p};
  b.total = positive(std::int64_t{g.n} * g.p * g.q * (g.kp / 8));
  return b;
}

template PoolBody<true> pool_body(const OpCall&);
template PoolBody<false> pool_body(const OpCall&);

GlobalPoolBody global_pool_body(const OpCall& call) {
  GlobalPoolBody b;
  b.area = call.op->h * call.op->w;
  b.c = call.op->c;
  b.cp = call.padded_x;
  b.x = call.x[0];
  b.y = call.y;
  b.act = act_of(*call.op);
  b.load_max = limit_of(*call.op, 0);
  b.by_blocks = FastDiv{blocks_of(positive(b.cp / 8), GlobalPoolBody::groups)};
  return b;
}

template <int rows>
FcBody<rows> fc_body(const OpCall& call) {
  FcBody<rows> b;
  b.in = call.op->in;
  b.k = call.op->k;
  b.kp = call.padded_y;
  b.n = static_cast<std::int32_t>(fc_rows(call));
  b.x = call.x[0];
  b.weights = halves_at(call.weights, call.op->weights);
  b.bias = halves_at(call.weights, call.op->bias);
  b.y = call.y;
  b.act = act_of(*call.op);
  b.by_tiles = FastDiv{blocks_of(positive(b.kp), FcBody<rows>::outputs)};
  return b;
}
template FcBody<1> fc_body(const OpCall&);
template FcBody<2> fc_body(const OpCall&);
template FcBody<4> fc_body(const OpCall&);
template FcBody<8> fc_body(const OpCall&);
template FcBody<16> fc_body(const OpCall&);

GapFcBody gap_fc_body(const OpCall& call) {
  GapFcBody b;
  b.area = call.op->h * call.op->w;
  b.in = call.op->in;
  b.k = call.op->k;
  b.kp = padded(call.op->k);
  b.x = call.x[0];
  b.weights = halves_at(call.weights, call.op->weights);
  b.bias = halves_at(call.weights, call.op->bias);
  b.y = call.y;
  b.act = act_of(*call.op);
  b.load_max = limit_of(*call.op, 0);
  b.by_tiles = FastDiv{blocks_of(positive(b.kp), GapFcBody::outputs)};
  return b;
}

ProductBody product_body(const OpCall& call) {
  const TailOp& op = *call.op;
  ProductBody b;
  b.walks = walks_of<4>(op, {0, 1, 2, 3});
  for (int i = 0; i < 3; ++i) b.frame[i] = call.frame_x[i];
  b.frame[3] = call.frame_y;
  b.a = call.x[0];
  b.b = call.x[1];
  b.c = call.x[2];
  b.y = call.y;
  b.k = op.pk;
  b.a_m = op.a_m;
  b.a_k = op.a_k;
  b.b_k = op.b_k;
  b.b_n = op.b_n;
  b.c_m = op.c_m;
  b.c_n = op.c_n;
  b.y_m = op.y_m;
  b.y_n = op.y_n;
  b.alpha = op.alpha;
  b.beta = op.beta;
  b.by_n = FastDiv{op.pn};
  b.by_m = FastDiv{op.pm};
  b.by_batch = FastDiv{b.walks.elements};
  b.total = positive(std::int64_t{op.pm} * op.pn * b.walks.elements * call.frames);
  return b;
}

}  // namespace splitcnn::inline v0::gpu::cuda
