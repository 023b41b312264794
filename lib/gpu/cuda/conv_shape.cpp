#include "gpu/cuda/conv_shape.hpp"

#include <fmt/core.h>

namespace splitcnn::inline v0::gpu::cuda {

namespace {

std::int64_t padded(std::int64_t n) { return (n + tail_pad - 1) / tail_pad * tail_pad; }

}  // namespace

std::string ConvShape::text() const {
  return fmt::format("n{} {}x{}x{} -> {}x{}x{} {}x{} s{},{} d{},{} p{},{},{},{} g{}{}{}", n, h, w, c, p, q, k,
                     r, s, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom,
                     pad_right, groups, has_z ? " +z" : "", relu ? " relu" : "");
}

bool is_conv(const TailOp& op) {
  if (op.kind == TailKind::fc || op.kind == TailKind::gap_fc) return true;
  if (op.kind != TailKind::conv) return false;
  return op.groups == 1 || (op.c % tail_pad == 0 && op.k % tail_pad == 0);
}

ConvShape conv_shape(const TailOp& op, std::uint32_t frames) {
  ConvShape shape;
  shape.k = padded(op.k);
  shape.has_z = op.x[1] != no_tensor;
  shape.relu = op.act == TailAct::relu;
  if (op.kind != TailKind::conv) {
    shape.n = std::int64_t{op.rows} * frames;
    shape.c = op.in;
    shape.has_z = false;
    return shape;
  }
  const TailWindow& w = op.window;
  shape.n = std::int64_t{op.n} * frames;
  shape.h = op.h;
  shape.w = op.w;
  shape.c = padded(op.c);
  shape.p = op.p;
  shape.q = op.q;
  shape.r = w.kernel_h;
  shape.s = w.kernel_w;
  shape.stride_h = w.stride_h;
  shape.stride_w = w.stride_w;
  shape.dilation_h = w.dilation_h;
  shape.dilation_w = w.dilation_w;
  shape.pad_top = w.pad_top;
  shape.pad_left = w.pad_left;
  shape.pad_bottom = w.pad_bottom;
  shape.pad_right = w.pad_right;
  shape.groups = op.groups;
  return shape;
}

}  // namespace splitcnn::inline v0::gpu::cuda
