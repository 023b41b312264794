// try_plans(): what was seen to be faster wins, whatever the profile said.
#include "splitcnn/trial.hpp"

#include <algorithm>

#include "splitcnn/device.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

constexpr const char* specs = "dpu:0=software,cpu";

const Partitioner& squeezenet() {
  static const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("squeezenet1_1"), 1)};
  return parts;
}

Considered contender(const std::string& name, const Plan& plan, double expected_ms) {
  Considered c{.name = name,
               .routes = {plan.routes().begin(), plan.routes().end()},
               .cost = {expected_ms, expected_ms, Origin::modelled}};
  return c;
}

/// Says that the float network is twice as fast as the INT8 one, which is several times faster than that
/// everywhere.
Choice lie() {
  const Plan slow = squeezenet().all_on("cpu"), fast = squeezenet().all_on("dpu:0");
  return {slow, {}, {}, {}, {}, {contender("float", slow, 1), contender("int8", fast, 2)}, 0};
}

Errc code_of(const Choice& choice, const TrialOptions& options) {
  try {
    (void)try_plans(squeezenet(), choice, specs, options);
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("a trial takes what runs faster, not what the profile said") {
  std::size_t last = 0, all = 0;
  const Trial trial = try_plans(
      squeezenet(), lie(), specs,
      {.rounds = 2, .seconds = 0.05, .near = 100, .progress = [&](std::size_t done, std::size_t of) {
         CHECK(done > last);
         last = done, all = of;
       }});
  CHECK(last == all);
  REQUIRE(trial.tried.size() == 2);
  const TriedPlan &won = trial.tried[0], &lost = trial.tried[1];
  CHECK(won.name == "int8");
  CHECK(won.rounds == 2);
  CHECK(lost.rounds == 2);
  CHECK(won.interval_ms < lost.interval_ms);
  CHECK(won.latency_ms > 0);
  CHECK(won.spread >= 0);
  CHECK(won.expected.interval_ms == 2);
  CHECK(trial.plan.expected().interval_ms == won.interval_ms);
  CHECK(trial.plan.expected().origin == Origin::measured);
  CHECK(trial.plan.why().find("against float") != std::string::npos);
  CHECK(trial.plan.route(0).segments[0].device == "dpu:0");
}

TEST_CASE("a trial by latency, slow plans only once") {
  const Trial trial = try_plans(squeezenet(), lie(), specs,
                                {.objective = Objective::latency, .rounds = 3, .seconds = 0.02, .near = 1});
  REQUIRE(trial.tried.size() == 2);
  CHECK(trial.tried[0].name == "int8");
  CHECK(trial.tried[0].rounds == 3);
  CHECK(trial.tried[1].rounds == 1);
}

TEST_CASE("choose() names contenders that a trial can run") {
  const Profile profile = measure(squeezenet(), Devices::open(specs), {.runs = 1});
  const Choice choice = squeezenet().choose(profile, {.a = "dpu:0", .b = "cpu"});
  REQUIRE_FALSE(choice.contenders.empty());
  CHECK(choice.contenders.front().name == choice.chosen.name);
  for (std::size_t i = 1; i < choice.contenders.size(); ++i) {
    CHECK(choice.contenders[i].score >= choice.contenders[i - 1].score * (1 - 1e-9));
    for (std::size_t j = 0; j < i; ++j) CHECK(choice.contenders[i].name != choice.contenders[j].name);
  }
  for (const Considered& c : choice.by_strategy) {
    const auto same = [&](const Considered& o) { return o.name == c.name; };
    CHECK(std::any_of(choice.contenders.begin(), choice.contenders.end(), same));
  }
  const Trial trial = try_plans(squeezenet(), choice, specs, {.rounds = 1, .seconds = 0.01});
  CHECK(trial.tried.size() == choice.contenders.size());
  Pipeline pipe{trial.plan, Devices::open(specs)};
  const std::vector<float> frame(3 * 224 * 224, 0.5f);
  CHECK(pipe.push(frame) == Push::queued);
  const auto result = pipe.pop();
  REQUIRE(result);
  CHECK(result->ok());
}

TEST_CASE("a trial leaves out what does not run, and says what is wrong when nothing does") {
  std::string log;
  set_log_handler([&](LogLevel, std::string_view text) { log += text; });
  Choice choice = lie();
  choice.contenders.insert(choice.contenders.begin(),
                           contender("elsewhere", squeezenet().all_on("gpu:7"), 0.5));
  const Trial trial = try_plans(squeezenet(), choice, specs, {.rounds = 1, .seconds = 0.01});
  CHECK(trial.tried.size() == 2);
  set_log_handler({});
  CHECK(log.find("'elsewhere' is left out") != std::string::npos);
  choice.contenders.resize(1);
  CHECK(code_of(choice, {.rounds = 1}) == Errc::no_device);
  CHECK(code_of(lie(), {.objective = Objective::energy}) == Errc::bad_argument);
  CHECK(code_of(lie(), {.rounds = 0}) == Errc::bad_argument);
  choice.contenders.clear();
  CHECK(code_of(choice, {}) == Errc::bad_argument);
}
