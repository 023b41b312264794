#include "dpu/soft/integer_finish.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dpu/soft/plain_kernels.hpp"

namespace splitcnn::inline v0::soft {

std::optional<IntegerFinish> integer_finish(const ConvSpec& spec) {
  const bool clamp = spec.nonlinear == Nonlinear::none || spec.nonlinear == Nonlinear::relu || spec.nonlinear == Nonlinear::relu6;
  const int n = spec.shift_cut();
  if (!clamp || n < 0 || n > 30 || std::abs(spec.shift_bias()) > 40) return {};
  IntegerFinish f{.shift = n};
  if (spec.nonlinear != Nonlinear::none) f.low = 0;
  if (spec.nonlinear == Nonlinear::relu6 && spec.fp_out <= 4) f.high = 96;
  const auto largest = static_cast<double>(largest_sum(spec));
  for (const std::int8_t b : spec.bias) {
    const double c = std::floor(b * power_of_two(spec.shift_bias()) + power_of_two(n - 1));
    if (largest + std::abs(c) > std::numeric_limits<std::int32_t>::max()) return {};
    f.constants.push_back(static_cast<std::int32_t>(c));
  }
  return f;
}

std::vector<std::int32_t> weight_sums(const ConvSpec& spec) {
  const std::size_t per_channel = spec.weights.size() / static_cast<std::size_t>(spec.out.c);
  std::vector<std::int32_t> sums;
  for (std::size_t o = 0; o < static_cast<std::size_t>(spec.out.c); ++o) {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < per_channel; ++i) sum += spec.weights[o * per_channel + i];
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace splitcnn::inline v0::soft
