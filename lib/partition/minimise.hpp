#pragma once
/// A small global minimiser for fits of up to ten parameters: differential evolution (rand/1/bin with a pull to the best, dithered
/// weight), bounded, seeded, so that a fit gives the same numbers on every machine.
///
///     const std::vector<double> best = minimise(ranges, [](std::span<const double> x) { return loss(x); }, {.seed = 1});
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace splitcnn::inline v0 {

/// Searched on a logarithmic scale where low > 0 and the range spans more than a factor of 3.
struct ParameterRange {
  double low = 0, high = 1;
};

struct MinimiseOptions {
  std::uint64_t seed = 1;
  std::size_t population = 64;
  std::size_t generations = 600;
};

/// The best point found. `loss` must not return NaN; infinity marks a point that is not allowed.
std::vector<double> minimise(std::span<const ParameterRange> ranges, const std::function<double(std::span<const double>)>& loss,
                             const MinimiseOptions& options = {});

}  // namespace splitcnn::inline v0
