// What goes wrong with frames comes out as values; what goes wrong with a pipeline is an Error.
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a failed batch is a value, in order, and names the stage") {
  Pipeline pipe{fake_chain({{}, {.name = "flaky", .fail_every = 3}, {}}), {.depth = 4}};
  for (int n = 1; n <= 12; ++n) {
    REQUIRE(pipe.push(frame(n)) == Push::queued);
    const auto result = pipe.pop();
    CHECK(result->id() == static_cast<std::uint64_t>(n - 1));
    CHECK(result->ok() == (n % 3 != 0));
    if (result->ok()) continue;
    CHECK(result->status().code == Errc::stage_failed);
    CHECK(result->failed_stage() == "flaky");
    CHECK(contains(result->status().message, "flaky"));
    CHECK(contains(result->status().message, "failed on purpose"));
    CHECK_THROWS_AS(result->bytes(), Error);
    CHECK_THROWS_AS(result->floats(), Error);
    CHECK_THROWS_AS(result->top(1), Error);
  }
  const PipelineStats stats = pipe.stats();
  CHECK(stats.sources[0].failed == 4);
  CHECK(stats.sources[0].delivered == 8);
  CHECK(stats.stages[1].failed == 4);
  CHECK(stats.stages[2].frames == 8);
}

TEST_CASE("a throw is a failed batch; the others go on, in order") {
  FakeLog log;
  Pipeline pipe{fake_chain({{.batch = 2, .in_flight = 2, .throw_every = 2, .log = &log}, {}}), {.depth = 8}};
  std::jthread pusher{[&] {
    for (int n = 0; n < 40; ++n) pipe.push(frame(n));
    pipe.close();
  }};
  std::uint64_t next = 0, failed = 0;
  while (auto result = pipe.pop()) {
    CHECK(result->id() == next++);
    if (result->ok()) continue;
    ++failed;
    CHECK(result->status().code == Errc::stage_failed);
    CHECK(contains(result->status().message, "thrown on purpose"));
  }
  CHECK(next == 40);
  CHECK(failed > 0);
  CHECK(log.breaches == 0);
}

TEST_CASE("over the deadline frames fail at once; their tokens come back only when the stage lets go") {
  Gate gate;
  FakeLog log;
  Pipeline pipe{one({.gate = &gate, .log = &log}),
                {.overflow = Overflow::drop_newest, .depth = 2, .stage_deadline = 20ms}};
  REQUIRE(pipe.push(frame(0)) == Push::queued);
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  for (int n = 0; n < 2; ++n) {
    const auto result = pipe.pop();  // 0: late; 1: never started, and starved behind it
    REQUIRE(result);
    CHECK(result->id() == static_cast<std::uint64_t>(n));
    CHECK(result->status().code == Errc::timeout);
    CHECK(result->failed_stage() == "fake");
  }
  CHECK(log.frames == 1);
  CHECK(pipe.stats().in_flight == 1);  // frame 0's token is quarantined
  auto slot = pipe.acquire();
  REQUIRE(slot);
  CHECK_FALSE(pipe.acquire());
  gate.open();
  while (pipe.stats().in_flight > 1) std::this_thread::yield();  // the stage reports the batch complete
  REQUIRE(pipe.push(std::move(*slot)) == Push::queued);
  CHECK(pipe.pop()->ok());
  CHECK(pipe.stats().in_flight == 0);
  CHECK(log.breaches == 0);
}

TEST_CASE("batches behind a late one fail by their own deadline, and all tokens return") {
  Gate gate;
  FakeLog log;
  Pipeline pipe{one({.batch = 2, .in_flight = 3, .gate = &gate, .log = &log}),
                {.depth = 8, .stage_deadline = 20ms}};
  for (int n = 0; n < 8; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 0; n < 8; ++n) CHECK(pipe.pop()->status().code == Errc::timeout);
  CHECK(pipe.stats().in_flight == log.frames);  // what the stage has taken is in quarantine
  gate.open();
  while (pipe.stats().in_flight > 0) std::this_thread::yield();
  for (int n = 0; n < 8; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 0; n < 8; ++n) CHECK(pipe.pop()->ok());
  CHECK(log.breaches == 0);
}

