// Pipelines made from plans: segments loaded and wired, routes weighted, camera frames converted, labels
// attached. The devices are fakes.
#include <algorithm>
#include <array>
#include <thread>

#include "pipeline/fake_devices.hpp"
#include "plan/branching.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using Loaded = std::vector<std::string>;

namespace {

Plan float_plan(std::vector<Route> routes) { return {branching_graph(), std::nullopt, std::move(routes)}; }

struct ResetLoads {
  ResetLoads() { fake_loads() = {}; }
  ~ResetLoads() { fake_loads() = {}; }
};

/// Every pixel `level`.
struct Picture {
  explicit Picture(std::uint8_t level, int w = 6, int h = 8)
      : pixels(static_cast<std::size_t>(w * h * 3), level) {
    frame.width = w;
    frame.height = h;
    frame.planes[0] = pixels.data();
    frame.strides[0] = static_cast<std::size_t>(w) * 3;
  }
  std::vector<std::uint8_t> pixels;
  CameraFrame frame;
};

std::vector<float> blank_image() { return std::vector<float>(3 * 8 * 6, 0.0f); }

}  // namespace

TEST_CASE("a split plan: segments loaded in order, outputs found among the stages, labels on top()") {
  const ResetLoads reset;
  Plan plan = float_plan({route({{"gpu:0", 4}, {"cpu", 8}})});
  plan.labels = {"cat", "dog"};
  Pipeline pipe{plan, fake_devices()};
  CHECK(fake_loads().loaded == Loaded{"gpu:0[0,4)", "cpu[4,8)"});
  REQUIRE(pipe.plan());
  CHECK(pipe.plan()->labels.size() == 2);
  REQUIRE(pipe.inputs().size() == 1);
  CHECK(pipe.inputs()[0] == TensorSpec{.name = "x", .shape = {1, 3, 8, 6}});
  REQUIRE(pipe.outputs().size() == 2);
  CHECK(pipe.outputs()[0].name == "t3");  // the head's, although the tail reads a copy of it
  CHECK(pipe.outputs()[1].name == "t7");

  auto input = blank_image();
  reinterpret_cast<unsigned char*>(input.data())[0] = 5;
  REQUIRE(pipe.push(input) == Push::queued);
  const auto result = pipe.pop();
  REQUIRE(result->ok());
  CHECK(result->floats(0)[0] == 5);  // head: 5 + k mod 7
  CHECK(result->floats(0)[2] == 0);
  // The tail reads t0 and t3@f16, both with first byte 5: 10 % 7 = 3, then 4, 5.
  const std::vector<float> t7{result->floats(1).begin(), result->floats(1).end()};
  CHECK(t7 == std::vector<float>{3, 4, 5});
  const auto top = result->top(5, 1);
  REQUIRE(top.size() == 3);
  CHECK(top[0].index == 2);
  CHECK(top[0].value == 5);
  CHECK(top[0].label.empty());  // more classes than labels
  CHECK(top[1].label == "dog");
  CHECK(top[2].label == "cat");
  CHECK(result->top(0).empty());
  CHECK_THROWS_AS(result->top(1, 2), Error);
}

TEST_CASE("A,B,A plans share a worker and carry what only passes") {
  const ResetLoads reset;
  FakeLog logs[3];
  std::size_t n = 0;
  fake_loads().adjust = [&](FakeOptions& o) { o.log = &logs[n++]; };
  Pipeline pipe{float_plan({route({{"gpu:0", 1}, {"cpu", 4}, {"gpu:0", 8}})}), fake_devices()};
  CHECK(fake_loads().loaded == Loaded{"gpu:0[0,1)", "cpu[1,4)", "gpu:0[4,8)"});
  CHECK(logs[0].thread == logs[2].thread);
  CHECK(logs[0].thread != logs[1].thread);
  const Result result = pipe.infer(blank_image());
  CHECK(result.ok());
  CHECK(result.outputs() == 2);
}

