#pragma once
/// Conversions at the edges of segments: dtype, fix point and layout in one pass.
#include <cstdint>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

/// DPU_ROUND then saturation: floor(x + 0.5) in [-128, 127]; NaN becomes 0 (docs/arithmetic.md).
std::int8_t round_half_up_to_i8(double x) noexcept;

/// One representation of a tensor. `channels_last` says the 4-D data is N,H,W,C; false: the logical N,C,H,W. Other ranks
/// have one order only and ignore it.
struct Representation {
  DType dtype = DType::f32;  ///< f32, f16 or i8
  int fix_point = 0;
  bool channels_last = true;
};

/// Converts one frame of a tensor of LOGICAL shape `logical`. float to i8 is R(x * 2^fp); i8 to float x * 2^-fp; i8 to i8
/// with another fix point R(x * 2^(to - from)). No allocation, no throw. Buffers must not overlap. f32 to i8 multiplies in
/// float by an exact power of two and rounds by floor(x + 0.5f) computed so that no double rounding can change the result.
void convert(const Shape& logical, const Representation& from, const std::byte* source, const Representation& to,
             std::byte* destination) noexcept;

}  // namespace splitcnn::inline v0
