// Parameters of the bodies that walk, and when the ones for eight lanes fit.
#include "gpu/cuda/kernels/call_parts.hpp"
#include "gpu/cuda/kernels/calls.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

PadLanes pad_of(const TailOp& op) { return {FastDiv{op.walk[3].dims[op.walk[3].rank - 1]}, op.pad_lanes}; }

std::uint64_t bytes_of(IoType type) { return type == IoType::f32 ? 4 : type == IoType::f16 ? 2 : 1; }

/// Rows of c values, dense in `dense` and every cp elements in `rows`; c and cp are set.
bool rows_of(const TailWalk& dense, const TailWalk& rows, std::int32_t pad_lanes, std::int32_t& c,
             std::int32_t& cp) {
  const int last = rows.rank - 1;
  if (rows.rank > 2 || dense.offset != 0 || rows.offset != 0 || dense.strides[last] != 1 ||
      rows.strides[last] != 1)
    return false;
  c = rows.dims[last];
  cp = c + pad_lanes;
  return cp % 8 == 0 && (rows.rank == 1 || (dense.strides[0] == c && rows.strides[0] == cp));
}

/// Eight lanes of this operand can be one load: contiguous and aligned, or the same value for all of them.
bool is_eight(const TailWalk& walk, int rank, bool splat_allowed) {
  const std::int32_t inner = walk.strides[rank - 1];
  if (inner == 0 && splat_allowed) return true;
  bool aligned = inner == 1 && walk.offset % 8 == 0;
  for (int d = 0; d + 1 < rank; ++d) aligned = aligned && walk.strides[d] % 8 == 0;
  return aligned;
}

template <int N>
void count_in_eights(Walks<N>& w, std::int32_t inner) {
  const int last = w.rank - 1;
  w.elements = w.elements / static_cast<std::uint32_t>(inner) * static_cast<std::uint32_t>((inner + 7) / 8);
  w.dim[last] = FastDiv{(inner + 7) / 8};
  for (int o = 0; o < N; ++o) w.stride[o][last] *= 8;
}

AxisRows axis_rows(const OpCall& call) {
  AxisRows r;
  r.walks = walks_of<2>(*call.op, {0, 3});
  r.frames = frames_of(r.walks.elements, call);
  r.frame[0] = call.frame_x[0];
  r.frame[1] = call.frame_y;
  r.n = call.op->axis_n;
  r.step_x = call.op->axis_x;
  r.step_y = call.op->axis_y;
  r.x = call.x[0];
  r.y = call.y;
  return r;
}

}  // namespace

float limit_of(const TailOp& op, int operand) { return from_half(to_half(op.load_max[operand])); }

bool rows_are_dense(const OpCall& call) {
  std::int32_t c = 0, cp = 0;
  const TailOp& op = *call.op;
  const std::uint64_t elements = call.io.frame_bytes / bytes_of(call.io.type);
  if (!rows_of(op.walk[0], op.walk[3], op.pad_lanes, c, cp)) return false;
  const std::int64_t rows = op.walk[3].rank == 1 ? 1 : op.walk[3].dims[0];
  // Frames must follow each other without a gap on both sides, and vector loads need their alignment.
  return elements == static_cast<std::uint64_t>(rows * c) && call.frame_y == rows * cp &&
         reinterpret_cast<std::uintptr_t>(call.in) % 16 == 0;
}

bool runs_of_eight(const OpCall& call) {
  const TailOp& op = *call.op;
  if (op.kind != TailKind::elementwise && op.kind != TailKind::move) return false;
  const TailWalk& y = op.walk[3];
  const std::int32_t run = y.dims[y.rank - 1];
  if ((run + op.pad_lanes) % 8 != 0 || !is_eight(y, y.rank, false)) return false;
  if (op.kind == TailKind::move && run % 8 != 0) return false;  // lanes behind the run are another tensor's
  for (int i = 0; i < 3; ++i) {
    if (call.x[i] && !is_eight(op.walk[i], y.rank, op.kind == TailKind::elementwise)) return false;
  }
  return true;
}

