// Deadlines the watchdog sees to, stages that rest and come back, frames that get around them: nothing lost, nothing
// reordered, everything counted.
#include <array>
#include <mutex>
#include <thread>

#include "pipeline/fake_devices.hpp"
#include "plan/branching.hpp"
#include "splitcnn/error.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

struct Reset {
  Reset() {
    fake_loads() = {};
    set_log_handler([this](LogLevel level, std::string_view text) {
      const std::lock_guard lock{mutex};
      if (level == LogLevel::warning) warnings.emplace_back(text);
    });
  }
  ~Reset() {
    fake_loads() = {};
    set_log_handler({});
  }
  bool warned(const std::string& text) {
    const std::lock_guard lock{mutex};
    return std::any_of(warnings.begin(), warnings.end(), [&](const auto& w) { return w.find(text) != std::string::npos; });
  }
  std::mutex mutex;
  std::vector<std::string> warnings;
};

Plan plan_of(std::vector<Route> routes) { return {branching_graph(), quantised(branching_graph()), std::move(routes)}; }
std::vector<float> image() { return std::vector<float>(3 * 8 * 6, 0.0f); }

/// Asks until it is so. There is no other time limit than the test's.
template <class F>
void until(F so) {
  while (!so()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

const StageStats& stage(const PipelineStats& stats, const std::string& device) {
  for (const StageStats& s : stats.stages) {
    if (s.device == device) return s;
  }
  throw std::runtime_error{device};
}

/// Pushes and pops one frame; its order is checked by the caller's `next`.
Result one_frame(Pipeline& pipe, std::uint64_t& next) {
  REQUIRE(pipe.push(image()) == Push::queued);
  auto result = pipe.pop();
  REQUIRE(result);
  CHECK(result->id() == next++);
  return std::move(*result);
}

}  // namespace

TEST_CASE("a stage that hangs inside submit: its frames fail at their deadline, those behind after one of their own", "[fault]") {
  Gate gate;
  FakeLog log;
  Pipeline pipe{one({.submit_gate = &gate, .log = &log}), {.depth = 4, .stage_deadline = Millis{20}}};
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.push(std::array<float, 2>{}) == Push::queued);
  for (std::uint64_t n = 0; n < 3; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result);
    CHECK(result->id() == n);
    CHECK(result->status().code == Errc::timeout);
    CHECK(result->failed_stage() == "fake");
  }
  const PipelineStats stats = pipe.stats();
  CHECK(stats.stages[0].health == Health::hung);
  CHECK(stats.stages[0].timeouts == 1);
  CHECK(stats.stages[0].failed == 3);
  CHECK(stats.in_flight == 1);  // the stage still has that one's buffers
  gate.open();
  until([&] { return pipe.stats().in_flight == 0; });
  CHECK(pipe.infer(std::array<float, 2>{}).ok());
  CHECK(pipe.stats().stages[0].health == Health::good);
  CHECK(log.breaches == 0);
}

TEST_CASE("stages have deadlines of their own", "[fault]") {
  Gate slow, quick;
  const auto chain = [&] { return fake_chain({{.gate = &quick}, {.gate = &slow}}); };
  quick.open();
  {
    Pipeline pipe{chain(), {.stage_deadline = std::chrono::hours{1}, .deadlines = {{"fake:1", Millis{15}}}}};
    const Result late = pipe.infer(std::array<float, 2>{});
    CHECK(late.status().code == Errc::timeout);
    slow.open();
  }
  {
    slow.shut();
    Pipeline pipe{chain(), {.deadlines = {{"fake:1", std::chrono::hours{1}}, {"s1", Millis{15}}}}};
    const Result late = pipe.infer(std::array<float, 2>{});
    CHECK(late.failed_stage() == "s1");
    slow.open();
  }
  std::string message;
  CHECK(code_of([&] { Pipeline{chain(), {.deadlines = {{"gpu:7", Millis{1}}}}}; }, &message) == Errc::bad_argument);
  CHECK(message.find("gpu:7") != std::string::npos);
  CHECK(code_of([&] { Pipeline{chain(), {.deadlines = {{"s0", Millis{0}}}}}; }) == Errc::bad_argument);
  CHECK(code_of([&] { Pipeline{chain(), {.failures_to_leave = 0}}; }) == Errc::bad_argument);
  CHECK(code_of([&] { Pipeline{chain(), {.check_interval = Millis{0}}}; }) == Errc::bad_argument);
}

