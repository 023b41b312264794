// Does the chosen plan run as fast as predicted, and was there a better one? On this machine, measured: the
// software DPU on one core, the float tail on another. Every cut, whole frames on either device, and the
// mixes are run in the pipeline; those that come near the best are run again in turn. JSON lines, one per
// plan and one per network.
//
//     plan_accuracy --nets resnet18,resnet50,mobilenet_v2,vgg16 --rounds 5
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;
using nlohmann::json;

namespace {

struct Options {
  std::vector<std::string> nets{"resnet18", "resnet50", "mobilenet_v2", "vgg16"};
  int rounds = 5, runs = 7;
  double seconds = 1.5, near = 2;
  std::string a = "dpu:0=software", b = "cpu";
  bool hooks = false;
};

/// Everything that can be run: each cut, the baselines, what the profile alone would take and what the trial
/// took.
std::vector<Considered> contenders(const Partitioner& parts, const Profile& profile, const Choice& choice,
                                   const Trial& trial) {
  const std::string a = profile.devices[0].device, b = profile.devices[1].device;
  std::vector<Considered> all;
  const auto add = [&](std::string name, const Plan& plan, const Cost& cost) {
    Considered c;
    c.name = std::move(name);
    c.routes = {plan.routes().begin(), plan.routes().end()};
    c.cost = cost;
    all.push_back(std::move(c));
  };
  const auto add_by_profile = [&](std::string name, const Plan& plan) {
    add(std::move(name), plan, parts.cost(plan, profile));
  };
  for (const Cut& cut : parts.cuts()) {
    if (cut.legal || cut.k == 0) add_by_profile(fmt::format("cut {}", cut.k), parts.split_at(cut.k, a, b));
  }
  add_by_profile("interleave", parts.interleave(profile, a, b));
  add_by_profile("mix", parts.mix(profile, {.a = a, .b = b}));
  add_by_profile("profile", choice.plan);
  add("chosen", trial.plan, trial.plan.expected());
  return all;
}

double error_pct(const TriedPlan& t) { return 100 * (t.expected.interval_ms / t.interval_ms - 1); }

json line_of(const std::string& net, const TriedPlan& t) {
  return {{"name", "plan"},
          {"net", net},
          {"plan", t.name},
          {"predicted_ms", t.expected.interval_ms},
          {"measured_ms", t.interval_ms},
          {"error_pct", error_pct(t)},
          {"spread_pct", 100 * t.spread},
          {"rounds", t.rounds}};
}

const TriedPlan& named(const std::vector<TriedPlan>& tried, std::string_view name) {
  const auto at =
      std::find_if(tried.begin(), tried.end(), [&](const TriedPlan& t) { return t.name == name; });
  if (at == tried.end()) throw Error{Errc::stage_failed, fmt::format("the plan '{}' did not run", name)};
  return *at;
}

/// One segment after the other: all on one device, or a cut.
bool single(const TriedPlan& t) { return t.name.starts_with("cut "); }

json contention_of(const Profile& profile) {
  json all = json::array();
  for (const Contention& c : profile.contention)
    all.push_back({{"device", c.device}, {"beside", c.beside}, {"factor", c.factor}});
  return all;
}

/// `tried`: of all contenders, fastest first.
json summary(const std::string& net, const std::vector<TriedPlan>& tried, const Profile& profile,
             const Choice& choice, const Trial& trial) {
  const TriedPlan &chosen = named(tried, "chosen"), &by_profile = named(tried, "profile");
  const TriedPlan &best = tried.front(), &mix = named(tried, "mix");
  const TriedPlan& best_single = *std::find_if(tried.begin(), tried.end(), single);
  const double spread =
      std::max({chosen.spread, best.spread, trial.tried.front().spread, profile.devices[0].spread, profile.devices[1].spread});
  const double over_best = chosen.interval_ms / best.interval_ms - 1;
  return {{"name", "plan_accuracy"},
          {"net", net},
          {"chosen", to_string(trial.tried.front().strategy)},
          {"chosen_plan", trial.tried.front().name},
          {"predicted_ms", chosen.expected.interval_ms},
          {"predicted_by", "trial"},
          {"measured_ms", chosen.interval_ms},
          {"error_pct", error_pct(chosen)},
          {"spread_pct", 100 * spread},
          {"predicted_well", std::abs(error_pct(chosen)) <= 100 * std::max(0.05, 2 * spread)},
          {"best_plan", best.name},
          {"best_ms", best.interval_ms},
          {"over_best_pct", 100 * over_best},
          {"chosen_well", over_best <= std::max(0.03, spread)},
          {"best_single", best_single.name},
          {"best_single_ms", best_single.interval_ms},
          {"profile_plan", choice.chosen.name},
          {"profile_predicted_ms", by_profile.expected.interval_ms},
          {"profile_measured_ms", by_profile.interval_ms},
          {"profile_error_pct", error_pct(by_profile)},
          {"tried", trial.tried.size()},
          {"mix_ms", mix.interval_ms},
          {"mix_over_single_pct", 100 * (mix.interval_ms / best_single.interval_ms - 1)},
          {"contention", contention_of(profile)},
          {"origin", "measured"}};
}

void run(const std::string& net, const Options& options) {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo(net), 2)};
  const Devices devices = Devices::open(options.a + "," + options.b);
  const auto seconds_since = [](Clock::time_point start) {
    return Millis{Clock::now() - start}.count() / 1e3;
  };
  Clock::time_point start = Clock::now();
  const Profile profile =
      measure(parts, devices,
              {.depth = options.hooks ? MeasureDepth::hooks : MeasureDepth::direct, .runs = options.runs});
  const double profile_s = seconds_since(start);
  Choice choice = parts.choose(profile, {.a = profile.devices[0].device, .b = profile.devices[1].device});
  start = Clock::now();
  const Trial trial = try_plans(parts, choice, devices);
  const double tried_s = seconds_since(start);
  choice.contenders = contenders(parts, profile, choice, trial);
  const std::vector<TriedPlan> all =
      try_plans(parts, choice, devices,
                {.rounds = options.rounds, .seconds = options.seconds, .near = options.near, .tune_shares = false})
          .tried;
  for (const TriedPlan& t : all) fmt::print("{}\n", line_of(net, t).dump());
  json line = summary(net, all, profile, choice, trial);
  line.update({{"profile_s", profile_s}, {"tried_s", tried_s}});
  fmt::print("{}\n", line.dump());
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
