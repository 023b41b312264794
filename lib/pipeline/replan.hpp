#pragma once
/// Decides when the routes of a running pipeline get other shares. No threads, no clock of its own: the
/// watchdog tells it once per window what each device did.
#include <optional>
#include <span>
#include <vector>

#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

/// Time per frame on each device, for each route: [route][device], ms.
using RouteLoads = std::vector<std::vector<double>>;

/// Time between results when the routes share the frames: the busiest device. `shares` sum to 1.
double busiest(const RouteLoads& loads, std::span<const double> shares) noexcept;

/// Shares of at most two of the routes that work, for which the busiest device is least busy. With two
/// devices no more than two routes can help (the lower convex hull cut by the diagonal); with more, a third
/// could gain a little and is not looked for. All 0 when no route works.
std::vector<double> best_shares(const RouteLoads& loads, const std::vector<bool>& works);

class Replanner {
 public:
  /// `expected`: per frame, as planned.
  Replanner(const ReplanOptions& options, RouteLoads expected);

  /// What a device did in the window, full batches only. expected_ms 0: nothing.
  struct Seen {
    double expected_ms = 0, busy_ms = 0;
  };

  /// At the end of a window: other shares, or nothing when those in use stay.
  std::optional<std::vector<double>> window(std::span<const Seen> seen, const std::vector<bool>& works,
                                            std::span<const double> shares, Clock::time_point now);

  /// Per device: measured over expected time, when it was last seen.
  [[nodiscard]] std::span<const double> drift() const noexcept { return factor_; }

 private:
  void look_at(std::size_t device, const Seen& seen, Clock::time_point now);
  void maybe_retry(std::size_t device, std::span<const double> shares, Clock::time_point now);
  [[nodiscard]] RouteLoads loads_now() const;

  ReplanOptions options_;
  RouteLoads expected_;
  std::size_t devices_ = 0;
  std::vector<double> factor_;      ///< now
  std::vector<double> planned_by_;  ///< when the shares were chosen
  std::vector<int> streak_;         ///< windows in a row that differ from planned_by_
  std::vector<Clock::time_point> unseen_since_;
  std::vector<double> patience_;  ///< of the next retry, in units of options_.retry
  std::vector<bool> on_trial_;    ///< retried, not seen yet
  std::vector<bool> worked_;
  std::optional<Clock::time_point> changed_at_;
  bool due_ = false;  ///< something changed, and the shares have not been looked at since
};

}  // namespace splitcnn::inline v0