TEST_CASE("a DPU that hangs: frames go along the standby route and come back after its checks", "[fault]") {
  Reset reset;
  Gate gate{true};
  FakeLog log;
  fake_loads().adjust = [&](FakeOptions& o) {
    if (o.device != "dpu:0") return;
    o.submit_gate = &gate;
    o.log = &log;
  };
  const Plan plan = plan_of({route({{"dpu:0", 4}, {"gpu:0", 8}})}).with_fallback();
  Pipeline pipe{plan, fake_devices(), {.depth = 6, .deadlines = {{"dpu:0", Millis{25}}}, .check_interval = Millis{2}}};
  std::uint64_t next = 0;
  CHECK(one_frame(pipe, next).ok());
  CHECK(pipe.stats().routes[0].frames == 1);

  gate.shut();
  for (int n = 0; n < 4; ++n) REQUIRE(pipe.push(image()) == Push::queued);
  for (int n = 0; n < 4; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result);
    CHECK(result->ok());
    CHECK(result->id() == next++);
  }
  PipelineStats stats = pipe.stats();
  CHECK(stage(stats, "dpu:0").health == Health::hung);
  CHECK(stage(stats, "dpu:0").timeouts == 1);
  CHECK(stage(stats, "dpu:0").left == 1);
  CHECK(stage(stats, "dpu:0").failed == 0);
  CHECK(stats.rerouted == 4);
  CHECK(stats.switches == 1);
  CHECK_FALSE(stats.routes[0].works);
  CHECK(stats.routes[1].works);
  CHECK(stats.routes[1].devices == "gpu:0");
  CHECK(stats.routes[1].share == 0);
  CHECK(stats.routes[1].frames == 4);
  until([&] { return reset.warned("'dpu:0[0,4)' (dpu:0) is hung"); });
  CHECK(one_frame(pipe, next).ok());

  gate.open();
  until([&] { return pipe.stats().routes[0].works; });
  until([&] { return reset.warned("'dpu:0[0,4)' (dpu:0) is back in service"); });
  CHECK(one_frame(pipe, next).ok());
  stats = pipe.stats();
  CHECK(stats.routes[0].frames == 2);
  CHECK(stats.switches == 2);
  CHECK(stage(stats, "dpu:0").checks >= 3);
  CHECK(log.breaches == 0);
  CHECK(stats.sources[0].delivered == next);
}

TEST_CASE("a stage that fails in a row rests; frames it failed take the other route; its neighbours' work is kept", "[fault]") {
  Reset reset;
  FakeLog head;
  std::atomic<bool> broken{false};
  fake_loads().adjust = [&](FakeOptions& o) {
    if (o.device == "dpu:0") o.log = &head;
    if (o.device == "gpu:0") {
      o.compute = [&](auto in, auto out) {
        if (broken) throw Error{Errc::stage_failed, "out of order"};
        fake_segment(in, out);
      };
    }
  };
  const Plan plan = plan_of({route({{"dpu:0", 4}, {"gpu:0", 8}}), route({{"dpu:0", 4}, {"cpu", 8}}, 0)});
  Pipeline pipe{plan, fake_devices(), {.failures_to_leave = 2, .checks_to_return = 2, .check_interval = Millis{2}}};
  std::uint64_t next = 0;
  broken = true;
  for (int n = 0; n < 5; ++n) CHECK(one_frame(pipe, next).ok());
  CHECK(head.frames == 5);  // nobody's head ran twice
  PipelineStats stats = pipe.stats();
  CHECK(stats.rerouted == 2);
  CHECK(stage(stats, "gpu:0").health == Health::resting);
  CHECK(stage(stats, "gpu:0").frames == 2);
  CHECK(stage(stats, "cpu").frames == 5);
  until([&] { return pipe.stats().stages[1].checks > 2; });  // failed ones
  CHECK_FALSE(pipe.stats().routes[0].works);
  broken = false;
  until([&] { return pipe.stats().routes[0].works; });
  CHECK(one_frame(pipe, next).ok());
  CHECK(pipe.stats().routes[0].frames == 1);
}

