// Which stages are in service, which route a frame takes, and how frames get around a stage that is not.
#include <algorithm>
#include <cstring>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {

const char* to_string(Health health) noexcept {
  switch (health) {
    case Health::good:
      return "good";
    case Health::resting:
      return "resting";
    case Health::hung:
      return "hung";
    case Health::lost:
      return "lost";
  }
  return "unknown";
}

Health PipelineCore::health(const StageNode& node) const noexcept {
  if (node.lost) return Health::lost;
  if (node.stuck() || node.worker->hung) return Health::hung;
  return node.resting ? Health::resting : Health::good;
}

bool PipelineCore::in_service(const StageNode& node) const noexcept { return health(node) == Health::good; }

/// 2: every stage in service. 1: one rests or hangs and may come back. 0: one is lost.
int PipelineCore::fitness(std::size_t route) const noexcept {
  int worst = 2;
  for (const Step& step : wiring.routes[route].steps) {
    const Health h = health(nodes_[step.stage]);
    if (h != Health::good) worst = std::min(worst, h == Health::lost ? 0 : 1);
  }
  return worst;
}

/// The route itself, or one as fit that shares frames, whose first device has nothing to do while two batches wait for that of the route.
std::size_t PipelineCore::one_that_idles(std::size_t due, int fit) const noexcept {
  constexpr std::size_t behind = 2;
  const auto first_of = [&](std::size_t r) -> const StageNode& { return nodes_[wiring.routes[r].steps.front().stage]; };
  const StageNode& waited_for = first_of(due);
  if (waited_for.queue.size() < behind * waited_for.batch) return due;
  for (std::size_t r = 0; r < wiring.routes.size(); ++r) {
    const std::vector<StageNode*>& stages = first_of(r).worker->stages;
    const auto nothing = [](const StageNode* node) { return node->queue.empty() && node->in_flight == 0; };
    if (shares_[r] > 0 && fitness(r) == fit && std::all_of(stages.begin(), stages.end(), nothing)) return r;
  }
  return due;
}

/// The fittest routes share the frames by weight; standby ones are taken only where no other is as fit. Deterministic, and no
/// route waits longer than its share: the one whose next frame is due first.
std::size_t PipelineCore::pick_route() {
  const std::size_t routes = wiring.routes.size();
  int best_fitness = -1;
  bool by_weight = false;
  std::size_t best = 0;
  double due = 0;
  for (std::size_t r = 0; r < routes; ++r) {
    const int fit = fitness(r);
    const double next = shares_[r] > 0 ? served_[r] + 1 / shares_[r] : 0;
    const bool fitter = fit > best_fitness || (fit == best_fitness && shares_[r] > 0 && !by_weight);
    const bool sooner = fit == best_fitness && shares_[r] > 0 && by_weight && next < due - 1e-9;
    if (!fitter && !sooner) continue;
    best_fitness = fit;
    by_weight = shares_[r] > 0;
    best = r;
    due = next;
  }
  if (!by_weight) return best;
  if (work_conserving_) {
    best = one_that_idles(best, best_fitness);
    due = served_[best] + 1 / shares_[best];
  }
  served_[best] = due;
  double least = due;
  for (std::size_t r = 0; r < routes; ++r) {
    if (shares_[r] > 0 && fitness(r) == best_fitness) least = std::min(least, served_[r]);
  }
  // What counts is the lead over the others; a route that comes back must not have saved up turns.
  for (std::size_t r = 0; r < routes; ++r) served_[r] = std::max(0.0, served_[r] - least);
  return best;
}

/// Steps that both routes have in common from the start and the frame has behind it.
std::size_t PipelineCore::where_routes_part(const PipelineFrame& frame, std::size_t other) const noexcept {
  const std::vector<Step>&a = wiring.routes[frame.route].steps, &b = wiring.routes[other].steps;
  std::size_t k = 0;
  while (k < frame.position && k < b.size() && a[k].stage == b[k].stage) ++k;
  return k;
}

