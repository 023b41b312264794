#include "predictor/measure_few.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace splitcnn::inline v0 {

namespace {

double interval(const StageTimes& t) { return std::max(t.head_ms, t.tail_ms); }

/// Logarithms of measured over predicted, by cut.
class Correction {
 public:
  void note(int k, double predicted, double measured) {
    if (predicted > 0 && measured > 0) logs_[k] = std::log(measured / predicted);  // a stage that is not there says nothing
  }

  [[nodiscard]] double factor(int k) const {
    if (logs_.empty()) return 1;
    const auto after = logs_.lower_bound(k);
    if (after == logs_.begin()) return std::exp(after->second);
    const auto before = std::prev(after);
    if (after == logs_.end()) return std::exp(before->second);
    const double part = static_cast<double>(k - before->first) / (after->first - before->first);
    return std::exp(before->second + part * (after->second - before->second));
  }

 private:
  std::map<int, double> logs_;
};

}  // namespace

std::vector<MeasuredCut> measure_few(std::span<const double> head_ms, std::span<const double> tail_ms, const std::vector<bool>& legal, int most,
                                     const std::function<StageTimes(int k)>& measure) {
  std::vector<MeasuredCut> rows;
  std::vector<bool> open = legal;
  Correction head, tail;
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < most; ++run) {
    int next = -1;
    double least = best;
    for (std::size_t c = 0; c < open.size(); ++c) {
      const int k = static_cast<int>(c);
      const double ms = std::max(head_ms[c] * head.factor(k), tail_ms[c] * tail.factor(k));
      if (open[c] && ms < least) next = k, least = ms;
    }
    if (next < 0) break;
    const auto at = static_cast<std::size_t>(next);
    open[at] = false;
    const StageTimes t = measure(next);
    if (!std::isfinite(t.head_ms + t.tail_ms)) continue;
    head.note(next, head_ms[at], t.head_ms);
    tail.note(next, tail_ms[at], t.tail_ms);
    best = std::min(best, interval(t));
    rows.push_back({next, t});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const MeasuredCut& a, const MeasuredCut& b) { return interval(a.ms) < interval(b.ms); });
  return rows;
}

}  // namespace splitcnn::inline v0
