// Partitioner::predict: here, because the predictor and the partitioner's ways of measuring do not know each other.
#include "splitcnn/predictor.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "partition/pieces.hpp"
#include "partition/search.hpp"
#include "predictor/measure_few.hpp"

namespace splitcnn::inline v0 {

namespace {

std::string why(const Partitioner& parts, const Forecast& f, const PredictorInfo& info) {
  return fmt::format("Predicted by weights trained on {} times of {} and {}: cut {} after '{}', {:.3f} ms per frame, with {:.0f} % between {:.3f} and {:.3f} ms. "
                     "All on {}: {:.3f} ms; all on {}: {:.3f} ms.",
                     info.truth, info.head_name, info.tail_name, f.k, parts.cuts()[static_cast<std::size_t>(f.k)].after, f.interval_ms, 100 * info.confidence,
                     f.low_ms, f.high_ms, info.head, f.head_ms.back(), info.tail, f.tail_ms.front());
}

constexpr int most_measured = 3;

/// Cuts as they run here, fastest first: the forecast's, and where its curves lead once they are corrected.
std::vector<Candidate> measure_contenders(const Partitioner& parts, const Forecast& f, const std::vector<Candidate>& rows, const PredictorInfo& info,
                                          const PredictOptions& options) {
  Pieces head{parts, *options.devices, options.devices->info(info.head), options.runs, nullptr};
  Pieces tail{parts, *options.devices, options.devices->info(info.tail), options.runs, nullptr};
  std::vector<bool> legal;
  for (const Candidate& row : rows) legal.push_back(row.legal);
  const auto times = [&](int k) { return StageTimes{head.time(0, k).ms, tail.time(k, tail.units()).ms}; };
  std::vector<Candidate> measured;
  for (const auto& [k, ms] : measure_few(f.head_ms, f.tail_ms, legal, most_measured, times)) {
    measured.push_back({.k = k, .legal = true});
    measured.back().head_ms = ms.head_ms;
    measured.back().tail_ms = ms.tail_ms;
    measured.back().cost = {std::max(ms.head_ms, ms.tail_ms), ms.head_ms + ms.tail_ms, Origin::measured};
  }
  return measured;
}

}  // namespace

Prediction Partitioner::predict(const Predictor& predictor) const { return predict(predictor, {}); }

Prediction Partitioner::predict(const Predictor& predictor, const PredictOptions& options) const {
  const PredictorInfo& info = predictor.info();
  Forecast f = predictor.forecast(*this);
  const std::vector<Candidate> rows = candidates(predictor.profile(*this), {.head = info.head, .tail = info.tail});
  std::vector<Candidate> measured;
  if (options.devices && f.contenders.size() > 1) measured = measure_contenders(*this, f, rows, info, options);
  const int k = measured.empty() ? f.k : measured.front().k;
  const Candidate& chosen = measured.empty() ? rows[static_cast<std::size_t>(k)] : measured.front();

  Route route = split_at(k, info.head, info.tail).route(0);
  for (Segment& s : route.segments) s.expected_ms = s.device == info.head ? chosen.head_ms : chosen.tail_ms;
  std::string reason = why(*this, f, info);
  if (!measured.empty()) reason += fmt::format(" Measured here, of {} cuts {} is the fastest: {:.3f} ms.", measured.size(), k, chosen.cost.interval_ms);
  Prediction p{.plan = plan_of(*this, {std::move(route)}, chosen.cost, std::move(reason)), .measured = std::move(measured)};
  for (const int other : f.contenders) {
    if (other != k) p.runners_up.push_back(rows[static_cast<std::size_t>(other)]);
  }
  p.forecast = std::move(f);
  return p;
}

}  // namespace splitcnn::inline v0