TEST_CASE("two routes: shares are kept, order is kept, an equal segment is loaded once") {
  const ResetLoads reset;
  FakeLog log;
  fake_loads().adjust = [&](FakeOptions& o) {
    o.log = &log;
    if (o.device == "gpu:0")
      o.batch = 3;  // the routes take different times, so results must be put back in order
  };
  // The head is equal in both; the tails differ.
  const Plan plan =
      float_plan({route({{"gpu:1", 4}, {"gpu:0", 8}}, 0.25), route({{"gpu:1", 4}, {"gpu:2", 8}}, 0.75)});
  Pipeline pipe{plan, fake_devices(), {.depth = 16, .batch_timeout = Millis{1}}};
  CHECK(fake_loads().loaded == Loaded{"gpu:1[0,4)", "gpu:0[4,8)", "gpu:2[4,8)"});
  std::jthread pusher{[&] {
    for (int n = 0; n < 400; ++n) pipe.push(blank_image());
    pipe.close();
  }};
  std::uint64_t next = 0;
  while (auto result = pipe.pop()) CHECK(result->id() == next++);
  CHECK(next == 400);
  const PipelineStats stats = pipe.stats();
  CHECK(stats.stages[0].frames == 400);
  CHECK(stats.stages[1].frames == 100);
  CHECK(stats.stages[2].frames == 300);
  CHECK(log.breaches == 0);
}

TEST_CASE("the turns of the routes are deterministic; what is not pushed takes none") {
  const ResetLoads reset;
  std::vector<char> order;
  fake_loads().adjust = [&](FakeOptions& o) {
    const char letter = o.device.back();
    o.compute = [&order, letter](auto in, auto out) {
      order.push_back(letter);
      fake_segment(in, out);
    };
  };
  Pipeline pipe{float_plan({route({{"gpu:A", 8}}, 0.4), route({{"gpu:B", 8}}, 0.6)}), fake_devices()};
  for (int n = 0; n < 10; ++n) {
    for (int k = 0; k < n % 3; ++k) CHECK(pipe.acquire());  // given back at once
    REQUIRE(pipe.push(blank_image()) == Push::queued);
    REQUIRE(pipe.pop());
  }
  CHECK(std::string(order.begin(), order.end()) == "BABABBABAB");
}

TEST_CASE("work-conserving: a route that idles takes the frames of one that is behind, in order all the same") {
  const ResetLoads reset;
  for (const bool conserving : {false, true}) {
    CAPTURE(conserving);
    Gate gate;
    fake_loads().adjust = [&](FakeOptions& o) {
      if (o.device == "gpu:0") o.gate = &gate;
    };
    Pipeline pipe{float_plan({route({{"gpu:0", 8}}, 0.9), route({{"gpu:1", 8}}, 0.1)}), fake_devices(), {.depth = 40, .work_conserving = conserving}};
    for (std::uint64_t n = 0; n < 20; ++n) {
      REQUIRE(pipe.push(blank_image()) == Push::queued);
      // Until the free route idles again: all frames are through but the first. Where it is not given them, there is nothing to wait for.
      const Clock::time_point give_up = Clock::now() + std::chrono::milliseconds{conserving ? 1000 : 0};
      while (pipe.stats().stages[1].frames < n && Clock::now() < give_up) std::this_thread::yield();
    }
    gate.open();
    for (std::uint64_t n = 0; n < 20; ++n) CHECK(pipe.pop()->id() == n);
    const std::uint64_t behind = pipe.stats().stages[0].frames;
    if (conserving) {
      CHECK(behind < 12);
    } else {
      CHECK(behind == 18);
    }
  }
}

