#pragma once
/// The shape of a convolution as cuDNN sees it: a key for plans, independent of weights and addresses.
///
///     const ConvShape shape = conv_shape(op, batch);       // op of kind conv, fc or gap_fc's product
///     plans[shape.text()] = ...
///
/// Everything is NHWC FP16 with channels padded to 8, weights are [k][r][s][c / groups], bias is [k] FP16,
/// sums are FP32.
#include <compare>
#include <cstdint>
#include <string>

#include "gpu/tail/tail_ir.hpp"

namespace splitcnn::inline v0::gpu::cuda {

struct ConvShape {
  std::int64_t n = 1, h = 1, w = 1, c = 8;  ///< x; c with padding
  std::int64_t k = 8, p = 1, q = 1;         ///< y; k with padding
  std::int64_t r = 1, s = 1;
  std::int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t groups = 1;
  bool has_z = false, relu = false;

  auto operator<=>(const ConvShape&) const = default;
  /// "n1 56x56x64 -> 56x56x64 3x3 s1 ..." Unique, and readable in reports.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] double flops() const {
    return 2.0 * static_cast<double>(n * p * q * k) * static_cast<double>(r * s * c / groups);
  }
};

/// Whether cuDNN can be asked: conv, fc and gap_fc can, but not a grouped one whose channels need padding
/// (its weights have none).
bool is_conv(const TailOp& op);

/// Of a batch of `frames`. fc becomes a 1x1 convolution over rows.
ConvShape conv_shape(const TailOp& op, std::uint32_t frames);

}  // namespace splitcnn::inline v0::gpu::cuda
