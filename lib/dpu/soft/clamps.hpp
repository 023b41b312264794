#pragma once
/// What the fast loops share: the non-linearities that are clamps of the rounded value.
#include "dpu/soft/arithmetic.hpp"

namespace splitcnn::inline v0::soft {

inline bool is_clamp(Nonlinear nonlinear) noexcept {
  return nonlinear == Nonlinear::none || nonlinear == Nonlinear::relu || nonlinear == Nonlinear::relu6;
}

struct Limits {
  Limits(Nonlinear nonlinear, int fp_out) noexcept
      : low{nonlinear == Nonlinear::none ? -128 : 0}, high{nonlinear == Nonlinear::relu6 && fp_out <= 4 ? 96 : 127} {}
  std::int32_t low, high;
};

/// floor(y + 0.5), clamped; loops over this become vector code, loops over dpu_round() do not.
inline __attribute__((always_inline)) std::int8_t round_clamped(double y, double low, double high) noexcept {
  y = y > low ? y : low;
  y = y < high ? y : high;
  const auto whole = static_cast<std::int32_t>(y);  // towards zero; what is left decides the rounding
  const double rest = y - static_cast<double>(whole);
  return static_cast<std::int8_t>(whole + (rest >= 0.5 ? 1 : 0) - (rest < -0.5 ? 1 : 0));
}

}  // namespace splitcnn::inline v0::soft
