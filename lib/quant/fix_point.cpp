// Compiled with -O3 (see CMakeLists.txt).
#include "quant/fix_point.hpp"

#include <algorithm>
#include <cmath>

namespace splitcnn::inline v0 {

namespace {

/// Sum of weight * (x - round trip of x)^2 for one fix point; null weights count as 1. The clamp comes first: rounding does not leave the byte range.
double squared_error(const float* x, const float* weights, std::size_t n, float scale, float unit, bool half_away) noexcept {
  double total = 0;
  constexpr std::size_t block = 1024;
  for (std::size_t from = 0; from < n; from += block) {
    const std::size_t to = std::min(n, from + block);
    float lanes[16] = {};
    std::size_t i = from;
    const auto error = [&](float value) __attribute__((always_inline)) {
      float v = value * scale;
      v = v > -128.0f ? v : -128.0f;
      v = v < 127.0f ? v : 127.0f;
      const auto whole = static_cast<std::int32_t>(v);
      const float rest = v - static_cast<float>(whole);
      const float down = half_away ? (rest <= -0.5f ? 1.0f : 0.0f) : (rest < -0.5f ? 1.0f : 0.0f);
      const float rounded = static_cast<float>(whole) + (rest >= 0.5f ? 1.0f : 0.0f) - down;
      const float e = value - rounded * unit;
      return e * e;
    };
    for (; !weights && i + 16 <= to; i += 16) {
      for (std::size_t k = 0; k < 16; ++k) lanes[k] += error(x[i + k]);
    }
    for (; weights && i + 16 <= to; i += 16) {
      for (std::size_t k = 0; k < 16; ++k) lanes[k] += weights[i + k] * error(x[i + k]);
    }
    for (; i < to; ++i) lanes[0] += (weights ? weights[i] : 1) * error(x[i]);
    for (const float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

float largest_magnitude(std::span<const float> values) noexcept {
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

}  // namespace

void quantise_half_away(std::span<const float> from, int fix_point, std::span<std::int8_t> to) noexcept {
  const double scale = std::ldexp(1.0, fix_point);
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i] = static_cast<std::int8_t>(std::clamp(std::round(static_cast<double>(from[i]) * scale), -128.0, 127.0));
  }
}

int choose_weight_fix_point(std::span<const float> values, int lowest, int highest, std::span<const float> importance) noexcept {
  const float largest = largest_magnitude(values);
  if (largest == 0) return std::clamp(0, lowest, highest);
  const int whole = static_cast<int>(std::floor(std::log2(127.0 / static_cast<double>(largest))));  // nothing saturates
  const int from = std::clamp(whole - 1, lowest, highest), to = std::clamp(whole + 5, lowest, highest);
  int best = from;
  double best_error = -1;
  for (int fp = from; fp <= to; ++fp) {
    const auto scale = static_cast<float>(std::ldexp(1.0, fp)), unit = static_cast<float>(std::ldexp(1.0, -fp));
    const double error = squared_error(values.data(), importance.empty() ? nullptr : importance.data(), values.size(), scale, unit, true);
    if (best_error < 0 || error < best_error) {
      best = fp;
      best_error = error;
    }
  }
  return best;
}

void ErrorTable::add(std::span<const float> values) noexcept {
  largest_ = std::max(largest_, largest_magnitude(values));
  for (int fp = lowest; fp <= highest; ++fp) {
    const auto scale = static_cast<float>(std::ldexp(1.0, fp)), unit = static_cast<float>(std::ldexp(1.0, -fp));
    errors_[static_cast<std::size_t>(fp - lowest)] += squared_error(values.data(), nullptr, values.size(), scale, unit, false);
  }
}

double ErrorTable::error(int fix_point) const noexcept {
  return errors_[static_cast<std::size_t>(std::clamp(fix_point, lowest, highest) - lowest)];
}

int ErrorTable::best(int low, int high, int fallback) const noexcept {
  low = std::clamp(low, lowest, highest);
  high = std::clamp(high, low, highest);
  if (empty()) return std::clamp(fallback, low, high);
  int best = low;
  for (int fp = low; fp <= high; ++fp) {
    if (error(fp) < error(best)) best = fp;
  }
  return best;
}

}  // namespace splitcnn::inline v0
