// Here, because the partitioner does not know the pipeline.
#include "splitcnn/trial.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "partition/pieces.hpp"
#include "partition/result_rate.hpp"
#include "partition/search.hpp"
#include "pipeline/replan.hpp"
#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t single_frames = 5;                  // timed one by one
constexpr double fewest_frames = 12, most_frames = 5000;  // of a run
constexpr double surely_near = 1.02;                      // goes on in any case: measured no better than this
constexpr double least_gain = 0.01;                       // that other shares must promise
constexpr double fewest_turns = 8, most_for_turns = 400;  // of the route that gets the fewest frames; frames for that

struct Run {
  double interval_ms = 0, latency_ms = 0;
  std::vector<double> stage_ms{};  // per frame that went through it, in the order of the pipeline's stages
};

void push_one(Pipeline& pipe) {
  auto slot = pipe.acquire();
  if (slot) (void)pipe.push(std::move(*slot));
}

void pop_one(Pipeline& pipe) {
  const auto result = pipe.pop();
  if (!result) throw Error{Errc::stage_failed, "trial: the pipeline ended early"};
  if (!result->ok()) throw Error{result->status().code, result->status().message};
}

double latency_alone(Pipeline& pipe) {
  std::vector<double> times;
  for (std::size_t f = 0; f < single_frames; ++f) {
    const Clock::time_point start = Clock::now();
    push_one(pipe);
    pop_one(pipe);
    times.push_back(Millis{Clock::now() - start}.count());
  }
  return median_of(std::move(times));
}

std::size_t frames_of_run(const Plan& plan, double seconds) {
  double least_share = 1;
  for (const Route& route : plan.routes()) {
    if (route.weight > 0) least_share = std::min(least_share, route.weight);
  }
  const double fewest = std::max(fewest_frames, std::min(fewest_turns / least_share, most_for_turns));
  const double wanted = 1e3 * seconds / std::max(plan.expected().interval_ms, 1e-3);
  return static_cast<std::size_t>(std::clamp(std::isfinite(wanted) ? wanted : 0, fewest, most_frames));
}

/// What each stage did between two looks at a pipeline, ms per frame.
std::vector<double> stage_times(const PipelineStats& before, const PipelineStats& after) {
  std::vector<double> times;
  for (std::size_t s = 0; s < after.stages.size(); ++s) {
    const double ms = after.stages[s].busy_ms - before.stages[s].busy_ms;
    times.push_back(ms / static_cast<double>(after.stages[s].frames - before.stages[s].frames));
  }
  return times;
}

Run run_once(const Plan& plan, const Devices& devices, double seconds) {
  Pipeline pipe{plan, devices};
  Run run{.latency_ms = latency_alone(pipe)};
  const PipelineStats before = pipe.stats();
  const std::size_t frames = frames_of_run(plan, seconds);
  const std::size_t lead = std::max<std::size_t>(before.depth, 4);  // until it is full
  std::jthread feeder{[&] {
    for (std::size_t f = 0; f < frames + 2 * lead; ++f) push_one(pipe);  // still full when the clock stops
  }};
  std::vector<double> came;
  came.reserve(frames);
  const Clock::time_point start = Clock::now();
  try {
    for (std::size_t f = 0; f < frames + lead; ++f) {
      pop_one(pipe);
      if (f >= lead) came.push_back(Millis{Clock::now() - start}.count());
    }
  } catch (...) {
    pipe.close();  // the feeder may be waiting for room
    throw;
  }
  run.interval_ms = interval_of(came);
  run.stage_ms = stage_times(before, pipe.stats());
  pipe.close();
  return run;
}

