// Re-planning in a running pipeline, on virtual devices that slow down mid-stream. Nothing here asserts on
// time: that is bench/drift_bench.
#include <atomic>
#include <cmath>
#include <thread>

#include "partition/lenet.hpp"
#include "splitcnn/device_model.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::lenet;
using splitcnn_test::zoo_profile;

namespace {

PipelineOptions replanning() {
  return {.depth = 48,
          .replan = ReplanOptions{.window = Millis{60}, .hold = Millis{60}, .retry = Millis{200}}};
}

/// Pushes and pops, checking the order, until it is so.
template <class F>
std::uint64_t stream_until(Pipeline& pipe, std::uint64_t next, F so) {
  const std::vector<float> frame(32 * 32, 0.f);
  std::uint64_t pushed = next;
  while (!so()) {
    while (pushed - next < 40) {
      REQUIRE(pipe.push(std::span<const float>{frame}) == Push::queued);
      ++pushed;
    }
    const auto result = pipe.pop();
    REQUIRE(result->ok());
    REQUIRE(result->id() == next++);
  }
  for (; next < pushed; ++next) REQUIRE(pipe.pop()->id() == next);
  return next;
}

double share_on(const PipelineStats& stats, const std::string& device) {
  double share = 0;
  for (const RouteStats& r : stats.routes) share += r.devices == device ? r.share : 0;
  return share;
}

}  // namespace

TEST_CASE(
    "a pipeline shares its frames anew when a device slows down, and again when it recovers, in order") {
  const Profile profile = zoo_profile();
  const Plan plan = lenet().with_alternatives(lenet().mix(profile), profile);
  std::atomic<double> dpu{1};
  Pipeline pipe{
      plan,
      Devices::simulate(
          profile,
          {.slowdown = [&](std::string_view device) { return device == "dpu:0" ? dpu.load() : 1.0; }}),
      replanning()};
  std::uint64_t next = stream_until(pipe, 0, [&] { return pipe.stats().stages.front().frames > 500; });
  const double before = share_on(pipe.stats(), "gpu:0");
  dpu = 8;
  next = stream_until(pipe, next, [&] {
    const PipelineStats s = pipe.stats();
    return s.replans > 0 && share_on(s, "gpu:0") > before && s.devices.front().drift > 4;
  });
  dpu = 1;
  next = stream_until(pipe, next, [&] { return share_on(pipe.stats(), "gpu:0") < 1.2 * before; });
  pipe.close();
  while (auto result = pipe.pop()) CHECK(result->id() == next++);
  const PipelineStats stats = pipe.stats();
  CHECK(stats.sources.front().delivered == next);
  CHECK(stats.sources.front().dropped == 0);
  CHECK(stats.sources.front().failed == 0);
}

TEST_CASE("with_alternatives adds standby routes with expected times, each once") {
  const Profile profile = zoo_profile();
  const Plan split = lenet().search(profile);
  const Plan plan = lenet().with_alternatives(split, profile);
  REQUIRE(plan.routes().size() > split.routes().size());
  CHECK(plan.routes().size() <= 8);
  CHECK(plan.route(0).weight == 1);
  for (std::size_t r = 0; r < plan.routes().size(); ++r) {
    if (r > 0) CHECK(plan.route(r).weight == 0);
    for (const Segment& s : plan.route(r).segments) CHECK(s.expected_ms > 0);
  }
  CHECK(lenet().with_alternatives(plan, profile).routes().size() == plan.routes().size());
  CHECK(lenet().with_alternatives(split, profile, default_slowdowns, 2).routes().size() == 2);
  const double nonsense[] = {-1};
  CHECK_THROWS_AS(lenet().with_alternatives(split, profile, nonsense), Error);
}

TEST_CASE("re-planning wants something to choose from and times to compare with") {
  const Profile profile = zoo_profile();
  const Plan one = lenet().search(profile);
  CHECK_THROWS_AS(Pipeline(one, Devices::simulate(profile), replanning()), Error);
  const Plan unknown = lenet().split_at(2).with_fallback();
  CHECK_THROWS_AS(Pipeline(unknown, Devices::open("dpu:0,gpu:0,cpu"), replanning()), Error);
  const Plan good = lenet().with_alternatives(one, profile);
  PipelineOptions bad = replanning();
  bad.replan->drift = 0;
  CHECK_THROWS_AS(Pipeline(good, Devices::simulate(profile), bad), Error);
}