TEST_CASE("routes that share the frames get tokens for a batch that fills, one that runs, and all that overtake them") {
  const ResetLoads reset;
  const auto timed = [](const std::string& device, double ms, double weight) {
    Route r = route({{device, 8}}, weight);
    r.segments[0].expected_ms = ms;
    return r;
  };
  const auto depth = [](std::vector<Route> routes, std::size_t wanted = 0) {
    return Pipeline{float_plan(std::move(routes)), fake_devices(), {.depth = wanted}}.stats().depth;
  };
  CHECK(depth({timed("gpu:0", 5, 1)}) == 3);  // two of the largest batch and one per stage
  CHECK(depth({timed("gpu:0", 5, 1), timed("gpu:1", 50, 0)}) == 4);       // nobody waits for a standby route
  CHECK(depth({timed("gpu:0", 1, 0.875), timed("gpu:1", 7, 0.125)}) == 4 + 8 + 8);
  CHECK(depth({timed("gpu:0", 1, 0.5), timed("gpu:0", 4, 0.5)}) == 3 + 4);  // one stage; 2.5 ms apart: 2 to fill, 1.6 run
  CHECK(depth({timed("gpu:0", 0, 0.5), timed("gpu:1", 0, 0.5)}) == 4);      // no times
  CHECK(depth({timed("gpu:0", 1, 0.999), timed("gpu:1", 1e6, 0.001)}) == 4 + 256);
  CHECK(depth({timed("gpu:0", 1, 0.875), timed("gpu:1", 7, 0.125)}, 5) == 5);
  fake_loads().adjust = [](FakeOptions& o) { o.batch = o.device == "gpu:1" ? 6 : 1; };
  CHECK(depth({timed("gpu:0", 1, 0.75), timed("gpu:1", 3, 0.25)}) == 26 + 24 + 24);
}

TEST_CASE("new frames avoid a route that lost its device") {
  const ResetLoads reset;
  fake_loads().adjust = [](FakeOptions& o) {
    if (o.device == "gpu:1") o.lose_at = 2;
  };
  Pipeline pipe{float_plan({route({{"gpu:0", 8}}, 0.5), route({{"gpu:1", 8}}, 0.5)}), fake_devices()};
  int failed = 0;
  for (int n = 0; n < 20; ++n) {
    REQUIRE(pipe.push(blank_image()) == Push::queued);
    const auto result = pipe.pop();
    failed += !result->ok();
  }
  CHECK(failed == 0);  // the frame that met the loss went on along the other route
  CHECK(pipe.stats().rerouted == 1);
  pipe.close();
  CHECK_THROWS_AS(pipe.pop(), Error);
  CHECK_FALSE(pipe.pop());
}

TEST_CASE("stages behind the plan") {
  const ResetLoads reset;
  const Plan plan = float_plan({route({{"cpu", 8}})});
  const auto sum = [](std::span<const TensorView> in, std::span<const TensorView> out) {
    float total = 0;
    for (std::size_t k = 0; k < in[0].bytes() / 4; ++k)
      total += reinterpret_cast<const float*>(in[0].data)[k];
    *reinterpret_cast<float*>(out[0].data) = total;
  };
  const auto after = [&](TensorSpec input) {
    std::vector<std::unique_ptr<Stage>> stages;
    stages.push_back(std::make_unique<HostStage>("decode", std::vector<TensorSpec>{std::move(input)},
                                                 std::vector<TensorSpec>{{.name = "boxes", .shape = {1}}},
                                                 sum));
    return stages;
  };
  Pipeline by_name{plan, fake_devices(), {}, after({.name = "t7", .shape = {1, 3}})};
  REQUIRE(by_name.outputs().size() == 1);
  CHECK(by_name.outputs()[0].name == "boxes");
  CHECK(by_name.infer(blank_image()).ok());
  const Result boxes = by_name.infer(blank_image());
  CHECK(boxes.floats()[0] == 0 + 1 + 2);

  Pipeline by_position{
      plan, fake_devices(), {}, after({.name = "whatever", .shape = {1, 3, 8, 6}})};  // output 0: t3
  CHECK(by_position.infer(blank_image()).ok());

  std::string message;
  CHECK(code_of(
            [&] {
              Pipeline{plan, fake_devices(), {}, after({.name = "t7", .shape = {1, 4}})};
            },
            &message) == Errc::mismatch);
  for (const char* part : {"decode", "cpu[0,8)", "1x4", "1x3", "t7"})
    CHECK(message.find(part) != std::string::npos);
  CHECK(code_of([&] {
          Pipeline{plan, fake_devices(), {}, std::vector<std::unique_ptr<Stage>>(1)};
        }) == Errc::bad_argument);
}

