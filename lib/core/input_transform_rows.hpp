#pragma once
/// The inner loops of the input transform, one row at a time. Rows are planar: channel c of n columns begins
/// at c * n.
#include <cstddef>
#include <cstdint>

#include "splitcnn/input_transform.hpp"

namespace splitcnn::inline v0 {

/// Columns of one source row, as 8-bit channels in the network's order.
struct DecodeRow {
  PixelFormat format = PixelFormat::rgb;
  int channels = 3;         ///< 1 (luma) or 3
  bool blue_first = false;  ///< the network wants BGR
  const std::uint8_t* row = nullptr;
  const std::uint8_t* chroma_row = nullptr;  ///< row that chroma_offset counts in (YUV)
  std::size_t n = 0;                         ///< columns
  const std::uint32_t* offset = nullptr;     ///< per column: byte of the pixel (its luma for YUV) in row
  const std::uint32_t* chroma_offset =
      nullptr;                      ///< per column: byte of U; V follows at +2 (yuyv) or +1 (nv12)
  std::uint8_t* scratch = nullptr;  ///< 3 * n
  std::uint8_t* out = nullptr;      ///< channels * n
};
void decode_row(const DecodeRow& r) noexcept;

/// sums[i] (+)= weight * row[i].
void add_weighted(const std::uint8_t* row, std::int32_t weight, std::size_t n, bool first,
                  std::int32_t* sums) noexcept;
/// sums[i] = weight_a * a[i] + weight_b * b[i].
void blend_rows(const std::uint8_t* a, std::int32_t weight_a, const std::uint8_t* b, std::int32_t weight_b,
                std::size_t n, std::int32_t* sums) noexcept;

/// pixels[i] = round half up((left[i] * weight_left[i] + right[i] * weight_right[i]) / denominator), exactly.
void blend_columns(const std::int32_t* left, const std::int32_t* right, const double* weight_left,
                   const double* weight_right, std::size_t n, double denominator,
                   std::uint8_t* pixels) noexcept;
/// pixels[i] = round half up(sum over t in [begin[i], begin[i+1]) of sums[column[t]] * weight[t] /
/// denominator), exactly.
void sum_columns(const std::int32_t* sums, const int* begin, const int* column, const int* weight,
                 std::size_t n, double denominator, std::uint8_t* pixels) noexcept;

}  // namespace splitcnn::inline v0