/// [route][device] from the times of the stages. A pipeline has one stage per device and nodes, in the order the
/// routes name them.
std::optional<RouteLoads> measured_loads(std::span<const Route> routes, std::span<const double> stage_ms) {
  std::vector<std::tuple<std::string, NodeId, NodeId>> stages;
  std::vector<std::string> devices;
  const auto index_of = [](auto& known, const auto& wanted) {
    const auto at = std::find(known.begin(), known.end(), wanted);
    const auto index = static_cast<std::size_t>(at - known.begin());
    if (at == known.end()) known.push_back(wanted);
    return index;
  };
  std::vector<std::map<std::size_t, double>> sums;  // by route and device
  for (const Route& route : routes) {
    sums.emplace_back();
    for (const Segment& s : route.segments) {
      const std::size_t stage = index_of(stages, std::tuple{s.device, s.first, s.last});
      if (stage >= stage_ms.size() || !std::isfinite(stage_ms[stage])) return std::nullopt;
      sums.back()[index_of(devices, s.device)] += stage_ms[stage];
    }
  }
  if (stages.size() != stage_ms.size()) return std::nullopt;
  RouteLoads loads(routes.size(), std::vector<double>(devices.size()));
  for (std::size_t r = 0; r < sums.size(); ++r) {
    for (const auto& [device, ms] : sums[r]) loads[r][device] = ms;
  }
  return loads;
}

/// The same two routes with the shares that suit the measured times, where those promise a gain.
std::optional<std::vector<Route>> with_tuned_shares(const Plan& plan, std::span<const double> stage_ms) {
  std::vector<Route> routes{plan.routes().begin(), plan.routes().end()};
  if (routes.size() != 2 || routes[1].weight <= 0) return std::nullopt;
  const auto loads = measured_loads(routes, stage_ms);
  if (!loads) return std::nullopt;
  const std::vector<double> shares = best_shares(*loads, {true, true});
  if (shares[0] <= 0 || shares[1] <= 0) return std::nullopt;  // one of them alone is a contender already
  const std::array old_shares{routes[0].weight, routes[1].weight};
  if (busiest(*loads, shares) > (1 - least_gain) * busiest(*loads, old_shares)) return std::nullopt;
  for (std::size_t r = 0; r < 2; ++r) routes[r].weight = shares[r];
  return routes;
}

/// A plan in the race.
struct Runner {
  Runner(const Considered& c, Plan p) : plan{std::move(p)} {
    facts.name = c.name;
    facts.strategy = c.strategy;
    facts.expected = c.cost;
  }
  TriedPlan facts{};
  Plan plan;
  std::vector<double> intervals{}, latencies{}, stage_ms{};  // stage_ms: of the last run
  bool slow = false;  // not run again
  bool failed = false;
};

class Race {
 public:
  Race(const Partitioner& parts, const Choice& choice, const Devices& devices, const TrialOptions& options)
      : parts_{parts}, devices_{devices}, options_{options} {
    if (options.objective != Objective::interval && options.objective != Objective::latency) {
      throw Error{Errc::bad_argument,
                  "trial: only interval and latency can be timed; give one of them as objective"};
    }
    if (options.rounds < 1 || choice.contenders.empty()) {
      throw Error{Errc::bad_argument,
                  "trial: nothing to run; give at least one round and a choice made by choose()"};
    }
    for (const Considered& c : choice.contenders)
      runners_.emplace_back(c, plan_of(parts, c.routes, c.cost, ""));
  }

  Trial run() {
    std::size_t all = runners_.size() * static_cast<std::size_t>(options_.rounds);
    std::size_t done = 0;
    for (int round = 0; round < options_.rounds; ++round) {
      for (Runner& r : runners_) {
        if (!r.slow) step(r), ++done;
      }
      leave_out_failed();
      mark_slow(round + 1);
      if (round == 0 && wants_tuning()) all += tune_shares() * static_cast<std::size_t>(options_.rounds - 1);
      if (options_.progress) options_.progress(round + 1 == options_.rounds ? all : done, all);
    }
    return result();
  }

 private:
  double score(const TriedPlan& t) const {
    return options_.objective == Objective::interval ? t.interval_ms : t.latency_ms;
  }