TEST_CASE("a lost device is never asked again; without a way around frames fail with its words", "[fault]") {
  Reset reset;
  fake_loads().adjust = [](FakeOptions& o) {
    if (o.device == "dpu:0") o.lose_at = 1;
    if (o.device == "cpu") o.fail_every = 2;
  };
  Pipeline pipe{plan_of({route({{"dpu:0", 8}}), route({{"cpu", 8}}, 0)}), fake_devices()};
  std::uint64_t next = 0;
  CHECK(one_frame(pipe, next).ok());
  const Result failed = one_frame(pipe, next);
  CHECK(failed.status().code == Errc::stage_failed);
  CHECK(failed.failed_stage() == "cpu[0,8)");
  CHECK(one_frame(pipe, next).ok());
  const PipelineStats stats = pipe.stats();
  CHECK(stage(stats, "dpu:0").frames == 1);
  CHECK(stage(stats, "dpu:0").checks == 0);
  CHECK(stage(stats, "dpu:0").health == Health::lost);
  CHECK(reset.warned("is lost"));
}

TEST_CASE("stages of a hung worker are avoided, too", "[fault]") {
  const Reset reset;
  Gate gate{true};
  fake_loads().adjust = [&](FakeOptions& o) {
    if (o.name == "gpu:0[0,1)") o.submit_gate = &gate;
  };
  // A,B,A: the second visit shares the thread that hangs in the first.
  const Plan plan = plan_of({route({{"gpu:0", 1}, {"gpu:1", 4}, {"gpu:0", 8}}), route({{"cpu", 8}}, 0)});
  Gate middle;
  const auto load = fake_loads().adjust;
  fake_loads().adjust = [&](FakeOptions& o) {
    load(o);
    if (o.device == "gpu:1") o.submit_gate = &middle;
  };
  Pipeline pipe{plan, fake_devices(), {.depth = 4, .deadlines = {{"gpu:0", Millis{20}}}}};
  REQUIRE(pipe.push(image()) == Push::queued);
  middle.wait_arrived(1);
  gate.shut();
  REQUIRE(pipe.push(image()) == Push::queued);
  gate.wait_arrived(2);
  until([&] { return pipe.stats().stages[2].health == Health::hung; });
  middle.open();  // the first frame meets a worker that does not answer
  for (std::uint64_t n = 0; n < 2; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result);
    CHECK(result->ok());
    CHECK(result->id() == n);
  }
  CHECK(pipe.stats().routes[1].frames == 2);
  gate.open();
}

TEST_CASE("camera frames change over to routes that take another type", "[fault]") {
  const Reset reset;
  Gate gate;
  fake_loads().adjust = [&](FakeOptions& o) {
    if (o.device == "dpu:0") o.submit_gate = &gate;
  };
  Plan plan = plan_of({route({{"dpu:0", 4}, {"gpu:0", 8}})});
  plan.input_transform = InputTransform{};
  std::vector<std::uint8_t> pixels(6 * 8 * 3, 3);
  const CameraFrame camera{.width = 6, .height = 8, .planes = {pixels.data()}, .strides = {18}};
  Pipeline pipe{plan.with_fallback(), fake_devices(), {.stage_deadline = Millis{20}}};
  REQUIRE(pipe.push(camera) == Push::queued);
  const auto result = pipe.pop();
  CHECK(result->ok());
  // A slot holds one type only: its frame cannot change over.
  gate.wait_arrived(1);
  gate.open();
  until([&] { return pipe.stats().routes[0].works; });
  gate.shut();
  auto slot = pipe.acquire();
  REQUIRE(pipe.push(std::move(*slot)) == Push::queued);
  CHECK(pipe.pop()->status().code == Errc::timeout);
  gate.open();
}

