// Compiled with -O3 and without floating-point traps (see CMakeLists.txt), so that the plain loops become
// vector code.
#include "core/input_transform_rows.hpp"

#include <algorithm>
#include <cstring>

#include "core/dispatch.hpp"

namespace splitcnn::inline v0 {

namespace {

inline __attribute__((always_inline)) std::uint8_t clip(std::int32_t x) noexcept {
  return static_cast<std::uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x);
}

inline __attribute__((always_inline)) void yuv_to_rgb(const std::uint8_t* y, const std::uint8_t* u,
                                                      const std::uint8_t* v, std::size_t n,
                                                      std::uint8_t* __restrict r, std::uint8_t* __restrict g,
                                                      std::uint8_t* __restrict b) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t c = 298 * (y[i] - 16) + 128, d = u[i] - 128, e = v[i] - 128;
    r[i] = clip((c + 409 * e) >> 8);
    g[i] = clip((c - 100 * d - 208 * e) >> 8);
    b[i] = clip((c + 516 * d) >> 8);
  }
}

inline __attribute__((always_inline)) void expand_luma(const std::uint8_t* y, std::size_t n,
                                                       std::uint8_t* out) noexcept {
  for (std::size_t i = 0; i < n; ++i) out[i] = clip((298 * (y[i] - 16) + 128) >> 8);
}

inline __attribute__((always_inline)) void rgb_to_luma(const std::uint8_t* r, const std::uint8_t* g,
                                                       const std::uint8_t* b, std::size_t n,
                                                       std::uint8_t* __restrict out) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    out[i] = static_cast<std::uint8_t>((77 * r[i] + 150 * g[i] + 29 * b[i] + 128) >> 8);
}

/// Bytes 0, 1, 2 of every pixel into three rows.
inline __attribute__((always_inline)) void gather_packed(const DecodeRow& r, std::uint8_t* __restrict first,
                                                         std::uint8_t* __restrict second,
                                                         std::uint8_t* __restrict third) noexcept {
  for (std::size_t i = 0; i < r.n; ++i) {
    const std::uint8_t* pixel = r.row + r.offset[i];
    first[i] = pixel[0];
    second[i] = pixel[1];
    third[i] = pixel[2];
  }
}

inline __attribute__((always_inline)) void gather(const std::uint8_t* row, const std::uint32_t* offset,
                                                  std::size_t n, std::uint8_t* __restrict out) noexcept {
  for (std::size_t i = 0; i < n; ++i) out[i] = row[offset[i]];
}

inline __attribute__((always_inline)) void decode_packed(const DecodeRow& r) noexcept {
  const bool blue_in = r.format == PixelFormat::bgr;
  if (r.channels == 3) {
    const std::size_t first = blue_in == r.blue_first ? 0 : 2;
    return gather_packed(r, r.out + first * r.n, r.out + r.n, r.out + (2 - first) * r.n);
  }
  std::uint8_t *a = r.scratch, *b = a + r.n, *c = b + r.n;
  gather_packed(r, a, b, c);
  rgb_to_luma(blue_in ? c : a, b, blue_in ? a : c, r.n, r.out);
}

inline __attribute__((always_inline)) void decode_yuv(const DecodeRow& r) noexcept {
  std::uint8_t *y = r.scratch, *u = y + r.n, *v = u + r.n;
  gather(r.row, r.offset, r.n, y);
  if (r.channels == 1) return expand_luma(y, r.n, r.out);
  const std::size_t step = r.format == PixelFormat::yuyv ? 2 : 1;
  for (std::size_t i = 0; i < r.n; ++i) {
    const std::uint8_t* chroma = r.chroma_row + r.chroma_offset[i];
    u[i] = chroma[0];
    v[i] = chroma[step];
  }
  const std::size_t red = r.blue_first ? 2 : 0;
  yuv_to_rgb(y, u, v, r.n, r.out + red * r.n, r.out + r.n, r.out + (2 - red) * r.n);
}

inline __attribute__((always_inline)) void decode_body(const DecodeRow* row) noexcept {
  const DecodeRow& r = *row;
  switch (r.format) {
    case PixelFormat::rgb:
    case PixelFormat::bgr:
      return decode_packed(r);
    case PixelFormat::yuyv:
    case PixelFormat::nv12:
      return decode_yuv(r);
    case PixelFormat::gray:
      gather(r.row, r.offset, r.n, r.out);
      for (int c = 1; c < r.channels; ++c) std::memcpy(r.out + static_cast<std::size_t>(c) * r.n, r.out, r.n);
  }
}

inline __attribute__((always_inline)) void add_body(const std::uint8_t* row, std::int32_t weight,
                                                    std::size_t n, bool first,
                                                    std::int32_t* __restrict sums) noexcept {
  if (first) {
    for (std::size_t i = 0; i < n; ++i) sums[i] = weight * row[i];
  } else {
    for (std::size_t i = 0; i < n; ++i) sums[i] += weight * row[i];
  }
}

inline __attribute__((always_inline)) void blend_rows_body(const std::uint8_t* a, std::int32_t weight_a,
                                                           const std::uint8_t* b, std::int32_t weight_b,
                                                           std::size_t n,
                                                           std::int32_t* __restrict sums) noexcept {
  for (std::size_t i = 0; i < n; ++i) sums[i] = weight_a * a[i] + weight_b * b[i];
}

/// Doubles carry the sums, integers below 2^39, exactly. A quotient of two integers with a denominator d <=
/// 2^30 that is not a half lies at least 1 / (2 d) >= 2^-31 from it: far more than the error of multiplying
/// by the reciprocal (2^-43), so an offset between the two makes halves go up and nothing else change.
constexpr double half_up = 0.5 + 0x1p-40;

inline __attribute__((always_inline)) void blend_columns_body(
    const std::int32_t* left, const std::int32_t* right, const double* weight_left,
    const double* weight_right, std::size_t n, double reciprocal, std::uint8_t* __restrict pixels) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const double sum = left[i] * weight_left[i] + right[i] * weight_right[i];
    pixels[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(sum * reciprocal + half_up));
  }
}

}  // namespace

void decode_row(const DecodeRow& r) noexcept { run_best<decode_body>(&r); }

void add_weighted(const std::uint8_t* row, std::int32_t weight, std::size_t n, bool first,
                  std::int32_t* sums) noexcept {
  run_best<add_body>(row, weight, n, first, sums);
}

void blend_rows(const std::uint8_t* a, std::int32_t weight_a, const std::uint8_t* b, std::int32_t weight_b,
                std::size_t n, std::int32_t* sums) noexcept {
  run_best<blend_rows_body>(a, weight_a, b, weight_b, n, sums);
}

void blend_columns(const std::int32_t* left, const std::int32_t* right, const double* weight_left,
                   const double* weight_right, std::size_t n, double denominator,
                   std::uint8_t* pixels) noexcept {
  run_best<blend_columns_body>(left, right, weight_left, weight_right, n, 1.0 / denominator, pixels);
}

void sum_columns(const std::int32_t* sums, const int* begin, const int* column, const int* weight,
                 std::size_t n, double denominator, std::uint8_t* pixels) noexcept {
  const double reciprocal = 1.0 / denominator;
  for (std::size_t i = 0; i < n; ++i) {
    std::int64_t sum = 0;
    for (int t = begin[i]; t < begin[i + 1]; ++t) sum += std::int64_t{sums[column[t]]} * weight[t];
    pixels[i] = static_cast<std::uint8_t>(static_cast<double>(sum) * reciprocal + half_up);
  }
}

}  // namespace splitcnn::inline v0