TEST_CASE("a stuck stage does not hold up another one on its worker") {
  Gate gate;
  auto stages = fake_chain({{.name = "up", .device = "a"}, {.name = "stuck", .device = "a", .gate = &gate}});
  Pipeline pipe{std::move(stages), {.depth = 3, .stage_deadline = 10ms}};
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 0; n < 3; ++n) CHECK(pipe.pop()->failed_stage() == "stuck");
  CHECK(pipe.stats().stages[0].frames == 3);
}

TEST_CASE("a result that is dropped while in quarantine does not hand its token on") {
  Gate gate;
  Pipeline pipe{one({.gate = &gate}), {.overflow = Overflow::drop_oldest, .depth = 1, .stage_deadline = 5ms}};
  REQUIRE(pipe.push(frame(0)) == Push::queued);
  while (pipe.stats().stages[0].failed == 0) std::this_thread::yield();
  CHECK(pipe.push(frame(1)) == Push::dropped);  // the only token's buffers are still the stage's
  CHECK(pipe.pop()->status().code == Errc::timeout);
  CHECK(pipe.push(frame(2)) == Push::dropped);
  gate.open();
  while (pipe.push(frame(3)) != Push::queued) std::this_thread::yield();
  CHECK(pipe.pop()->ok());
}

TEST_CASE("a lost device fails everything through it, and pop throws once after the last frame") {
  FakeLog log;
  Pipeline pipe{
      fake_chain(
          {{}, {.name = "gone", .device = "gpu:7", .batch = 2, .in_flight = 2, .lose_at = 3, .log = &log}}),
      {.depth = 6, .batch_timeout = 1ms}};
  std::jthread pusher{[&] {
    for (int n = 0; n < 40; ++n) pipe.push(frame(n));
  }};
  std::uint64_t ok = 0;
  for (std::uint64_t n = 0; n < 40; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result);
    CHECK(result->id() == n);
    if (result->ok()) {
      CHECK(ok == n);  // none works after the first failure
      ++ok;
    } else {
      CHECK(result->status().code == Errc::device_failed);
      CHECK(result->failed_stage() == "gone");
    }
  }
  CHECK(ok >= 2);
  CHECK(log.submits <= 4);
  CHECK_FALSE(pipe.try_pop());
  const Result own = pipe.infer(frame(1));
  CHECK(own.status().code == Errc::device_failed);
  pipe.close();
  try {
    const auto none = pipe.pop();
    FAIL("pop must throw");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::device_failed);
    CHECK(contains(e.what(), "gone"));
    CHECK(contains(e.what(), "gpu:7"));
    CHECK(contains(e.what(), "device pulled out"));
  }
  CHECK_FALSE(pipe.pop());
}

TEST_CASE("prepare() that throws fails the constructor, and everything is taken down") {
  FakeLog log;
  try {
    Pipeline pipe{fake_chain({{.log = &log}, {.fail_prepare = true, .log = &log}})};
    FAIL("must throw");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::no_device);
    CHECK(contains(e.what(), "s1"));
  }
  CHECK(log.destroyed == 2);
}

TEST_CASE("warm-up reports what fails") {
  Pipeline pipe{one({.fail_every = 1})};
  CHECK_THROWS_AS(pipe.warm_up(2), Error);
  CHECK(pipe.stats().stages[0].failed == 0);
  CHECK(pipe.stats().in_flight == 0);
}

TEST_CASE("options and stages that make no sense are refused") {
  const auto code = [](auto make) {
    try {
      make();
    } catch (const Error& e) {
      return e.code();
    }
    return Errc::ok;
  };
  CHECK(code([] { Pipeline{std::vector<std::unique_ptr<Stage>>{}}; }) == Errc::bad_argument);
  CHECK(code([] { Pipeline{std::vector<std::unique_ptr<Stage>>(1)}; }) == Errc::bad_argument);
  CHECK(code([] { Pipeline{one({.batch = 0})}; }) == Errc::bad_argument);
  CHECK(code([] { Pipeline{one({}), {.batch_timeout = -1ms}}; }) == Errc::bad_argument);
  CHECK(code([] { Pipeline{one({}), {.stage_deadline = 0ms}}; }) == Errc::bad_argument);
  CHECK(code([] { Pipeline{one({}), {.depth = 2'000'000}}; }) == Errc::bad_argument);
  CHECK(code([] {
          Pipeline{one({}), {.batch_timeout = Millis{1e300}, .stage_deadline = Millis{1e300}}};
        }) == Errc::ok);
}
