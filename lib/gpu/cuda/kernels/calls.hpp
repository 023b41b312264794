#pragma once
/// From an op of a TailProgram to a kernel body and its launch: which body (the fast one where shapes and
/// addresses allow), its parameters, the number of blocks. The executor passes what it gets to the GPU; the
/// tests run it as host code.
///
///     const OpCall call = make_call(view, index, frames, addresses);
///     with_kernel(call, [&](const auto& body, std::uint32_t blocks, std::uint32_t shared) { launch(body,
///     blocks, shared, stream); });
#include "gpu/cuda/kernels/axis.hpp"
#include "gpu/cuda/kernels/dense.hpp"
#include "gpu/cuda/kernels/group.hpp"
#include "gpu/cuda/kernels/layers.hpp"
#include "gpu/cuda/kernels/resample.hpp"
#include "gpu/cuda/kernels/walks.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// One op with the addresses of its operands for a batch, as the kernels see them.
struct OpCall {
  const TailOp* op = nullptr;
  std::uint32_t frames = 1;
  const std::uint16_t* x[3] = {};
  std::uint16_t* y = nullptr;
  std::int32_t frame_x[3] = {}, frame_y = 0;  ///< elements from frame to frame; 0 for constants
  std::int32_t padded_x = 8, padded_y = 8;    ///< innermost dimension of x[0] and y
  TailIo io;                                  ///< entry, exit
  const void* in = nullptr;
  void* out = nullptr;
  const std::byte* weights = nullptr;       ///< the arena, where kernels read it
  const std::byte* host_weights = nullptr;  ///< the same, where the host reads it
  bool plain = false;                       ///< true: the slow bodies only (for comparison)
};

/// Bytes that `op.clear` asks to be zeroed first; 0: none.
std::uint64_t clear_bytes(const OpCall& call);

// The bodies, filled in. Which one fits is with_kernel()'s business.
ConvBody conv_body(const OpCall& call);
template <int kernel, int stride, int tile>
DepthwiseBody<kernel, stride, tile> depthwise_body(const OpCall& call);
template <bool maximum>
PoolBody<maximum> pool_body(const OpCall& call);
GlobalPoolBody global_pool_body(const OpCall& call);
template <int rows>
FcBody<rows> fc_body(const OpCall& call);
GapFcBody gap_fc_body(const OpCall& call);
ProductBody product_body(const OpCall& call);
template <class T>
EntryBody<T> entry_body(const OpCall& call);
template <class T>
EntryRowsBody<T> entry_rows_body(const OpCall& call);
template <class T>
ExitBody<T> exit_body(const OpCall& call);
ElementwiseBody elementwise_body(const OpCall& call);
Elementwise8Body elementwise8_body(const OpCall& call);
template <int lanes>
MoveBody<lanes> move_body(const OpCall& call);
ReshapeBody reshape_body(const OpCall& call);
FillBody fill_body(const OpCall& call);
MeanBody mean_body(const OpCall& call);
template <int lanes>
ResampleBody<lanes> resample_body(const OpCall& call);
SoftmaxBody softmax_body(const OpCall& call);
SoftmaxShortBody softmax_short_body(const OpCall& call);
LrnBody lrn_body(const OpCall& call);

bool rows_are_dense(const OpCall& call);    ///< EntryRowsBody fits
bool runs_of_eight(const OpCall& call);     ///< Elementwise8Body, MoveBody<8> fit
bool inner_is_copied(const OpCall& call);   ///< ResampleBody<8> fits
std::uint32_t fc_rows(const OpCall& call);  ///< over all frames

constexpr std::uint32_t blocks_of(std::uint64_t work, int threads) {
  return static_cast<std::uint32_t>((work + static_cast<std::uint64_t>(threads) - 1) /
                                    static_cast<std::uint64_t>(threads));
}

