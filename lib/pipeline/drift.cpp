// Re-planning from inside a running pipeline: the watchdog gathers what each device did in a window, and the
// Replanner says whether the routes get other shares.
#include <fmt/core.h>

#include <algorithm>

#include "core/log.hpp"
#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

void check(const ReplanOptions& options, const std::optional<Plan>& plan) {
  const auto positive = [](Millis ms) { return ms.count() > 0; };
  if (!(options.drift > 0) || !(options.gain >= 0 && options.gain < 1) || !positive(options.window) ||
      !(options.hold.count() >= 0) || !positive(options.retry)) {
    throw Error{Errc::bad_argument,
                "PipelineOptions::replan: drift, window and retry must be above 0, hold at least 0, gain "
                "from 0 to below 1"};
  }
  if (!plan || plan->routes().size() < 2) {
    throw Error{Errc::bad_argument,
                "PipelineOptions::replan: there is one route only and nothing to choose from; give the plan "
                "Partitioner::with_alternatives"};
  }
  for (const Route& route : plan->routes()) {
    for (const Segment& s : route.segments) {
      if (s.expected_ms > 0) continue;
      throw Error{Errc::bad_argument,
                  fmt::format("PipelineOptions::replan: units {} to {} on {} have no expected time, so a "
                              "drift cannot be told; plan with a profile "
                              "(Partitioner::with_alternatives fills in what is missing)",
                              s.first_unit, s.last_unit, s.device)};
    }
  }
}

std::string sentence(const PipelineStats& stats) {
  std::string drift, shares;
  for (const DeviceStats& d : stats.devices)
    drift += fmt::format("{}{} takes {:.2f} times as long as planned", drift.empty() ? "" : ", ", d.device,
                         d.drift);
  for (const RouteStats& r : stats.routes) {
    if (r.share > 0)
      shares += fmt::format("{}{:.0f} % {}", shares.empty() ? "" : ", ", 100 * r.share, r.devices);
  }
  return fmt::format("pipeline: {}; frames now go {}", drift, shares);
}

}  // namespace

/// After the workers are known, before they run.
void PipelineCore::plan_for_drift(const ReplanOptions& options) {
  check(options, plan);
  expected_ms_.assign(nodes_.size(), 0);
  noted_.resize(nodes_.size());
  RouteLoads loads(wiring.routes.size(), std::vector<double>(workers_.size()));
  for (std::size_t r = 0; r < loads.size(); ++r) {
    const std::vector<Segment>& segments = plan->routes()[r].segments;
    for (std::size_t k = 0; k < segments.size();
         ++k) {  // stages behind the plan's take their time on every route
      const std::size_t stage = wiring.routes[r].steps[k].stage;
      loads[r][static_cast<std::size_t>(worker_of_[stage] - workers_.data())] += segments[k].expected_ms;
      expected_ms_[stage] = segments[k].expected_ms * static_cast<double>(nodes_[stage].batch);
    }
  }
  window_ = to_clock(options.window);
  window_ends_ = Clock::now() + window_;
  replanner_.emplace(options, std::move(loads));
}

/// Full batches only: a batch that left unfilled says little about a device whose lanes run in lock step.
/// When none was completed, a batch that is late already says something, too.
Replanner::Seen PipelineCore::seen_in_window(const Worker& worker, Clock::time_point now) noexcept {
  Replanner::Seen seen;
  for (const StageNode* node : worker.stages) {
    const auto stage = static_cast<std::size_t>(node - nodes_.data());
    Noted& noted = noted_[stage];
    if (expected_ms_[stage] > 0) {
      seen.expected_ms += expected_ms_[stage] * static_cast<double>(node->full_batches - noted.batches);
      seen.busy_ms += to_ms(node->full_busy - noted.busy);
    }
    noted = {node->full_batches, node->full_busy};
  }
  for (const StageNode* node : worker.stages) {
    if (seen.expected_ms > 0 || node->in_flight == 0 || node->stuck()) continue;
    const BatchInFlight& batch = node->ring[node->first];
    const double expected = expected_ms_[static_cast<std::size_t>(node - nodes_.data())];
    const double age = to_ms(now - std::max(batch.submitted_at, node->let_go_at));
    if (expected > 0 && batch.count == node->batch && age > expected) return {expected, age};
  }
  return seen;
}

void PipelineCore::look_for_drift(std::unique_lock<std::mutex>& lock, Clock::time_point now) {
  window_ends_ = now + window_;
  std::vector<Replanner::Seen> seen;
  for (const Worker& worker : workers_) seen.push_back(seen_in_window(worker, now));
  std::vector<bool> works;
  for (std::size_t r = 0; r < wiring.routes.size(); ++r) works.push_back(fitness(r) == 2);
  const auto shares = replanner_->window(seen, works, shares_, now);
  if (!shares) return;
  shares_ = *shares;
  std::fill(served_.begin(), served_.end(), 0.0);
  ++replans_;
  if (trace_) trace_replan();
  lock.unlock();
  try {
    log(LogLevel::warning, sentence(stats()));
  } catch (...) {  // no memory for the sentence: the counters have it
  }
  lock.lock();
}

}  // namespace splitcnn::inline v0
