#pragma once
/// Fixed rings of the last measurements, written in constant time under the pipeline's lock.
#include <algorithm>
#include <array>
#include <vector>

#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

inline double to_ms(Clock::duration d) noexcept { return Millis{d}.count(); }

template <class T>
class Recent {
 public:
  static constexpr std::size_t capacity = 1024;

  void add(T value) noexcept { values_[added_++ % capacity] = value; }
  [[nodiscard]] std::size_t size() const noexcept { return std::min(added_, capacity); }
  [[nodiscard]] T newest() const noexcept { return values_[(added_ - 1) % capacity]; }
  [[nodiscard]] T oldest() const noexcept { return values_[added_ > capacity ? added_ % capacity : 0]; }
  [[nodiscard]] std::vector<T> values() const {
    return {values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size())};
  }

 private:
  std::array<T, capacity> values_{};
  std::size_t added_ = 0;
};

/// Nearest-rank percentile; 0 when nothing was measured.
inline double percentile(std::vector<float> values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return values[rank];
}

}  // namespace splitcnn::inline v0
