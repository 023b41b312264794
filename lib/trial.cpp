// Here, because the partitioner does not know the pipeline.
#include "splitcnn/trial.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/log.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t single_frames = 5;                  // timed one by one
constexpr double fewest_frames = 12, most_frames = 5000;  // of a run

struct Run {
  double interval_ms, latency_ms;
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double latency_alone(Pipeline& pipe) {
  std::vector<double> times;
  for (std::size_t f = 0; f < single_frames; ++f) {
    const Clock::time_point start = Clock::now();
    push_one(pipe);
    pop_one(pipe);
    times.push_back(Millis{Clock::now() - start}.count());
  }
  return median(times);
}

Run run_once(const Plan& plan, std::string_view devices, double seconds) {
  Pipeline pipe{plan, Devices::open(devices)};
  Run run{0, latency_alone(pipe)};
  const double wanted = 1e3 * seconds / std::max(plan.expected().interval_ms, 1e-3);
  const auto frames =
      static_cast<std::size_t>(std::clamp(std::isfinite(wanted) ? wanted : 0, fewest_frames, most_frames));
  const std::size_t lead = std::max<std::size_t>(pipe.stats().depth, 4);  // until it is full
  std::jthread feeder{[&] {
    for (std::size_t f = 0; f < frames + 2 * lead; ++f) push_one(pipe);  // still full when the clock stops
  }};
  Clock::time_point start;
  try {
    for (std::size_t f = 0; f < frames + lead; ++f) {
      pop_one(pipe);
      if (f + 1 == lead) start = Clock::now();
    }
  } catch (...) {
    pipe.close();  // the feeder may be waiting for room
    throw;
  }
  run.interval_ms = Millis{Clock::now() - start}.count() / static_cast<double>(frames);
  pipe.close();
  return run;
}

/// A plan in the race.
struct Runner {
  TriedPlan facts;
  Plan plan;
  std::vector<double> intervals{}, latencies{};
};

class Race {
 public:
  Race(const Partitioner& parts, const Choice& choice, std::string_view devices, const TrialOptions& options)
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
      runners_.push_back(
          {{.name = c.name, .strategy = c.strategy, .expected = c.cost}, plan_of(c, c.cost, "")});
  }

  Trial run() {
    const std::size_t all = runners_.size() * static_cast<std::size_t>(options_.rounds);
    std::size_t done = 0;
    for (int round = 0; round < options_.rounds; ++round) {
      for (std::size_t i = 0; i < runners_.size();) i += step(i) ? 1 : 0;
      done += runners_.size();
      drop_slow();
      if (options_.progress) options_.progress(round + 1 == options_.rounds ? all : done, all);
    }
    std::sort(runners_.begin(), runners_.end(),
              [&](const Runner& a, const Runner& b) { return score(a.facts) < score(b.facts); });
    return result();
  }

 private:
  double score(const TriedPlan& t) const {
    return options_.objective == Objective::interval ? t.interval_ms : t.latency_ms;
  }

  /// False when the plan failed and is gone.
  bool step(std::size_t i) {
    Runner& r = runners_[i];
    try {
      const Run run = run_once(r.plan, devices_, options_.seconds);
      r.intervals.push_back(run.interval_ms);
      r.latencies.push_back(run.latency_ms);
    } catch (const Error& e) {
      log(LogLevel::warning, fmt::format("trial: '{}' is left out: {}", r.facts.name, e.what()));
      if (runners_.size() == 1) throw;
      runners_.erase(runners_.begin() + static_cast<std::ptrdiff_t>(i));
      return false;
    }
    r.facts.interval_ms = median(r.intervals);
    r.facts.latency_ms = median(r.latencies);
    const auto& timed = options_.objective == Objective::interval ? r.intervals : r.latencies;
    const auto [least, most] = std::minmax_element(timed.begin(), timed.end());
    r.facts.spread = (*most - *least) / 2 / median(timed);
    r.facts.rounds = static_cast<int>(timed.size());
    return true;
  }

  void drop_slow() {
    double best = score(runners_.front().facts);
    for (const Runner& r : runners_) best = std::min(best, score(r.facts));
    const auto slow = [&](const Runner& r) { return score(r.facts) > options_.near * best; };
    for (const Runner& r : runners_) {
      if (slow(r)) dropped_.push_back(r.facts);
    }
    std::erase_if(runners_, slow);
  }

  Plan plan_of(const Considered& c, const Cost& cost, std::string why) const {
    const auto on_dpu = [](const Segment& s) { return device_kind(s.device) == DeviceKind::dpu; };
    const bool dpu = std::any_of(c.routes.begin(), c.routes.end(), [&](const Route& r) {
      return std::any_of(r.segments.begin(), r.segments.end(), on_dpu);
    });
    std::optional<QuantizedGraph> quant;
    if (dpu && parts_.quant()) quant = *parts_.quant();
    return Plan{parts_.graph(), std::move(quant), c.routes, cost, std::move(why)};
  }

  Trial result() const {
    std::vector<TriedPlan> tried;
    for (const Runner& r : runners_) tried.push_back(r.facts);
    tried.insert(tried.end(), dropped_.begin(), dropped_.end());
    std::stable_sort(tried.begin() + static_cast<std::ptrdiff_t>(runners_.size()), tried.end(),
                     [&](const TriedPlan& a, const TriedPlan& b) { return score(a) < score(b); });
    const TriedPlan& won = tried.front();
    std::string why = fmt::format(
        "{}: {}. Tried on {}: measured a result every {:.3f} ms (expected by the profile {:.3f}), {:.3f} ms "
        "from frame to result",
        to_string(won.strategy), won.name, devices_, won.interval_ms, won.expected.interval_ms,
        won.latency_ms);
    for (std::size_t i = 1; i < tried.size(); ++i)
      why += fmt::format("{} {} {:.3f} ms", i == 1 ? "; against" : ",", tried[i].name, score(tried[i]));
    const Plan& plan = runners_.front().plan;
    std::optional<QuantizedGraph> quant;
    if (plan.quant()) quant = *plan.quant();
    return {Plan{plan.graph(),
                 std::move(quant),
                 {plan.routes().begin(), plan.routes().end()},
                 {won.interval_ms, won.latency_ms, Origin::measured},
                 why + "."},
            std::move(tried)};
  }

  const Partitioner& parts_;
  std::string devices_;
  const TrialOptions& options_;
  std::vector<Runner> runners_;
  std::vector<TriedPlan> dropped_;
};

}  // namespace

Trial try_plans(const Partitioner& parts, const Choice& choice, std::string_view devices,
                const TrialOptions& options) {
  return Race{parts, choice, devices, options}.run();
}

}  // namespace splitcnn::inline v0