/// A route that works, without the node, not yet tried, whose inputs hold the frame.
std::optional<std::size_t> PipelineCore::way_around(const PipelineFrame& frame, const StageNode& node) const noexcept {
  std::optional<std::size_t> best;
  for (std::size_t r = 0; r < wiring.routes.size(); ++r) {
    const std::uint64_t bit = std::uint64_t{1} << r;
    if ((frame.tried & bit) || !(frame.filled & bit) || (node.routes & bit) || fitness(r) < 2) continue;
    if (best && shares_[r] <= shares_[*best]) continue;
    // A hung stage may still be reading what a stage of both routes would write again.
    const std::vector<std::size_t>& read = wiring.routes[frame.route].steps[frame.position].inputs;
    const std::vector<Step>& steps = wiring.routes[r].steps;
    const bool clash = frame.quarantined > 0 &&
                       std::any_of(steps.begin() + static_cast<std::ptrdiff_t>(where_routes_part(frame, r)), steps.end(), [&](const Step& s) {
                         return std::find_first_of(s.outputs.begin(), s.outputs.end(), read.begin(), read.end()) != s.outputs.end();
                       });
    if (!clash) best = r;
  }
  return best;
}

bool PipelineCore::reroute(PipelineFrame& frame, StageNode& node, Clock::time_point now) {
  if (!node.avoidable || frame.delivery == Delivery::warm_up) return false;
  const auto route = way_around(frame, node);
  if (!route) return false;
  const std::size_t from = where_routes_part(frame, *route);
  frame.tried |= std::uint64_t{1} << frame.route;
  frame.route = *route;
  frame.position = from;
  ++node.rerouted;
  ++rerouted_;
  enqueue(frame, now);
  return true;
}

/// What waits for the node and can go another way does so.
void PipelineCore::empty_queue(StageNode& node, Clock::time_point now) {
  for (PipelineFrame* frame = node.queue.front(); frame;) {
    PipelineFrame* next = QueueList::next(frame);
    if (way_around(*frame, node) && frame->delivery != Delivery::warm_up) {
      node.queue.remove(frame);
      reroute(*frame, node, now);
    }
    frame = next;
  }
}

void PipelineCore::take_out(StageNode& node, Clock::time_point now) {
  if (!node.avoidable) return;
  if (!node.resting) {
    ++node.left;
    ++switches_;
  }
  node.resting = true;
  node.checks_in_row = 0;
  node.check_at = now + check_interval_;
  empty_queue(node, now);
}

void PipelineCore::take_back(StageNode& node) {
  const Health before = health(node);
  node.resting = false;
  node.failures_in_row = 0;
  ++switches_;
  announce(node, before);
}

/// Learns from a batch that the stage has let go of, in time or not.
void PipelineCore::judge(StageNode& node, const Status& status, bool check, Clock::time_point now) {
  if (node.lost || !node.avoidable) return;
  if (status.ok()) {
    node.failures_in_row = 0;
    if (node.resting && ++node.checks_in_row >= checks_to_return_) take_back(node);
  } else if (node.resting) {
    node.checks_in_row = 0;
  } else if (++node.failures_in_row >= failures_to_leave_) {
    take_out(node, now);
    announce(node, Health::good);
  }
  if (check) node.check_at = now + check_interval_;
}

StageNode* PipelineCore::next_to_check(const Worker& worker, Clock::time_point now) {
  for (StageNode* node : worker.stages) {
    if (node->resting && !node->lost && node->in_flight == 0 && node->check_at <= now) return node;
  }
  return nullptr;
}

void PipelineCore::submit_check(StageNode& node, std::unique_lock<std::mutex>& lock) {
  BatchInFlight& batch = node.ring[node.first];
  batch.count = 0;
  batch.check = true;
  ++node.checks;
  std::copy_n(node.check_views.begin(), node.n_inputs, node.inputs.begin());
  std::copy_n(node.check_views.begin() + static_cast<std::ptrdiff_t>(node.n_inputs), node.n_outputs, node.outputs.begin());
  start(node, batch, lock);
}

void PipelineCore::set_shares(std::span<const double> shares) {
  double sum = 0;
  bool sound = shares.size() == wiring.routes.size();
  for (const double share : shares) {
    sound = sound && share >= 0 && share <= 1e12;
    sum += share;
  }
  if (!sound || !(sum > 0)) {
    throw Error{Errc::bad_argument, "set_shares: give a number of at least 0 for each of the " + std::to_string(wiring.routes.size()) +
                                        " routes, and at least one above 0"};
  }
  const std::lock_guard lock{mutex_};
  for (std::size_t r = 0; r < shares.size(); ++r) shares_[r] = shares[r] / sum;
  std::fill(served_.begin(), served_.end(), 0.0);
}

}  // namespace splitcnn::inline v0
