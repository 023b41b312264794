// Partitioner::predict: here, because the predictor and the partitioner's ways of measuring do not know each other.
#include "splitcnn/predictor.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "partition/pieces.hpp"
#include "partition/search.hpp"

namespace splitcnn::inline v0 {

namespace {

std::string why(const Partitioner& parts, const Forecast& f, const PredictorInfo& info) {
  return fmt::format("Predicted by weights trained on {} times of {} and {}: cut {} after '{}', {:.3f} ms per frame, with {:.0f} % between {:.3f} and {:.3f} ms. "
                     "All on {}: {:.3f} ms; all on {}: {:.3f} ms.",
                     info.truth, info.head_name, info.tail_name, f.k, parts.cuts()[static_cast<std::size_t>(f.k)].after, f.interval_ms, 100 * info.confidence,
                     f.low_ms, f.high_ms, info.head, f.head_ms.back(), info.tail, f.tail_ms.front());
}

/// The contenders as they run here, fastest first; what cannot run is left out.
std::vector<Candidate> measure_contenders(const Partitioner& parts, const Forecast& f, const PredictorInfo& info, const PredictOptions& options) {
  Pieces head{parts, *options.devices, options.devices->info(info.head), options.runs, nullptr};
  Pieces tail{parts, *options.devices, options.devices->info(info.tail), options.runs, nullptr};
  std::vector<Candidate> rows;
  for (const int k : f.contenders) {
    Candidate row{.k = k, .legal = true};
    row.head_ms = head.time(0, k).ms;
    row.tail_ms = tail.time(k, tail.units()).ms;
    row.cost = {std::max(row.head_ms, row.tail_ms), row.head_ms + row.tail_ms, Origin::measured};
    if (std::isfinite(row.cost.latency_ms)) rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end(), [](const Candidate& a, const Candidate& b) { return a.cost.interval_ms < b.cost.interval_ms; });
  return rows;
}

}  // namespace

Prediction Partitioner::predict(const Predictor& predictor) const { return predict(predictor, {}); }

Prediction Partitioner::predict(const Predictor& predictor, const PredictOptions& options) const {
  const PredictorInfo& info = predictor.info();
  Forecast f = predictor.forecast(*this);
  const std::vector<Candidate> rows = candidates(predictor.profile(*this), {.head = info.head, .tail = info.tail});
  std::vector<Candidate> measured;
  if (options.devices && f.contenders.size() > 1) measured = measure_contenders(*this, f, info, options);
  const int k = measured.empty() ? f.k : measured.front().k;
  const Candidate& chosen = measured.empty() ? rows[static_cast<std::size_t>(k)] : measured.front();

  Route route = split_at(k, info.head, info.tail).route(0);
  for (Segment& s : route.segments) s.expected_ms = s.device == info.head ? chosen.head_ms : chosen.tail_ms;
  std::string reason = why(*this, f, info);
  if (!measured.empty()) reason += fmt::format(" Measured here, of {} contenders cut {} is the fastest: {:.3f} ms.", measured.size(), k, chosen.cost.interval_ms);
  Prediction p{.plan = plan_of(*this, {std::move(route)}, chosen.cost, std::move(reason)), .measured = std::move(measured)};
  for (const int other : f.contenders) {
    if (other != k) p.runners_up.push_back(rows[static_cast<std::size_t>(other)]);
  }
  p.forecast = std::move(f);
  return p;
}

}  // namespace splitcnn::inline v0
