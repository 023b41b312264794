#pragma once
/// The inner loops: contiguous floats, no dependence between elements, compiled at -O3 for several
/// instruction sets. Outputs may be the inputs themselves, but not overlap otherwise.
#include <cstdint>

namespace splitcnn::inline v0::cpu {

void relu(const float* x, float* y, std::int64_t n) noexcept;
void clip(const float* x, float* y, std::int64_t n, float low, float high) noexcept;
void leaky_relu(const float* x, float* y, std::int64_t n, float slope) noexcept;
void hard_sigmoid(const float* x, float* y, std::int64_t n, float alpha, float beta) noexcept;
void hard_swish(const float* x, float* y, std::int64_t n) noexcept;
void exponential(const float* x, float* y, std::int64_t n) noexcept;
void sigmoid(const float* x, float* y, std::int64_t n) noexcept;
void hyperbolic_tangent(const float* x, float* y, std::int64_t n) noexcept;
void square_root(const float* x, float* y, std::int64_t n) noexcept;

/// Both operands vectors.
void add(const float* a, const float* b, float* y, std::int64_t n) noexcept;
void sub(const float* a, const float* b, float* y, std::int64_t n) noexcept;
void mul(const float* a, const float* b, float* y, std::int64_t n) noexcept;
void div(const float* a, const float* b, float* y, std::int64_t n) noexcept;
void prelu(const float* a, const float* slope, float* y, std::int64_t n) noexcept;
/// y = s * x + t with one s and one t.
void scale_shift(const float* x, float* y, std::int64_t n, float s, float t) noexcept;
/// y = x / s, y = s / x: not multiplications, so that they round as a division does.
void divide_by(const float* x, float* y, std::int64_t n, float s) noexcept;
void divide_into(const float* x, float* y, std::int64_t n, float s) noexcept;
/// y[c] = s[c] * x[c] + t[c].
void affine(const float* x, const float* s, const float* t, float* y, std::int64_t n) noexcept;

void fill(float* y, std::int64_t n, float value) noexcept;
void maximum(const float* x, float* y, std::int64_t n) noexcept;                ///< y = max(y, x)
void accumulate(const float* x, double* sum, std::int64_t n) noexcept;          ///< sum += x
void multiply_add(const float* x, float* y, std::int64_t n, float f) noexcept;  ///< y += f * x
float largest(const float* x, std::int64_t n) noexcept;
/// The LRN denominator to the power -0.75: y = x / sqrt(d * sqrt(d)).
void lrn_three_quarters(const float* x, const float* d, float* y, std::int64_t n) noexcept;

}  // namespace splitcnn::inline v0::cpu
