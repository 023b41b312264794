#pragma once
/// IEEE binary16 in storage form, without hardware assumptions.
#include <cstddef>
#include <cstdint>

namespace splitcnn::inline v0 {

/// Round to nearest even; overflow to infinity; NaN stays NaN.
std::uint16_t to_half(float value) noexcept;
float from_half(std::uint16_t half) noexcept;

/// Whole arrays; uses F16C where the machine has it (run-time dispatch), same results.
void to_half(const float* from, std::uint16_t* to, std::size_t n) noexcept;
void from_half(const std::uint16_t* from, float* to, std::size_t n) noexcept;
/// value = from_half(to_half(value)) in place: FP16 storage emulation.
void round_to_half(float* values, std::size_t n) noexcept;

}  // namespace splitcnn::inline v0
