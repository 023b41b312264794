#pragma once
/// How fast results come, from when each of them came.
#include <cstddef>
#include <span>

namespace splitcnn::inline v0 {

/// The slope of the least-squares line through the moments `ms` of consecutive results; 0 for fewer than two. Where routes
/// share the frames, results that wait for one on a slower route come in bursts. First and last alone would say where
/// in a burst they lie: with 8 bursts between them they can be 12 % off, this line 2 %.
inline double interval_of(std::span<const double> ms) noexcept {
  const auto n = static_cast<double>(ms.size());
  if (ms.size() < 2) return 0;
  const double middle = (n - 1) / 2;
  double weighted = 0;
  for (std::size_t i = 0; i < ms.size(); ++i) weighted += (static_cast<double>(i) - middle) * (ms[i] - ms[0]);
  return weighted / (n * (n * n - 1) / 12);
}

}  // namespace splitcnn::inline v0
