#include "pipeline/replan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace splitcnn::inline v0 {
namespace {

constexpr int windows_to_believe = 2;
constexpr double most_patience = 32;

struct Pair {
  std::size_t a = 0, b = 0;
  double share = 1;  ///< of a
  double interval_ms = std::numeric_limits<double>::infinity();
};

double busiest_of_two(const std::vector<double>& a, const std::vector<double>& b, double share) noexcept {
  double most = 0;
  for (std::size_t d = 0; d < a.size(); ++d) most = std::max(most, share * a[d] + (1 - share) * b[d]);
  return most;
}

/// Every device's load is a line over the share: the least maximum is at an end or where two lines meet.
void try_pair(const RouteLoads& loads, std::size_t a, std::size_t b, Pair& best) {
  const std::vector<double>&x = loads[a], &y = loads[b];
  const auto consider = [&](double share) {
    const double ms = busiest_of_two(x, y, share);
    if (ms < best.interval_ms * (1 - 1e-9)) best = {a, b, share, ms};
  };
  consider(1);
  consider(0);
  for (std::size_t d = 0; d < x.size(); ++d) {
    for (std::size_t e = d + 1; e < x.size(); ++e) {
      const double slope = x[d] - y[d] - x[e] + y[e];
      if (slope == 0) continue;
      const double share = (y[e] - y[d]) / slope;
      if (share > 0 && share < 1) consider(share);
    }
  }
}

}  // namespace

double busiest(const RouteLoads& loads, std::span<const double> shares) noexcept {
  double most = 0;
  for (std::size_t d = 0; !loads.empty() && d < loads.front().size(); ++d) {
    double load = 0;
    for (std::size_t r = 0; r < loads.size(); ++r) load += shares[r] * loads[r][d];
    most = std::max(most, load);
  }
  return most;
}

std::vector<double> best_shares(const RouteLoads& loads, const std::vector<bool>& works) {
  Pair best;
  for (std::size_t a = 0; a < loads.size(); ++a) {
    for (std::size_t b = a; works[a] && b < loads.size(); ++b) {
      if (works[b]) try_pair(loads, a, b, best);
    }
  }
  std::vector<double> shares(loads.size());
  if (std::isinf(best.interval_ms)) return shares;
  shares[best.a] += best.share;
  shares[best.b] += 1 - best.share;
  return shares;
}

Replanner::Replanner(const ReplanOptions& options, RouteLoads expected)
    : options_{options},
      expected_{std::move(expected)},
      devices_{expected_.empty() ? 0 : expected_.front().size()},
      factor_(devices_, 1.0),
      planned_by_(devices_, 1.0),
      streak_(devices_),
      unseen_since_(devices_),
      patience_(devices_, 1.0),
      on_trial_(devices_) {}

RouteLoads Replanner::loads_now() const {
  RouteLoads loads = expected_;
  for (std::vector<double>& route : loads) {
    for (std::size_t d = 0; d < devices_; ++d) route[d] *= factor_[d];
  }
  return loads;
}

void Replanner::look_at(std::size_t d, const Seen& seen, Clock::time_point now) {
  const double factor = std::clamp(seen.busy_ms / seen.expected_ms, 1e-3, 1e6);
  const bool differs = std::abs(factor / planned_by_[d] - 1) > options_.drift;
  streak_[d] = differs ? streak_[d] + 1 : 0;
  // One odd window is no drift: what it saw counts only once the next one agrees.
  if (!differs || streak_[d] >= windows_to_believe) factor_[d] = factor;
  if (streak_[d] >= windows_to_believe) due_ = true;
  unseen_since_[d] = now;
  if (!on_trial_[d] || (differs && streak_[d] < windows_to_believe)) return;
  on_trial_[d] = false;
  patience_[d] = differs ? std::min(2 * patience_[d], most_patience) : 1;
}

/// A device nobody uses any more because it was slow cannot show that it has recovered.
void Replanner::maybe_retry(std::size_t d, std::span<const double> shares, Clock::time_point now) {
  if (factor_[d] <= 1 + options_.drift || now - unseen_since_[d] < patience_[d] * options_.retry) return;
  for (std::size_t r = 0; r < expected_.size(); ++r) {
    if (shares[r] > 0 && expected_[r][d] > 0) return;  // in use, but its batches do not fill
  }
  factor_[d] = 1;
  streak_[d] = 0;
  on_trial_[d] = true;
  due_ = true;
}

std::optional<std::vector<double>> Replanner::window(std::span<const Seen> seen,
                                                     const std::vector<bool>& works,
                                                     std::span<const double> shares, Clock::time_point now) {
  for (std::size_t d = 0; d < devices_; ++d) {
    if (unseen_since_[d] == Clock::time_point{}) unseen_since_[d] = now;
    if (seen[d].expected_ms > 0) {
      look_at(d, seen[d], now);
    } else {
      maybe_retry(d, shares, now);
    }
  }
  if (!worked_.empty() && works != worked_) due_ = true;
  worked_ = works;
  if (!due_ || (changed_at_ && now - *changed_at_ < options_.hold)) return std::nullopt;

  due_ = false;
  planned_by_ = factor_;
  std::fill(streak_.begin(), streak_.end(), 0);
  const RouteLoads loads = loads_now();
  std::vector<double> best = best_shares(loads, works);
  double best_ms = busiest(loads, best), now_ms = busiest(loads, shares);
  for (std::size_t r = 0; r < loads.size(); ++r) {
    if (shares[r] > 0 && !works[r]) now_ms = std::numeric_limits<double>::infinity();
  }
  if (!(best_ms > 0) || best_ms > now_ms * (1 - options_.gain)) return std::nullopt;
  changed_at_ = now;
  return best;
}

}  // namespace splitcnn::inline v0
