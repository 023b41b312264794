// Does the chosen plan run as fast as predicted, and was there a better one? On this machine, measured: the
// software DPU on one core, the float tail on another. Every cut, whole frames on either device, and the
// mixes are run in the pipeline; those that come near the best are run again in turn. JSON lines, one per
// plan and one per network.
//
//     plan_accuracy --nets resnet18,resnet50,mobilenet_v2,vgg16 --rounds 5
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;
using nlohmann::json;

namespace {

struct Options {
  std::vector<std::string> nets{"resnet18", "resnet50", "mobilenet_v2", "vgg16"};
  int rounds = 5, runs = 7;
  double seconds = 1.5, near = 1.25;
  std::string a = "dpu:0=software", b = "cpu";
  bool hooks = false;
};

struct Contender {
  std::string name;
  bool single = false;  ///< one route
  Plan plan;
  double predicted_ms = 0;
  std::vector<double> measured_ms{};

  [[nodiscard]] double median() const {
    std::vector<double> sorted = measured_ms;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t n = sorted.size();
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }
  /// Half the range over the median: with a handful of rounds there are no quartiles.
  [[nodiscard]] double spread() const {
    const auto [least, most] = std::minmax_element(measured_ms.begin(), measured_ms.end());
    return (*most - *least) / 2 / median();
  }
};

/// ms per result once the pipeline has filled.
double interval_ms(const Plan& plan, const std::string& specs, std::size_t frames) {
  Pipeline pipe{plan, Devices::open(specs)};
  const std::size_t lead = std::max<std::size_t>(pipe.stats().depth, 4);
  std::jthread feeder{[&] {
    for (std::size_t f = 0; f < frames + 2 * lead; ++f) {  // still full when the clock stops
      auto slot = pipe.acquire();
      if (!slot || pipe.push(std::move(*slot)) == Push::closed) return;
    }
  }};
  Clock::time_point start;
  for (std::size_t f = 0; f < frames + lead; ++f) {
    const auto result = pipe.pop();
    if (!result || !result->ok()) {
      pipe.close();
      throw Error{Errc::stage_failed, "a frame failed"};
    }
    if (f + 1 == lead) start = Clock::now();
  }
  const double all = Millis{Clock::now() - start}.count();
  pipe.close();  // the feeder may be waiting for room
  return all / static_cast<double>(frames);
}

std::vector<Contender> contenders(const Partitioner& parts, const Profile& profile, const Choice& choice, const Trial& trial) {
  const std::string a = profile.devices[0].device, b = profile.devices[1].device;
  std::vector<Contender> all;
  const auto add = [&](std::string name, const Plan& plan) {
    all.push_back({std::move(name), plan.routes().size() == 1, plan, parts.cost(plan, profile).interval_ms});
  };
  for (const Cut& cut : parts.cuts()) {
    if (cut.legal || cut.k == 0) add(fmt::format("cut {}", cut.k), parts.split_at(cut.k, a, b));
  }
  add("interleave", parts.interleave(profile, a, b));
  add("mix", parts.mix(profile, {.a = a, .b = b}));
  add("profile", choice.plan);
  add("chosen", trial.plan);
  all.back().predicted_ms = trial.plan.expected().interval_ms;
  return all;
}

json line_of(const std::string& net, const Contender& c) {
  return {{"name", "plan"},
          {"net", net},
          {"plan", c.name},
          {"predicted_ms", c.predicted_ms},
          {"measured_ms", c.median()},
          {"error_pct", 100 * (c.predicted_ms / c.median() - 1)},
          {"spread_pct", 100 * c.spread()},
          {"rounds", c.measured_ms.size()}};
}

json summary(const std::string& net, const std::vector<Contender>& all, const Profile& profile,
             const Choice& choice, const Trial& trial, double profile_s, double tried_s) {
  const Contender &chosen = all.back(), &by_profile = all[all.size() - 2], &mix = all[all.size() - 3];
  const Contender* best = &all.front();
  const Contender* best_single = nullptr;
  for (const Contender& c : all) {
    if (c.median() < best->median()) best = &c;
    if (c.single && (!best_single || c.median() < best_single->median())) best_single = &c;
  }
  double spread =
      std::max({chosen.spread(), best->spread(), profile.devices[0].spread, profile.devices[1].spread});
  const double error = chosen.predicted_ms / chosen.median() - 1;
  json contention = json::array();
  for (const Contention& c : profile.contention)
    contention.push_back({{"device", c.device}, {"beside", c.beside}, {"factor", c.factor}});
  return {{"name", "plan_accuracy"},
          {"net", net},
          {"chosen", to_string(trial.tried.front().strategy)},
          {"chosen_plan", trial.tried.front().name},
          {"predicted_ms", chosen.predicted_ms},
          {"predicted_by", "trial"},
          {"measured_ms", chosen.median()},
          {"error_pct", 100 * error},
          {"spread_pct", 100 * spread},
          {"predicted_well", std::abs(error) <= std::max(0.05, 2 * spread)},
          {"best_plan", best->name},
          {"best_ms", best->median()},
          {"over_best_pct", 100 * (chosen.median() / best->median() - 1)},
          {"chosen_well", chosen.median() / best->median() - 1 <= std::max(0.03, spread)},
          {"best_single", best_single->name},
          {"best_single_ms", best_single->median()},
          {"profile_plan", choice.chosen.name},
          {"profile_predicted_ms", by_profile.predicted_ms},
          {"profile_measured_ms", by_profile.median()},
          {"profile_error_pct", 100 * (by_profile.predicted_ms / by_profile.median() - 1)},
          {"tried", trial.tried.size()},
          {"tried_s", tried_s},
          {"mix_ms", mix.median()},
          {"mix_over_single_pct", 100 * (mix.median() / best_single->median() - 1)},
          {"contention", contention},
          {"profile_s", profile_s},
          {"origin", "measured"}};
}

void run(const std::string& net, const Options& options) {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo(net), 2)};
  const std::string specs = options.a + "," + options.b;
  const Clock::time_point start = Clock::now();
  const Profile profile =
      measure(parts, Devices::open(specs),
              {.depth = options.hooks ? MeasureDepth::hooks : MeasureDepth::direct, .runs = options.runs});
  const double profile_s = Millis{Clock::now() - start}.count() / 1e3;
  const Choice choice =
      parts.choose(profile, {.a = profile.devices[0].device, .b = profile.devices[1].device});
  const Trial trial = try_plans(parts, choice, specs);
  const double tried_s = Millis{Clock::now() - start}.count() / 1e3 - profile_s;
  std::vector<Contender> all = contenders(parts, profile, choice, trial);
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < options.rounds; ++round) {
    for (Contender& c : all) {
      if (round > 0 && c.measured_ms.front() > options.near * best) continue;
      const auto frames =
          static_cast<std::size_t>(std::clamp(1e3 * options.seconds / c.predicted_ms, 12.0, 5000.0));
      c.measured_ms.push_back(interval_ms(c.plan, specs, frames));
    }
    for (const Contender& c : all) best = std::min(best, c.median());
  }
  for (const Contender& c : all) fmt::print("{}\n", line_of(net, c).dump());
  fmt::print("{}\n", summary(net, all, profile, choice, trial, profile_s, tried_s).dump());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{
      "Predicted against measured intervals, and the chosen plan against every cut, on this machine"};
  app.add_option("--nets", options.nets, "networks of the zoo")->delimiter(',')->capture_default_str();
  app.add_option("--rounds", options.rounds, "times the plans near the best are run, in turn")
      ->capture_default_str();
  app.add_option("--runs", options.runs, "timed runs per piece of the profile")->capture_default_str();
  app.add_option("--seconds", options.seconds, "of a run")->capture_default_str();
  app.add_option("--near", options.near, "run again what is within this factor of the best")
      ->capture_default_str();
  app.add_option("--a", options.a, "first device")->capture_default_str();
  app.add_option("--b", options.b, "second device")->capture_default_str();
  app.add_flag("--hooks", options.hooks, "profile with timestamps inside one build");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& net : options.nets) run(net, options);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "plan_accuracy: {}\n", e.what());
  return 1;
}
