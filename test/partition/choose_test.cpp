// choose(): against a slow search of its own over everything it may pick, under limits and objectives.
#include <algorithm>
#include <cmath>

#include "partition/lenet.hpp"
#include "partition/random_profile.hpp"
#include "splitcnn/device_model.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::lenet;
using splitcnn_test::random_profile;

namespace {

Errc code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("choose is never slower than search, switching, interleave and mix") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 60; ++i) {
    Profile profile = random_profile(random, lenet());
    if (i % 2) profile.contention = {{"dpu:0", "gpu:0", 1.3}, {"gpu:0", "dpu:0", 1.1}};
    INFO("case " << i);
    const Choice choice = lenet().choose(profile);
    const double chosen = choice.plan.expected().interval_ms;
    CHECK(chosen <= lenet().search(profile).expected().interval_ms * (1 + 1e-9));
    CHECK(chosen <= lenet().mix(profile).expected().interval_ms * (1 + 1e-9));
    CHECK(chosen <= lenet().interleave(profile).expected().interval_ms * (1 + 1e-9));
    CHECK(lenet().cost(choice.plan, profile).interval_ms == Approx(chosen));
    CHECK(choice.chosen.cost.latency_ms == Approx(choice.plan.expected().latency_ms));
    REQUIRE(choice.runner_up);
    CHECK(choice.runner_up->score >= choice.chosen.score * (1 - 1e-9));
    CHECK(choice.baselines.size() == 4);
    const Choice soonest = lenet().choose(profile, {.objective = Objective::latency});
    CHECK(soonest.plan.expected().latency_ms <= lenet().search(profile, {.objective = Objective::latency}).expected().latency_ms * (1 + 1e-9));
  }
}

TEST_CASE("limits are kept, and named when nothing can keep them") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 40; ++i) {
    Profile profile = random_profile(random, lenet());
    profile.agreement.assign(lenet().cuts().size(), std::nan(""));
    for (double& a : profile.agreement) a = std::uniform_real_distribution{0.8, 1.0}(random);
    profile.agreement_frames = 100;
    INFO("case " << i);
    const double soonest = lenet().choose(profile, {.objective = Objective::latency}).plan.expected().latency_ms;
    // all on the GPU agrees with float, whatever it takes
    const double allowed = 1.2 * lenet().cost(lenet().all_on("gpu:0"), profile).latency_ms;
    const Choice bounded = lenet().choose(profile, {.limits = {.latency_ms = allowed, .agreement = 0.9}});
    CHECK(bounded.plan.expected().latency_ms <= allowed);
    CHECK(bounded.chosen.agreement >= 0.9);
    CHECK(bounded.plan.expected().interval_ms >= lenet().choose(profile).plan.expected().interval_ms * (1 - 1e-9));
    CHECK(code_of([&] { (void)lenet().choose(profile, {.limits = {.latency_ms = soonest * 0.99}}); }) == Errc::unsupported);
    CHECK(code_of([&] { (void)lenet().choose(profile, {.limits = {.memory_mib = 1e-6}}); }) == Errc::unsupported);
  }
}

TEST_CASE("an agreement nobody measured keeps no limit") {
  std::mt19937_64 random{splitcnn_test::seed()};
  Profile profile = random_profile(random, lenet());
  const Choice choice = lenet().choose(profile, {.limits = {.agreement = 0.5}});
  for (const Route& r : choice.plan.routes()) {
    for (const Segment& s : r.segments) CHECK(s.device != "dpu:0");
  }
}

TEST_CASE("energy asks for watts and then is least") {
  std::mt19937_64 random{splitcnn_test::seed()};
  Profile profile = random_profile(random, lenet());
  CHECK(code_of([&] { (void)lenet().choose(profile, {.objective = Objective::energy}); }) == Errc::bad_argument);
  for (DeviceProfile& d : profile.devices) d.watts = d.device == "dpu:0" ? 1 : 1000;
  const Choice frugal = lenet().choose(profile, {.objective = Objective::energy});
  CHECK(frugal.plan.route(0).segments[0].device == "dpu:0");
  const Choice both = lenet().choose(profile, {.objective = Objective::weighted, .weights = {.interval = 0, .latency = 1, .energy = 0}});
  CHECK(both.plan.expected().latency_ms == Approx(lenet().choose(profile, {.objective = Objective::latency}).plan.expected().latency_ms));
}

TEST_CASE("a slow camera pays for batches that do not fill") {
  std::mt19937_64 random{splitcnn_test::seed()};
  Profile profile = random_profile(random, lenet());
  for (DeviceProfile& d : profile.devices) d.batch = d.device == "dpu:0" ? 6 : 1;
  const std::vector<Strategy> split{Strategy::split};
  const auto dpu_only = [&](double interval, double timeout) {
    const Choice c = lenet().choose(profile, {.strategies = split, .frame_interval_ms = interval, .batch_timeout_ms = timeout});
    return c.baselines.front().cost;
  };
  const Cost busy = dpu_only(0, 20), patient = dpu_only(33.3, 1000), hasty = dpu_only(33.3, 20);
  CHECK(patient.latency_ms == Approx(busy.latency_ms + 5 * 33.3));   // the sixth frame comes 5 periods after the first
  CHECK(patient.interval_ms == Approx(busy.interval_ms));
  CHECK(hasty.latency_ms == Approx(busy.latency_ms + 20));           // a batch of one
  CHECK(hasty.interval_ms > patient.interval_ms * 1.5);              // the DPU's part runs for one frame as long as for six
}

TEST_CASE("contention slows a pair by what both are busy") {
  std::mt19937_64 random{splitcnn_test::seed()};
  Profile profile = random_profile(random, lenet());
  profile.links.clear();
  const Plan plan = lenet().split_at(2, "dpu:0", "gpu:0");
  const double head = profile.segment_ms("dpu:0", 0, 2), tail = profile.segment_ms("gpu:0", 2, static_cast<int>(lenet().units().size()));
  const std::string slow = head > tail ? "dpu:0" : "gpu:0", fast = head > tail ? "gpu:0" : "dpu:0";
  profile.contention = {{slow, fast, 1.5}};
  const double most = std::max(head, tail), least = std::min(head, tail);
  // I = most * (1 + 0.5 * least / I)
  const double expected = (most + std::sqrt(most * most + 2 * most * least)) / 2;
  CHECK(lenet().cost(plan, profile).interval_ms == Approx(expected).epsilon(1e-3));
}
