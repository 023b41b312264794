// Virtual devices take the time of a profile; the pipeline runs every kind of plan on them. Nothing here asserts on time: that is
// bench/virtual_plans.
#include <atomic>
#include <cmath>

#include "partition/lenet.hpp"
#include "partition/random_profile.hpp"
#include "splitcnn/device_model.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::lenet;
using splitcnn_test::zoo_profile;

TEST_CASE("every strategy's plan runs on virtual devices, in order, in batches of six") {
  const Profile profile = zoo_profile();
  const Choice choice = lenet().choose(profile);
  REQUIRE(choice.by_strategy.size() >= 3);
  for (const Considered& c : choice.by_strategy) {
    INFO(c.name);
    Pipeline pipe{Plan{lenet().graph(), *lenet().quant(), c.routes, c.cost}, Devices::simulate(profile), {.depth = 48}};
    const std::vector<float> frame(32 * 32, 0.f);
    std::uint64_t next = 0;
    for (std::uint64_t f = 0; f < 240; ++f) {
      REQUIRE(pipe.push(std::span<const float>{frame}) == Push::queued);
      if (f - next >= 40) REQUIRE(pipe.pop()->id() == next++);  // push and pop on one thread: never wait for a token
    }
    pipe.close();
    while (auto result = pipe.pop()) REQUIRE(result->id() == next++);
    CHECK(next == 240);
    double per_batch = 0;
    for (const StageStats& s : pipe.stats().stages) {
      CHECK(s.name.find("virtual") == 0);
      per_batch = std::max(per_batch, static_cast<double>(s.frames) / static_cast<double>(s.batches));
    }
    CHECK(per_batch > 3);
  }
}

TEST_CASE("virtual devices say what they are and refuse what the profile does not know") {
  Profile profile = zoo_profile();
  const Devices devices = Devices::simulate(profile);
  CHECK(devices.info("dpu:0").backend == "virtual");
  CHECK(devices.info("dpu:0").detail.find("modelled") != std::string::npos);
  profile.devices[0].prefix_ms[3] = std::nan("");
  const Plan plan = lenet().split_at(3);
  CHECK_THROWS_AS(Devices::simulate(profile).load(plan, plan.head()), Error);
  CHECK_THROWS_AS(devices.load(lenet().split_at(3, "cpu", "gpu:0"), lenet().split_at(3, "cpu", "gpu:0").head()), Error);
}

TEST_CASE("a slowdown is asked for every batch of its device") {
  std::atomic<int> dpu{0}, gpu{0};
  const Profile profile = zoo_profile();
  Pipeline pipe{lenet().split_at(2), Devices::simulate(profile, {.slowdown = [&](std::string_view device) {
                                                                   ++(device == "dpu:0" ? dpu : gpu);
                                                                   return 1.0;
                                                                 }})};
  const std::vector<float> frame(32 * 32, 0.f);
  for (int f = 0; f < 12; ++f) REQUIRE(pipe.infer(std::span<const float>{frame}).ok());
  CHECK(dpu == 12);
  CHECK(gpu == 12);
}
