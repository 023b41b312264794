// try_plans(): what was seen to be faster wins, whatever the profile said.
#include "splitcnn/trial.hpp"

#include <algorithm>
#include <utility>

#include "splitcnn/device.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

const Partitioner& lenet() {
  static const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 1)};
  return parts;
}

/// Virtual devices, so that which one is faster is a fact: a frame takes 1 ms on the DPU, more on the CPU.
Devices fast_dpu_slow_cpu(double cpu_ms = 20) {
  const std::size_t cuts = lenet().cuts().size();
  Profile p;
  p.graph_hash = lenet().graph().hash();
  p.granularity = lenet().granularity();
  for (const auto& [name, ms] : {std::pair{"dpu:0", 1.0}, {"cpu", cpu_ms}}) {
    DeviceProfile d{.device = name, .backend = "test"};
    d.prefix_ms.assign(cuts, ms);
    d.suffix_ms.assign(cuts, ms);
    p.devices.push_back(std::move(d));
  }
  return Devices::simulate(p);
}

Considered contender(const std::string& name, const Plan& plan, double expected_ms) {
  Considered c{.name = name,
               .routes = {plan.routes().begin(), plan.routes().end()},
               .cost = {expected_ms, expected_ms, Origin::modelled}};
  return c;
}

/// Says that the CPU is twice as fast as the DPU.
Choice lie() {
  const Plan slow = lenet().all_on("cpu"), fast = lenet().all_on("dpu:0");
  return {slow, {}, {}, {}, {}, {contender("on cpu", slow, 1), contender("on dpu", fast, 2)}, 0};
}

Errc code_of(const Choice& choice, const TrialOptions& options) {
  try {
    (void)try_plans(lenet(), choice, fast_dpu_slow_cpu(), options);
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("a trial takes what runs faster, not what the profile said") {
  std::size_t last = 0, all = 0;
  const Trial trial = try_plans(
      lenet(), lie(), fast_dpu_slow_cpu(),
      {.rounds = 2, .seconds = 0.05, .near = 100, .progress = [&](std::size_t done, std::size_t of) {
         CHECK(done > last);
         last = done, all = of;
       }});
  CHECK(last == all);
  REQUIRE(trial.tried.size() == 2);
  const TriedPlan &won = trial.tried[0], &lost = trial.tried[1];
  CHECK(won.name == "on dpu");
  CHECK(won.rounds == 2);
  CHECK(lost.rounds == 2);
  CHECK(won.interval_ms < lost.interval_ms);
  CHECK(won.latency_ms > 0);
  CHECK(won.spread >= 0);
  CHECK(won.expected.interval_ms == 2);
  CHECK(trial.plan.expected().interval_ms == won.interval_ms);
  CHECK(trial.plan.expected().origin == Origin::measured);
  CHECK(trial.plan.why().find("against on cpu") != std::string::npos);
  CHECK(trial.plan.route(0).segments[0].device == "dpu:0");
}

TEST_CASE("a trial by latency, slow plans only once") {
  const Trial trial = try_plans(lenet(), lie(), fast_dpu_slow_cpu(),
                                {.objective = Objective::latency, .rounds = 3, .seconds = 0.02, .near = 1});
  REQUIRE(trial.tried.size() == 2);
  CHECK(trial.tried[0].name == "on dpu");
  CHECK(trial.tried[0].rounds == 3);
  CHECK(trial.tried[1].rounds == 1);
}

TEST_CASE("a trial tunes the shares of two routes to what the devices did") {
  const Plan a = lenet().all_on("dpu:0"), b = lenet().all_on("cpu");
  std::vector<Route> routes{a.route(0), b.route(0)};
  routes[0].weight = 0.4, routes[1].weight = 0.6;  // as if the CPU were the faster one
  const Considered wrong{.name = "wrong", .routes = routes, .cost = {0.5, 2, Origin::modelled}};
  const Choice choice{a, {}, {}, {}, {}, {wrong}, 0};
  const Devices devices = fast_dpu_slow_cpu(3);
  const Trial trial = try_plans(lenet(), choice, devices, {.rounds = 3, .seconds = 0.2});
  REQUIRE(trial.tried.size() == 2);
  CHECK(trial.tried[0].name.find("wrong (shares by trial: ") == 0);
  CHECK(trial.tried[0].rounds == 2);
  CHECK(trial.tried[1].name == "wrong");
  CHECK(trial.tried[0].interval_ms < trial.tried[1].interval_ms);
  REQUIRE(trial.plan.routes().size() == 2);
  CHECK(trial.plan.route(0).weight == Approx(0.75).margin(0.04));
  CHECK(trial.plan.route(0).weight + trial.plan.route(1).weight == Approx(1));

  CHECK(try_plans(lenet(), choice, devices, {.rounds = 2, .seconds = 0.05, .tune_shares = false}).tried.size() == 1);
  CHECK(try_plans(lenet(), choice, devices, {.objective = Objective::latency, .rounds = 2, .seconds = 0.05}).tried.size() == 1);
  CHECK(try_plans(lenet(), choice, devices, {.rounds = 1, .seconds = 0.05}).tried.size() == 1);
}

TEST_CASE("choose() names contenders that a trial can run") {
  const Devices devices = Devices::open("dpu:0=software,cpu");
  const Profile profile = measure(lenet(), devices, {.runs = 1});
  const Choice choice = lenet().choose(profile, {.a = "dpu:0", .b = "cpu"});
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
  const Trial trial = try_plans(lenet(), choice, devices, {.rounds = 1, .seconds = 0.01});
  CHECK(trial.tried.size() == choice.contenders.size());
  Pipeline pipe{trial.plan, devices};
  const std::vector<float> frame(32 * 32, 0.5f);
  CHECK(pipe.push(frame) == Push::queued);
  const auto result = pipe.pop();
  REQUIRE(result);
  CHECK(result->ok());
}

TEST_CASE("a trial leaves out what does not run, and says what is wrong when nothing does") {
  std::string log;
  set_log_handler([&](LogLevel, std::string_view text) { log += text; });
  Choice choice = lie();
  choice.contenders.insert(choice.contenders.begin(), contender("elsewhere", lenet().all_on("gpu:7"), 0.5));
  const Trial trial = try_plans(lenet(), choice, fast_dpu_slow_cpu(), {.rounds = 1, .seconds = 0.01});
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