TEST_CASE("shares change while frames flow", "[fault]") {
  const Reset reset;
  const Plan plan = plan_of({route({{"gpu:0", 8}}, 0.5), route({{"gpu:1", 8}}, 0.5), route({{"cpu", 8}}, 0)});
  Pipeline pipe{plan, fake_devices(), {.depth = 8}};
  std::uint64_t next = 0;
  std::vector<std::uint64_t> before(3);
  const auto split = [&](std::vector<double> shares, std::vector<std::uint64_t> expected) {
    pipe.set_shares(shares);
    for (int n = 0; n < 12; ++n) CHECK(one_frame(pipe, next).ok());
    const PipelineStats stats = pipe.stats();
    for (std::size_t r = 0; r < 3; ++r) {
      CHECK(stats.routes[r].frames - before[r] == expected[r]);
      before[r] = stats.routes[r].frames;
    }
  };
  split({1, 1, 0}, {6, 6, 0});
  split({3, 1, 0}, {9, 3, 0});
  split({0, 0, 7}, {0, 0, 12});
  split({2, 2, 2}, {4, 4, 4});
  CHECK(pipe.stats().switches == 0);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& bad : {std::vector<double>{}, {1, 1}, {0, 0, 0}, {1, -1, 1}, {nan, 1, 1}, {1, 1, INFINITY}}) {
    CHECK(code_of([&] { pipe.set_shares(bad); }) == Errc::bad_argument);
  }
}

TEST_CASE("nothing is lost or reordered while routes come and go", "[fault]") {
  const Reset reset;
  std::atomic<unsigned> mood{0};
  fake_loads().adjust = [&](FakeOptions& o) {
    o.batch = o.device == "gpu:0" ? 3 : 1;
    o.in_flight = 2;
    if (o.device == "cpu") return;
    const unsigned bit = o.device == "dpu:0" ? 1 : 2;
    o.compute = [&mood, bit](auto in, auto out) {
      if (mood & bit) throw Error{Errc::stage_failed, "in a bad mood"};
      fake_segment(in, out);
    };
  };
  const Plan plan = plan_of({route({{"dpu:0", 4}, {"gpu:0", 8}})}).with_fallback();
  REQUIRE(plan.routes().size() == 3);
  Pipeline pipe{plan, fake_devices(), {.depth = 12, .batch_timeout = Millis{0.1}, .check_interval = Millis{0.2}}};
  constexpr std::uint64_t frames = 20'000;
  std::jthread pusher{[&] {
    for (std::uint64_t n = 0; n < frames; ++n) {
      if (n % 97 == 0) mood = static_cast<unsigned>(n / 97 % 3);  // never both
      pipe.push(image());
    }
    pipe.close();
  }};
  std::uint64_t next = 0, failed = 0;
  while (auto result = pipe.pop()) {
    CHECK(result->id() == next++);
    if (result->ok()) continue;
    ++failed;  // met one mood on its route and the other on the way around
    CHECK(result->status().message.find("in a bad mood") != std::string::npos);
  }
  CHECK(next == frames);
  const PipelineStats stats = pipe.stats();
  CHECK(stats.in_flight == 0);
  CHECK(stats.rerouted > 0);
  CHECK(stats.switches > 0);
  CHECK(stats.sources[0].failed == failed);
  CHECK(stats.sources[0].delivered == frames - failed);
}