  void step(Runner& r) {
    try {
      Run run = run_once(r.plan, devices_, options_.seconds);
      r.stage_ms = std::move(run.stage_ms);
      r.intervals.push_back(run.interval_ms);
      r.latencies.push_back(run.latency_ms);
    } catch (const Error& e) {
      log(LogLevel::warning, fmt::format("trial: '{}' is left out: {}", r.facts.name, e.what()));
      last_failure_ = e;
      r.failed = true;
      return;
    }
    r.facts.interval_ms = median_of(r.intervals);
    r.facts.latency_ms = median_of(r.latencies);
    const auto& timed = options_.objective == Objective::interval ? r.intervals : r.latencies;
    const auto [least, most] = std::minmax_element(timed.begin(), timed.end());
    r.facts.spread = (*most - *least) / 2 / median_of(timed);
    r.facts.rounds = static_cast<int>(timed.size());
  }

  bool wants_tuning() const {
    return options_.tune_shares && options_.rounds > 1 && options_.objective == Objective::interval;
  }

  /// How many plans joined.
  std::size_t tune_shares() {
    std::vector<Runner> tuned;
    for (const Runner& r : runners_) {
      if (r.slow) continue;
      auto routes = with_tuned_shares(r.plan, r.stage_ms);
      if (!routes) continue;
      Considered c{.cost = r.facts.expected};
      c.strategy = r.facts.strategy;
      c.name = fmt::format("{} (shares by trial: {:.0f} and {:.0f} %)", r.facts.name, 100 * (*routes)[0].weight,
                           100 * (*routes)[1].weight);
      tuned.emplace_back(c, plan_of(parts_, std::move(*routes), c.cost, ""));
    }
    std::move(tuned.begin(), tuned.end(), std::back_inserter(runners_));
    return tuned.size();
  }

  void leave_out_failed() {
    std::erase_if(runners_, [](const Runner& r) { return r.failed; });
    if (runners_.empty()) throw *last_failure_;
  }

  /// Only those near the best run again; after a failure of the best, slow ones may be near it.
  void mark_slow(int rounds) {
    const double near = std::max(1 + (options_.near - 1) / rounds, std::min(options_.near, surely_near));
    double best = score(runners_.front().facts);
    for (const Runner& r : runners_) best = std::min(best, score(r.facts));
    for (Runner& r : runners_) r.slow = score(r.facts) > near * best;
  }

  Trial result() {
    std::stable_sort(runners_.begin(), runners_.end(),
                     [&](const Runner& x, const Runner& y) { return score(x.facts) < score(y.facts); });
    std::vector<TriedPlan> tried;
    for (const Runner& r : runners_) tried.push_back(r.facts);
    const std::span<const Route> routes = runners_.front().plan.routes();
    const Cost cost{tried.front().interval_ms, tried.front().latency_ms, Origin::measured};
    Plan plan = plan_of(parts_, {routes.begin(), routes.end()}, cost, why(tried));
    return {std::move(plan), std::move(tried)};
  }

  std::string why(const std::vector<TriedPlan>& tried) const {
    const TriedPlan& won = tried.front();
    std::string names;
    for (const DeviceInfo& d : devices_.list())
      names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", d.name, d.backend);
    std::string text = fmt::format(
        "{}: {}. Tried on {}: measured a result every {:.3f} ms (expected by the profile {:.3f}), {:.3f} ms "
        "from frame to result",
        to_string(won.strategy), won.name, names, won.interval_ms, won.expected.interval_ms, won.latency_ms);
    for (std::size_t i = 1; i < tried.size(); ++i)
      text += fmt::format("{} {} {:.3f} ms", i == 1 ? "; against" : ",", tried[i].name, score(tried[i]));
    return text + ".";
  }

  const Partitioner& parts_;
  const Devices& devices_;
  const TrialOptions& options_;
  std::vector<Runner> runners_;
  std::optional<Error> last_failure_;
};

}  // namespace

Trial try_plans(const Partitioner& parts, const Choice& choice, const Devices& devices,
                const TrialOptions& options) {
  return Race{parts, choice, devices, options}.run();
}

}  // namespace splitcnn::inline v0
