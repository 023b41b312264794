#include "partition/minimise.hpp"

#include <algorithm>
#include <cmath>

namespace splitcnn::inline v0 {

namespace {

/// splitmix64: the standard library's distributions differ between implementations, and a fit must not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_{seed} {}
  double unit() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  std::size_t below(std::size_t n) { return std::min(n - 1, static_cast<std::size_t>(unit() * static_cast<double>(n))); }

 private:
  std::uint64_t state_;
};

bool logarithmic(const ParameterRange& r) { return r.low > 0 && r.high > 3 * r.low; }

double value_of(const ParameterRange& r, double u) {
  return logarithmic(r) ? r.low * std::pow(r.high / r.low, u) : r.low + (r.high - r.low) * u;
}

std::vector<double> values_of(std::span<const ParameterRange> ranges, const std::vector<double>& units) {
  std::vector<double> values;
  for (std::size_t i = 0; i < units.size(); ++i) values.push_back(value_of(ranges[i], units[i]));
  return values;
}

}  // namespace

std::vector<double> minimise(std::span<const ParameterRange> ranges, const std::function<double(std::span<const double>)>& loss,
                             const MinimiseOptions& options) {
  Random random{options.seed};
  const std::size_t n = ranges.size(), members = std::max<std::size_t>(options.population, 5);
  std::vector<std::vector<double>> units(members, std::vector<double>(n));
  std::vector<double> losses(members);
  for (std::size_t m = 0; m < members; ++m) {
    for (double& u : units[m]) u = random.unit();
    losses[m] = loss(values_of(ranges, units[m]));
  }
  const auto best = [&] { return static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) - losses.begin()); };
  for (std::size_t g = 0; g < options.generations; ++g) {
    const std::vector<double> leader = units[best()];
    for (std::size_t m = 0; m < members; ++m) {
      const auto &a = units[random.below(members)], &b = units[random.below(members)], &c = units[random.below(members)];
      const double weight = 0.4 + 0.5 * random.unit(), pull = random.unit() < 0.5 ? weight : 0;
      const std::size_t always = random.below(n);
      std::vector<double> trial = units[m];
      for (std::size_t i = 0; i < n; ++i) {
        if (i != always && random.unit() > 0.9) continue;
        trial[i] = std::clamp(a[i] + weight * (b[i] - c[i]) + pull * (leader[i] - a[i]), 0.0, 1.0);
      }
      const double l = loss(values_of(ranges, trial));
      if (l <= losses[m]) units[m] = std::move(trial), losses[m] = l;
    }
  }
  return values_of(ranges, units[best()]);
}

}  // namespace splitcnn::inline v0