namespace detail {

template <class Body, class F>
void simple(const Body& body, std::uint32_t work, const F& f) {
  f(body, blocks_of(work, Body::threads), 0u);
}

template <class F>
void depthwise(const OpCall& call, const F& f) {
  const TailWindow& w = call.op->window;
  const bool square =
      w.kernel_h == w.kernel_w && w.stride_h == w.stride_w && w.dilation_h == 1 && w.dilation_w == 1;
  const auto go = [&](const auto& body) { simple(body, body.total, f); };
  if (!call.plain && square && w.kernel_h == 3 && w.stride_h == 1) return go(depthwise_body<3, 1, 4>(call));
  if (!call.plain && square && w.kernel_h == 3 && w.stride_h == 2) return go(depthwise_body<3, 2, 2>(call));
  if (!call.plain && square && w.kernel_h == 5 && w.stride_h == 1) return go(depthwise_body<5, 1, 4>(call));
  if (!call.plain && square && w.kernel_h == 5 && w.stride_h == 2) return go(depthwise_body<5, 2, 2>(call));
  go(depthwise_body<0, 1, 1>(call));
}

template <int rows, class F>
void fc_of(const OpCall& call, const F& f) {
  const auto body = fc_body<rows>(call);
  f(body, body.by_tiles.divisor * blocks_of(fc_rows(call), rows), body.shared_bytes);
}

template <class F>
void fc(const OpCall& call, const F& f) {
  const std::uint32_t rows = fc_rows(call);
  if (call.plain) {
    const auto body = conv_body(call);
    return simple(body, body.total, f);
  }
  if (rows == 1) return fc_of<1>(call, f);
  if (rows == 2) return fc_of<2>(call, f);
  if (rows <= 4) return fc_of<4>(call, f);
  if (rows <= 8) return fc_of<8>(call, f);
  fc_of<16>(call, f);
}

template <class T, class F>
void entry(const OpCall& call, const F& f) {
  if (!call.plain && rows_are_dense(call)) {
    const auto body = entry_rows_body<T>(call);
    return simple(body, body.total, f);
  }
  const auto body = entry_body<T>(call);
  simple(body, body.frames.total, f);
}

template <class T, class F>
void exit(const OpCall& call, const F& f) {
  const auto body = exit_body<T>(call);
  simple(body, body.frames.total, f);
}

template <class F>
void softmax(const OpCall& call, const F& f) {
  if (!call.plain && call.op->axis_n <= SoftmaxShortBody::longest) {
    const auto body = softmax_short_body(call);
    return simple(body, body.rows.frames.total, f);
  }
  const auto body = softmax_body(call);
  f(body, body.rows.frames.total, body.shared_bytes);
}

template <class F>
void global_pool(const OpCall& call, const F& f) {
  const auto body = global_pool_body(call);
  f(body, body.by_blocks.divisor * static_cast<std::uint32_t>(call.op->n) * call.frames, body.shared_bytes);
}

}  // namespace detail

/// Calls f(body, blocks, shared bytes) with the body for this op.
template <class F>
void with_kernel(const OpCall& call, const F& f) {
  const auto framed = [&](const auto& body) { detail::simple(body, body.frames.total, f); };
  const auto counted = [&](const auto& body) { detail::simple(body, body.total, f); };
  const bool eight = !call.plain && runs_of_eight(call);
  switch (call.op->kind) {
    case TailKind::entry:
      if (call.io.type == IoType::f32) return detail::entry<float>(call, f);
      if (call.io.type == IoType::f16) return detail::entry<std::uint16_t>(call, f);
      return detail::entry<std::int8_t>(call, f);
    case TailKind::exit:
      if (call.io.type == IoType::f32) return detail::exit<float>(call, f);
      if (call.io.type == IoType::f16) return detail::exit<std::uint16_t>(call, f);
      return detail::exit<std::int8_t>(call, f);
    case TailKind::conv:
      return counted(conv_body(call));
    case TailKind::depthwise:
      return detail::depthwise(call, f);
    case TailKind::fc:
      return detail::fc(call, f);
    case TailKind::gap_fc: {
      const auto body = gap_fc_body(call);
      return f(body, body.by_tiles.divisor * call.frames, body.shared_bytes());
    }
    case TailKind::max_pool:
      return counted(pool_body<true>(call));
    case TailKind::average_pool:
      return counted(pool_body<false>(call));
    case TailKind::global_average_pool:
      return detail::global_pool(call, f);
    case TailKind::elementwise:
      return eight ? framed(elementwise8_body(call)) : framed(elementwise_body(call));
    case TailKind::move:
      return eight ? framed(move_body<8>(call)) : framed(move_body<1>(call));
    case TailKind::reshape:
      return framed(reshape_body(call));
    case TailKind::fill:
      return framed(fill_body(call));
    case TailKind::mean:
      return framed(mean_body(call));
    case TailKind::softmax:
    case TailKind::log_softmax:
      return detail::softmax(call, f);
    case TailKind::lrn:
      return counted(lrn_body(call));
    case TailKind::resample:
      return !call.plain && inner_is_copied(call) ? framed(resample_body<8>(call))
                                                  : framed(resample_body<1>(call));
    case TailKind::product:
      return counted(product_body(call));
  }
}

}  // namespace splitcnn::inline v0::gpu::cuda
