#include "core/half.hpp"

#include <bit>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace splitcnn::inline v0 {

std::uint16_t to_half(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {  // NaN: quiet, upper payload kept, as the hardware does
    return static_cast<std::uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u)
    return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {                        // below 2^-14: subnormal, in units of 2^-24
    // Adding 2^-1 puts the unit of the result at the last bit of the float, so the addition rounds to nearest
    // even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  // Re-bias the exponent; half an ulp less one, plus the last kept bit, rounds to nearest even and carries
  // into the exponent.
  const std::uint32_t rounded = magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | rounded >> 13);
}

float from_half(std::uint16_t half) noexcept {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1fu) {
    return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0u));
  }
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}

namespace {

#if defined(__x86_64__)

bool has_f16c() noexcept {
  static const bool found = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    // AVX2 also tells that the operating system saves the wide registers.
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
  }();
  return found;
}

__attribute__((target("avx,f16c"))) std::size_t to_half_f16c(const float* from, std::uint16_t* to,
                                                             std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
  return i;
}

__attribute__((target("avx,f16c"))) std::size_t from_half_f16c(const std::uint16_t* from, float* to,
                                                               std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  return i;
}

__attribute__((target("avx,f16c"))) std::size_t round_f16c(float* values, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_ps(values + i, _mm256_cvtph_ps(halves));
  }
  return i;
}

#else

// Other machines: the compiler turns the scalar code below into what the target has.
bool has_f16c() noexcept { return false; }
std::size_t to_half_f16c(const float*, std::uint16_t*, std::size_t) noexcept { return 0; }
std::size_t from_half_f16c(const std::uint16_t*, float*, std::size_t) noexcept { return 0; }
std::size_t round_f16c(float*, std::size_t) noexcept { return 0; }

#endif

}  // namespace

void to_half(const float* from, std::uint16_t* to, std::size_t n) noexcept {
  for (std::size_t i = has_f16c() ? to_half_f16c(from, to, n) : 0; i < n; ++i) to[i] = to_half(from[i]);
}

void from_half(const std::uint16_t* from, float* to, std::size_t n) noexcept {
  for (std::size_t i = has_f16c() ? from_half_f16c(from, to, n) : 0; i < n; ++i) to[i] = from_half(from[i]);
}

void round_to_half(float* values, std::size_t n) noexcept {
  for (std::size_t i = has_f16c() ? round_f16c(values, n) : 0; i < n; ++i)
    values[i] = from_half(to_half(values[i]));
}

}  // namespace splitcnn::inline v0