bool inner_is_copied(const OpCall& call) {
  const TailOp& op = *call.op;
  const TailWalk& y = op.walk[3];
  const int last = y.rank - 1;
  if (y.rank < 2 || y.dims[last] % 8 != 0 || !is_eight(y, y.rank, false) || !call.host_weights) return false;
  for (int d = 0; d < last; ++d) {
    const auto* taps = reinterpret_cast<const TailTap*>(call.host_weights + op.taps[d]);
    for (std::int32_t i = 0; i < y.dims[d]; ++i) {
      if (taps[i].low % 8 != 0 || taps[i].high % 8 != 0) return false;
    }
  }
  const auto* taps = reinterpret_cast<const TailTap*>(call.host_weights + op.taps[last]);
  for (std::int32_t i = 0; i < y.dims[last]; ++i) {
    if (taps[i].low != i || taps[i].weight != 0) return false;
  }
  return true;
}

template <class T>
EntryBody<T> entry_body(const OpCall& call) {
  EntryBody<T> b;
  b.walks = walks_of<2>(*call.op, {0, 3});
  b.frames = frames_of(b.walks.elements, call);
  b.frame[0] = static_cast<std::int32_t>(call.io.frame_bytes / sizeof(T));
  b.frame[1] = call.frame_y;
  b.in = static_cast<const T*>(call.in);
  b.y = call.y;
  b.pad = pad_of(*call.op);
  b.unit = std::ldexp(1.0f, -call.io.fix_point);
  return b;
}
template EntryBody<float> entry_body(const OpCall&);
template EntryBody<std::uint16_t> entry_body(const OpCall&);
template EntryBody<std::int8_t> entry_body(const OpCall&);

template <class T>
EntryRowsBody<T> entry_rows_body(const OpCall& call) {
  EntryRowsBody<T> b;
  std::int32_t cp = 0;
  rows_of(call.op->walk[0], call.op->walk[3], call.op->pad_lanes, b.c, cp);
  b.in = static_cast<const T*>(call.in);
  b.y = call.y;
  b.by_c8 = FastDiv{cp / 8};
  b.total = static_cast<std::uint32_t>(call.frame_y / 8) * call.frames;
  b.unit = std::ldexp(1.0f, -call.io.fix_point);
  return b;
}
template EntryRowsBody<float> entry_rows_body(const OpCall&);
template EntryRowsBody<std::uint16_t> entry_rows_body(const OpCall&);
template EntryRowsBody<std::int8_t> entry_rows_body(const OpCall&);

template <class T>
ExitBody<T> exit_body(const OpCall& call) {
  ExitBody<T> b;
  b.walks = walks_of<2>(*call.op, {0, 3});
  b.frames = frames_of(b.walks.elements, call);
  b.frame[0] = call.frame_x[0];
  b.frame[1] = static_cast<std::int32_t>(call.io.frame_bytes / sizeof(T));
  b.x = call.x[0];
  b.out = static_cast<T*>(call.out);
  b.scale = std::ldexp(1.0f, call.io.fix_point);
  b.load_max = limit_of(*call.op, 0);
  return b;
}
template ExitBody<float> exit_body(const OpCall&);
template ExitBody<std::uint16_t> exit_body(const OpCall&);
template ExitBody<std::int8_t> exit_body(const OpCall&);

ElementwiseBody elementwise_body(const OpCall& call) {
  ElementwiseBody b;
  b.walks = walks_of<4>(*call.op, {0, 1, 2, 3});
  b.frames = frames_of(b.walks.elements, call);
  for (int i = 0; i < 3; ++i) {
    b.frame[i] = call.frame_x[i];
    b.x[i] = call.x[i];
  }
  b.frame[3] = call.frame_y;
  b.y = call.y;
  b.pad = pad_of(*call.op);
  b.math = call.op->math;
  b.act = act_of(*call.op);
  for (int i = 0; i < 2; ++i) b.load_max[i] = limit_of(*call.op, i);
  return b;
}

Elementwise8Body elementwise8_body(const OpCall& call) {
  const ElementwiseBody one = elementwise_body(call);
  Elementwise8Body b;
  b.walks = one.walks;
  const int last = b.walks.rank - 1;
  b.c = call.op->walk[3].dims[last];
  count_in_eights(b.walks, b.c);
  b.frames = frames_of(b.walks.elements, call);
  for (int i = 0; i < 3; ++i) {
    b.x[i] = one.x[i];
    b.splat[i] = call.op->walk[i].strides[last] == 0;
  }
  for (int i = 0; i < 4; ++i) b.frame[i] = one.frame[i];
  b.y = one.y;
  b.by_groups = b.walks.dim[last];
  b.math = one.math;
  b.act = one.act;
  for (int i = 0; i < 2; ++i) b.load_max[i] = one.load_max[i];
  return b;
}

