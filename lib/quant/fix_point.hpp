#pragma once
/// Choosing fix points: the power-of-two scale with the least squared error of int8 round trips.
#include <array>
#include <cstdint>
#include <span>

namespace splitcnn::inline v0 {

inline constexpr int fix_point_limit = 64;  ///< fix points outside [-limit, limit] are refused everywhere

/// Half away from zero, saturating: how weights and biases become bytes. Sizes must match.
void quantise_half_away(std::span<const float> from, int fix_point, std::span<std::int8_t> to) noexcept;

/// The fix point for constants: rounds half away from zero. `lowest` and `highest` bound the answer. 0 (clamped) when all values are 0.
/// `importance` (empty, or one per value) weighs each squared error.
int choose_weight_fix_point(std::span<const float> values, int lowest, int highest, std::span<const float> importance = {}) noexcept;

/// Squared round-trip errors of activations (rounding half up) for every candidate fix point, summed over what is shown to it. Adding
/// up errors instead of keeping values makes calibration independent of the number of frames.
class ErrorTable {
 public:
  static constexpr int lowest = -16, highest = 20;

  void add(std::span<const float> values) noexcept;
  /// The candidate with the least error in [low, high]; ties go to the smaller fix point (more headroom). `fallback` when nothing but
  /// zeros was seen.
  [[nodiscard]] int best(int low = lowest, int high = highest, int fallback = 0) const noexcept;
  [[nodiscard]] double error(int fix_point) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return largest_ == 0; }

 private:
  std::array<double, highest - lowest + 1> errors_{};
  float largest_ = 0;
};

}  // namespace splitcnn::inline v0
