#pragma once
/// The numbers of the DPU, element by element (docs/arithmetic.md). A value is int8 * 2^-fix_point; every node rounds once,
/// half towards plus infinity, and saturates. Doubles hold every intermediate exactly: sums stay below 2^31 and fix points are
/// bounded where a program is built.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace splitcnn::inline v0::soft {

/// What happens to the unrounded result of a node.
enum class Nonlinear : std::uint8_t { none, relu, relu6, leaky_relu, hard_sigmoid, hard_swish };

inline constexpr double leaky_alpha = 26.0 / 256.0;  ///< the only slope the DPU has
inline constexpr int hard_in_bits = 18;   ///< fraction bits of y inside hard_sigmoid: 2^(14 + 18) is then the value 1
inline constexpr int hard_mid_bits = 15;  ///< fraction bits of the rounded hard_sigmoid inside hard_swish

/// floor(x + 0.5) without the rounding error of that addition.
inline double round_half_up(double x) noexcept {
  const double down = std::floor(x);
  return x - down >= 0.5 ? down + 1 : down;
}

inline std::int8_t saturate(double x) noexcept { return static_cast<std::int8_t>(std::clamp(x, -128.0, 127.0)); }

/// R of docs/arithmetic.md.
inline std::int8_t dpu_round(double x) noexcept { return saturate(round_half_up(x)); }

inline double power_of_two(int exponent) noexcept { return std::ldexp(1.0, exponent); }

/// max(0, min(1, y/6 + 1/2)) as the DPU computes it, in units of 2^-32. `y` has hard_in_bits fraction bits.
inline double hard_sigmoid_2_32(double y) noexcept {
  return std::clamp(y * 2731.0 + 3.0 * 2731.0 * power_of_two(hard_in_bits), 0.0, power_of_two(32));
}

/// From the unrounded result `y`, in units of 2^-fp_out, to the stored byte.
inline std::int8_t finish(double y, Nonlinear nonlinear, int fp_out) noexcept {
  switch (nonlinear) {
    case Nonlinear::none: return dpu_round(y);
    case Nonlinear::relu: return dpu_round(std::max(y, 0.0));
    case Nonlinear::relu6:  // 96 is 6.0 at fix point 4; above 4 saturation comes first; the quantizer keeps fp_out >= 4
      y = std::max(y, 0.0);
      return dpu_round(fp_out <= 4 ? std::min(y, 96.0) : y);
    case Nonlinear::leaky_relu: return dpu_round(y < 0 ? y * leaky_alpha : y);
    case Nonlinear::hard_sigmoid: {
      const double wide = round_half_up(y * power_of_two(hard_in_bits - fp_out));
      return dpu_round(hard_sigmoid_2_32(wide) * power_of_two(fp_out - 32));
    }
    case Nonlinear::hard_swish: {
      const double wide = round_half_up(y * power_of_two(hard_in_bits - fp_out));
      const double h = round_half_up(hard_sigmoid_2_32(wide) * power_of_two(hard_mid_bits - 32));
      return dpu_round(h * wide * power_of_two(fp_out - hard_mid_bits - hard_in_bits));
    }
  }
  return 0;
}

/// 1/count as the multiplier N/2^M of the average pool.
struct AverageFactor {
  std::int64_t n = 1;
  int m = 0;
};
/// For a kernel of kh x kw whose window holds `count` elements (fewer than kh * kw at an edge that does not count).
AverageFactor average_factor(int kernel_h, int kernel_w, std::int64_t count) noexcept;

}  // namespace splitcnn::inline v0::soft
