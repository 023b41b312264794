#include "cpu/kernels.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "cpu/simd.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

/// e^x to about two units in the last place: x = n ln 2 + r, e^r by its Taylor series (|r| < 0.35), 2^n by
/// the exponent bits in two halves so that neither overflows. Written without branches for the vectoriser.
[[gnu::always_inline]] inline float exp_element(float x) noexcept {
  const float low = -104.0f, high = 88.8f;
  const float clamped = x < low ? low : (x > high ? high : x);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (clamped * 1.44269504f + magic) - magic;
  const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto whole = static_cast<std::int32_t>(n);
  const std::int32_t half = whole >> 1, rest = whole - half;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((rest + 127) << 23);
}

/// The continued fraction of tanh up to x^7: better than float precision for |x| < 1; beyond, 1 - 2 / (e^2x +
/// 1) loses nothing.
[[gnu::always_inline]] inline float tanh_element(float x) noexcept {
  const float z = x * x;
  const float near_zero = x * (135135.0f + z * (17325.0f + z * (378.0f + z))) /
                          (135135.0f + z * (62370.0f + z * (3150.0f + z * 28.0f)));
  const float far = 1.0f - 2.0f / (exp_element(2.0f * x) + 1.0f);
  return z < 0.5f ? near_zero : far;
}

}  // namespace

SPLITCNN_CLONES void relu(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] > 0.0f ? x[i] : 0.0f;
}

SPLITCNN_CLONES void clip(const float* x, float* y, std::int64_t n, float low, float high) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i] > low ? x[i] : low;
    y[i] = v < high ? v : high;
  }
}

SPLITCNN_CLONES void leaky_relu(const float* x, float* y, std::int64_t n, float slope) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? slope * x[i] : x[i];
}

SPLITCNN_CLONES void hard_sigmoid(const float* x, float* y, std::int64_t n, float alpha,
                                  float beta) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = alpha * x[i] + beta;
    const float w = v > 0.0f ? v : 0.0f;
    y[i] = w < 1.0f ? w : 1.0f;
  }
}

SPLITCNN_CLONES void hard_swish(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i] * (1.0f / 6.0f) + 0.5f;
    const float w = v > 0.0f ? v : 0.0f;
    y[i] = x[i] * (w < 1.0f ? w : 1.0f);
  }
}

SPLITCNN_CLONES void exponential(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = exp_element(x[i]);
}

SPLITCNN_CLONES void sigmoid(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = 1.0f / (1.0f + exp_element(-x[i]));
}

SPLITCNN_CLONES void hyperbolic_tangent(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = tanh_element(x[i]);
}

SPLITCNN_CLONES void square_root(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::sqrt(x[i]);
}

SPLITCNN_CLONES void add(const float* a, const float* b, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

SPLITCNN_CLONES void sub(const float* a, const float* b, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] - b[i];
}

SPLITCNN_CLONES void mul(const float* a, const float* b, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

SPLITCNN_CLONES void div(const float* a, const float* b, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] / b[i];
}

SPLITCNN_CLONES void prelu(const float* a, const float* slope, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] < 0.0f ? slope[i] * a[i] : a[i];
}

SPLITCNN_CLONES void scale_shift(const float* x, float* y, std::int64_t n, float s, float t) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = s * x[i] + t;
}

SPLITCNN_CLONES void divide_by(const float* x, float* y, std::int64_t n, float s) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] / s;
}

SPLITCNN_CLONES void divide_into(const float* x, float* y, std::int64_t n, float s) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = s / x[i];
}

SPLITCNN_CLONES void affine(const float* x, const float* s, const float* t, float* y,
                            std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = s[i] * x[i] + t[i];
}

SPLITCNN_CLONES void fill(float* y, std::int64_t n, float value) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = value;
}

SPLITCNN_CLONES void maximum(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

SPLITCNN_CLONES void accumulate(const float* x, double* sum, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += static_cast<double>(x[i]);
}

SPLITCNN_CLONES void multiply_add(const float* x, float* y, std::int64_t n, float f) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] += f * x[i];
}

SPLITCNN_CLONES float largest(const float* x, std::int64_t n) noexcept {
  float m = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

SPLITCNN_CLONES void lrn_three_quarters(const float* x, const float* d, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] / std::sqrt(d[i] * std::sqrt(d[i]));
}

}  // namespace splitcnn::inline v0::cpu