template <int lanes>
MoveBody<lanes> move_body(const OpCall& call) {
  MoveBody<lanes> b;
  b.walks = walks_of<2>(*call.op, {0, 3});
  if constexpr (lanes == 8) count_in_eights(b.walks, call.op->walk[3].dims[b.walks.rank - 1]);
  b.frames = frames_of(b.walks.elements, call);
  b.frame[0] = call.frame_x[0];
  b.frame[1] = call.frame_y;
  b.x = call.x[0];
  b.y = call.y;
  b.pad = pad_of(*call.op);
  return b;
}
template MoveBody<1> move_body(const OpCall&);
template MoveBody<8> move_body(const OpCall&);

ReshapeBody reshape_body(const OpCall& call) {
  ReshapeBody b;
  // walk[1] has the dimensions of walk[3], walk[0] its own.
  const auto both = walks_of<2>(*call.op, {1, 3});
  b.walks = both;
  for (int d = 0; d < tail_dims; ++d) {
    b.walks.stride[0][d] = both.stride[1][d];
    b.walks.stride[1][d] = both.stride[0][d];
  }
  b.walks.offset[0] = both.offset[1];
  b.walks.offset[1] = both.offset[0];
  b.from_walk = walks_of<1>(*call.op, {0});
  b.frames = frames_of(b.walks.elements, call);
  b.frame_in = call.frame_x[0];
  b.frame[0] = call.frame_y;  // a position is the same in every frame
  b.x = call.x[0];
  b.y = call.y;
  b.pad = pad_of(*call.op);
  return b;
}

FillBody fill_body(const OpCall& call) {
  FillBody b;
  b.walks = walks_of<1>(*call.op, {3});
  b.frames = frames_of(b.walks.elements, call);
  b.frame[0] = call.frame_y;
  b.y = call.y;
  b.value = to_half(call.op->value);
  b.pad = pad_of(*call.op);
  return b;
}

MeanBody mean_body(const OpCall& call) {
  MeanBody b;
  b.walks = walks_of<2>(*call.op, {0, 3});
  b.over = walks_of<1>(*call.op, {1});
  b.frames = frames_of(b.walks.elements, call);
  b.frame[0] = call.frame_x[0];
  b.frame[1] = call.frame_y;
  b.x = call.x[0];
  b.y = call.y;
  b.act = act_of(*call.op);
  return b;
}

template <int lanes>
ResampleBody<lanes> resample_body(const OpCall& call) {
  const TailWalk& y = call.op->walk[3];
  ResampleBody<lanes> b;
  std::uint32_t elements = 1;
  b.rank = lanes == 8 ? y.rank - 1 : y.rank;
  for (int d = 0; d < b.rank; ++d) {
    b.dim[d] = FastDiv{y.dims[d]};
    b.stride[d] = y.strides[d];
    b.taps[d] = reinterpret_cast<const TailTap*>(call.weights + call.op->taps[d]);
    elements *= static_cast<std::uint32_t>(y.dims[d]);
  }
  if (lanes == 8) {
    b.by_inner = FastDiv{y.dims[y.rank - 1] / 8};
    elements *= b.by_inner.divisor;
  }
  b.offset = y.offset;
  b.frames = frames_of(elements, call);
  b.frame_in = call.frame_x[0];
  b.frame_out = call.frame_y;
  b.x = call.x[0];
  b.y = call.y;
  return b;
}
template ResampleBody<1> resample_body(const OpCall&);
template ResampleBody<8> resample_body(const OpCall&);

SoftmaxBody softmax_body(const OpCall& call) {
  return {axis_rows(call), call.op->kind == TailKind::log_softmax};
}
SoftmaxShortBody softmax_short_body(const OpCall& call) {
  return {axis_rows(call), call.op->kind == TailKind::log_softmax};
}

LrnBody lrn_body(const OpCall& call) {
  LrnBody b;
  b.rows = axis_rows(call);
  b.by_n = FastDiv{call.op->axis_n};
  b.before = call.op->lrn_before;
  b.after = call.op->lrn_after;
  b.alpha = call.op->alpha;
  b.beta = call.op->beta;
  b.bias = call.op->lrn_bias;
  b.total = b.rows.frames.total * static_cast<std::uint32_t>(call.op->axis_n);
  return b;
}

}  // namespace splitcnn::inline v0::gpu::cuda