TEST_CASE("neighbours that do not fit, and devices that are not there") {
  const ResetLoads reset;
  const Plan plan = float_plan({route({{"gpu:0", 1}, {"gpu:1", 8}})});
  fake_loads().adjust = [](FakeOptions& o) {
    if (o.device == "gpu:1") o.inputs[0].dtype = DType::f32;
  };
  std::string message;
  CHECK(code_of([&] { Pipeline{plan, fake_devices()}; }, &message) == Errc::mismatch);
  for (const char* part : {"gpu:0[0,1)", "gpu:1[1,8)", "f16 1x8x6x3", "f32 1x8x6x3"}) {
    CHECK(message.find(part) != std::string::npos);
  }
  fake_loads() = {.fail_device = "gpu:1"};
  CHECK(code_of([&] { Pipeline{plan, fake_devices()}; }) == Errc::no_device);
}

TEST_CASE("camera frames go through the plan's transform into the first stage's own type") {
  const ResetLoads reset;
  Plan plan = float_plan({route({{"cpu", 8}})});
  plan.input_transform = InputTransform{.mean = {10, 10, 10}};
  std::atomic<float> seen{0};
  fake_loads().adjust = [&](FakeOptions& o) {
    o.compute = [&](auto in, auto out) {
      seen = reinterpret_cast<const float*>(in[0].data)[0];
      fake_segment(in, out);
    };
  };
  Pipeline pipe{plan, fake_devices(), {.depth = 2}};
  CHECK(pipe.inputs()[0].shape == Shape{1, 8, 6, 3});
  REQUIRE(pipe.push(Picture{77}.frame) == Push::queued);
  REQUIRE(pipe.pop()->ok());
  CHECK(seen == 67);
  CHECK(pipe.infer(Picture{30, 60, 80}.frame).ok());
  CHECK(seen == 20);
  // A frame that cannot be used throws and gives its token back.
  Picture broken{1};
  broken.frame.planes[0] = nullptr;
  for (int n = 0; n < 5; ++n) CHECK(code_of([&] { pipe.push(broken.frame); }) == Errc::bad_argument);
  CHECK(code_of([&] { (void)pipe.infer(broken.frame); }) == Errc::bad_argument);
  CHECK(pipe.stats().in_flight == 0);

  // Several threads on one source share its converter.
  Source source = pipe.source({.name = "cam"});
  std::vector<std::jthread> pushers;
  for (int t = 0; t < 3; ++t) {
    pushers.emplace_back([&, t] {
      for (int n = 0; n < 50; ++n)
        source.push(Picture{static_cast<std::uint8_t>(50 + t), 6 * (t + 1), 8}.frame);
    });
  }
  for (int n = 0; n < 150; ++n) CHECK(pipe.pop()->ok());
}

TEST_CASE("routes that take their input in different types: camera frames and slots fit both") {
  const ResetLoads reset;
  Plan plan = float_plan({route({{"cpu", 8}}, 0.5), route({{"gpu:0", 8}}, 0.5)});
  plan.input_transform = InputTransform{};
  Pipeline pipe{plan, fake_devices(), {.depth = 4}};
  std::vector<DType> types;
  for (int n = 0; n < 4; ++n) {
    REQUIRE(pipe.push(Picture{9}.frame) == Push::queued);
    REQUIRE(pipe.pop()->ok());
    auto slot = pipe.acquire();
    types.push_back(slot->input().spec->dtype);
    REQUIRE(pipe.push(std::move(*slot)) == Push::queued);
    REQUIRE(pipe.pop()->ok());
  }
  CHECK(types == std::vector<DType>{DType::f16, DType::f16, DType::f16, DType::f16});  // every other turn
  CHECK(code_of([&] { pipe.push(blank_image()); }) == Errc::mismatch);
  pipe.warm_up(3);
  CHECK(pipe.stats().in_flight == 0);
}
