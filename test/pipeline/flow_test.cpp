// Frames through stages: order, batches, overlap, workers, statistics.
#include <array>
#include <set>
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using namespace std::chrono_literals;

namespace {

constexpr Millis for_ever{1e9};

}  // namespace

TEST_CASE("what goes in comes out, in order, with id, tag, timestamp and latency") {
  Pipeline pipe{fake_chain({{.compute = on_floats([](float x) { return x + 1; })},
                            {.compute = on_floats([](float x) { return x * 2; })}})};
  REQUIRE(pipe.inputs().size() == 1);
  CHECK(pipe.inputs()[0].name == "t0");
  CHECK(pipe.outputs()[0].name == "t2");
  CHECK(pipe.plan() == nullptr);
  std::jthread pusher{[&] {
    for (int n = 0; n < 200; ++n)
      pipe.push(frame(n), {.timestamp_ns = n * 1000, .tag = static_cast<std::uint64_t>(n) + 7});
    pipe.close();
  }};
  int n = 0;
  while (auto result = pipe.pop()) {
    REQUIRE(result->ok());
    CHECK(result->id() == static_cast<std::uint64_t>(n));
    CHECK(result->source() == "default");
    CHECK(result->info().tag == static_cast<std::uint64_t>(n) + 7);
    CHECK(result->info().timestamp_ns == n * 1000);
    CHECK(result->latency().count() >= 0);
    CHECK(result->outputs() == 1);
    CHECK(result->spec().name == "t2");
    CHECK(result->failed_stage().empty());
    CHECK(result->floats()[0] == static_cast<float>((n + 1) * 2));
    CHECK(result->bytes().size() == 8);
    ++n;
  }
  CHECK(n == 200);
  CHECK_FALSE(pipe.pop());
  CHECK_FALSE(pipe.try_pop());
}

TEST_CASE("a full batch goes at once, whatever the time-out; close flushes what is left") {
  FakeLog log;
  Pipeline pipe{one({.batch = 6, .log = &log}), {.depth = 20, .batch_timeout = for_ever}};
  for (int n = 0; n < 12; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 0; n < 12; ++n) REQUIRE(pipe.pop());
  for (int n = 0; n < 4; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  CHECK_FALSE(pipe.try_pop());
  pipe.close();
  for (int n = 0; n < 4; ++n) REQUIRE(pipe.pop());
  CHECK_FALSE(pipe.pop());
  CHECK(log.batches == std::vector<std::size_t>{6, 6, 4});
  CHECK(log.breaches == 0);
}

TEST_CASE("close flushes partial batches of every stage, the downstream ones only when nothing can follow") {
  FakeLog first, second;
  Pipeline pipe{fake_chain({{.batch = 4, .log = &first}, {.batch = 8, .log = &second}}),
                {.depth = 16, .batch_timeout = for_ever}};
  for (int n = 0; n < 7; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  pipe.close();
  int n = 0;
  while (auto result = pipe.pop()) CHECK(result->floats()[0] == static_cast<float>(n++));
  CHECK(n == 7);
  CHECK(first.batches == std::vector<std::size_t>{4, 3});
  CHECK(second.batches == std::vector<std::size_t>{7});
}

TEST_CASE("a started batch goes after the time-out") {
  FakeLog log;
  Pipeline pipe{one({.batch = 6, .log = &log}), {.depth = 12, .batch_timeout = 1ms}};
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.pop());
  CHECK(log.frames == 2);
}

TEST_CASE("a depth below the batch still makes progress") {
  for (const std::size_t depth : {1, 2, 5}) {
    FakeLog log;
    // Batches of `depth` are as full as they can get, so they do not wait for the time-out.
    Pipeline pipe{one({.batch = 6, .in_flight = 3, .log = &log}),
                  {.depth = depth, .batch_timeout = for_ever}};
    CHECK(pipe.stats().depth == depth);
    std::jthread pusher{[&] {
      for (std::size_t n = 0; n < 20 * depth; ++n) pipe.push(frame(1));
      pipe.close();
    }};
    std::size_t n = 0;
    while (pipe.pop()) ++n;
    CHECK(n == 20 * depth);
  }
}

TEST_CASE("the default depth is four of the largest batch, two where none is above one, plus the stages") {
  CHECK(Pipeline{fake_chain({{.batch = 6}, {}, {.batch = 2}})}.stats().depth == 27);
  CHECK(Pipeline{fake_chain({{}, {}, {}})}.stats().depth == 5);
}

TEST_CASE("the next batch is submitted before the oldest is waited for") {
  FakeLog log;
  Gate gate;
  Pipeline pipe{one({.in_flight = 3, .gate = &gate, .log = &log}), {.depth = 8}};
  for (int n = 0; n < 8; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  gate.open();
  for (int n = 0; n < 8; ++n) CHECK(pipe.pop()->floats()[0] == static_cast<float>(n));
  CHECK(log.most_in_flight <= 3);

  // With a gate in submit the worker is inside the first submit while five frames queue; it then fills all
  // three places.
  FakeLog log2;
  Gate in_submit, out;
  Pipeline overlapped{one({.in_flight = 3, .gate = &out, .submit_gate = &in_submit, .log = &log2}),
                      {.depth = 8}};
  for (int n = 0; n < 6; ++n) REQUIRE(overlapped.push(frame(n)) == Push::queued);
  in_submit.open();
  out.wait_arrived(3);
  CHECK_FALSE(overlapped.try_pop());
  out.open();
  for (int n = 0; n < 6; ++n) CHECK(overlapped.pop()->floats()[0] == static_cast<float>(n));
  CHECK(log2.most_in_flight == 3);
  CHECK(log2.breaches == 0);
}

TEST_CASE("frames that come while a batch is in flight are submitted beside it") {
  Gate gate;
  Pipeline pipe{one({.in_flight = 2, .gate = &gate}), {.depth = 4}};
  REQUIRE(pipe.push(frame(0)) == Push::queued);
  gate.wait_arrived(1);  // the worker waits for it, or is about to
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  gate.wait_arrived(2);
  gate.open();
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.pop()->ok());

  // The same for two stages of one device.
  Gate first, second;
  Pipeline shared{fake_chain({{.device = "a", .gate = &first}, {.device = "a", .gate = &second}}),
                  {.depth = 4}};
  first.open();
  REQUIRE(shared.push(frame(0)) == Push::queued);
  second.wait_arrived(1);
  REQUIRE(shared.push(frame(1)) == Push::queued);
  first.wait_arrived(2);
  second.open();
  for (int n = 0; n < 2; ++n) REQUIRE(shared.pop()->ok());
}

TEST_CASE("a partial batch is not held up by a batch in flight") {
  FakeLog log;
  Gate gate;
  Pipeline pipe{one({.batch = 2, .in_flight = 2, .gate = &gate, .log = &log}),
                {.depth = 8, .batch_timeout = 1ms}};
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  gate.wait_arrived(2);  // {2, 1} or {1, 2}: the second goes by time-out or fill while the first is still out
  gate.open();
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.pop());
  CHECK(log.breaches == 0);
}

TEST_CASE("A,B,A: stages of one device share a worker, downstream first") {
  FakeLog first, middle, last, order;
  Gate gate;
  auto stages = fake_chain({{.name = "A1", .device = "a", .submit_gate = &gate, .log = &first},
                            {.name = "B", .device = "b", .log = &middle},
                            {.name = "A2", .device = "a", .log = &last}});
  Pipeline pipe{std::move(stages), {.depth = 6}};
  CHECK(first.thread == last.thread);
  CHECK(first.thread != middle.thread);
  for (int n = 0; n < 6; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  gate.open();
  for (int n = 0; n < 6; ++n) CHECK(pipe.pop()->floats()[0] == static_cast<float>(n));
  CHECK(first.prepares == 1);
  CHECK(last.prepares == 1);
  CHECK(first.breaches + middle.breaches + last.breaches == 0);
}

TEST_CASE("the stage nearer to the end goes first") {
  FakeLog log;  // shared: it sees the order of submits over both stages of the device
  Gate gate;
  auto stages = fake_chain({{.name = "up", .device = "a", .submit_gate = &gate, .log = &log},
                            {.name = "down", .device = "a", .log = &log}});
  Pipeline pipe{std::move(stages), {.depth = 3}};
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  gate.open();
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.pop());
  CHECK(log.events == std::vector<std::string>{"up:1", "down:1", "up:1", "down:1", "up:1", "down:1"});
}

TEST_CASE("sources have their own ids and order; results come as they are ready") {
  Pipeline pipe{fake_chain({{.batch = 3}, {}}), {.depth = 12, .batch_timeout = 1ms}};
  std::vector<Source> sources;
  for (int s = 0; s < 3; ++s) sources.push_back(pipe.source({.name = "cam" + std::to_string(s)}));
  CHECK(sources[1].name() == "cam1");
  std::vector<std::jthread> pushers;
  for (int s = 0; s < 3; ++s) {
    pushers.emplace_back([&, s] {
      for (int n = 0; n < 100; ++n) sources[static_cast<std::size_t>(s)].push(frame(1000 * s + n));
    });
  }
  std::array<int, 3> next{};
  for (int n = 0; n < 300; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result);
    const int s = result->source().back() - '0';
    const int expected = next[static_cast<std::size_t>(s)]++;
    CHECK(result->id() == static_cast<std::uint64_t>(expected));
    CHECK(result->floats()[0] == static_cast<float>(1000 * s + expected));
  }
  const PipelineStats stats = pipe.stats();
  REQUIRE(stats.sources.size() == 4);  // and the default one
  for (std::size_t s = 1; s < 4; ++s) {
    CHECK(stats.sources[s].pushed == 100);
    CHECK(stats.sources[s].delivered == 100);
  }
}

TEST_CASE("infer delivers privately, beside a stream") {
  Pipeline pipe{one({.compute = on_floats([](float x) { return -x; })})};
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  const Result own = pipe.infer(frame(42));
  REQUIRE(own.ok());
  CHECK(own.floats()[0] == -42);
  const auto streamed = pipe.pop();
  REQUIRE(streamed);
  CHECK(streamed->floats()[0] == -1);
  CHECK_FALSE(pipe.try_pop());
  CHECK_THROWS_AS(pipe.infer(std::array<float, 3>{}), Error);
  pipe.close();
  CHECK_THROWS_AS(pipe.infer(frame(1)), Error);
  CHECK_FALSE(pipe.pop());
}

TEST_CASE("warm-up runs zeros through every stage and counts nowhere") {
  FakeLog log;
  std::atomic<int> not_zero{0};
  FakeOptions first{.batch = 4, .log = &log};
  first.compute = [&](auto in, auto) { not_zero += reinterpret_cast<const float*>(in[0].data)[1] != 0; };
  Pipeline pipe{fake_chain({first, {}}), {.depth = 8, .batch_timeout = 1ms}};
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  REQUIRE(pipe.pop());
  CHECK(not_zero == 1);
  pipe.warm_up();
  CHECK(not_zero == 1);
  CHECK(log.frames == 9);
  pipe.warm_up(3);
  CHECK(log.frames == 12);
  CHECK_FALSE(pipe.try_pop());
  const PipelineStats stats = pipe.stats();
  CHECK(stats.stages[0].frames == 1);
  CHECK(stats.stages[0].batches == 1);
  CHECK(stats.sources.size() == 1);
  CHECK(stats.in_flight == 0);
  pipe.close();
  CHECK_THROWS_AS(pipe.warm_up(), Error);
}

TEST_CASE("statistics add up") {
  Pipeline pipe{fake_chain({{.name = "head", .device = "dpu:9", .batch = 2}, {.name = "tail"}}),
                {.depth = 4}};
  for (int n = 0; n < 2000; ++n) {
    REQUIRE(pipe.push(frame(n)) == Push::queued);
    REQUIRE(pipe.push(frame(n)) == Push::queued);
    REQUIRE(pipe.pop());
    REQUIRE(pipe.pop());
  }
  const PipelineStats stats = pipe.stats();
  REQUIRE(stats.stages.size() == 2);
  CHECK(stats.stages[0].name == "head");
  CHECK(stats.stages[0].device == "dpu:9");
  CHECK(stats.stages[0].frames == 4000);
  CHECK(stats.stages[1].frames == 4000);
  CHECK(stats.stages[1].batches == 4000);
  CHECK(stats.stages[0].batches >= 2000);
  CHECK(stats.stages[0].busy_ms > 0);
  CHECK(stats.stages[0].wait_ms > 0);
  CHECK(stats.stages[0].run_ms_p50 <= stats.stages[0].run_ms_p99);
  CHECK(stats.latency_ms_p50 > 0);
  CHECK(stats.latency_ms_p50 <= stats.latency_ms_p99);
  CHECK(stats.interval_ms > 0);
  CHECK(stats.sources[0].pushed == 4000);
  CHECK(stats.sources[0].delivered == 4000);
  CHECK(stats.in_flight == 0);
  CHECK(stats.depth == 4);
}

TEST_CASE("HostStages are stages with workers of their own") {
  const std::vector<TensorSpec> a{{.name = "a", .shape = {2}}}, b{{.name = "b", .shape = {2}}},
      c{{.name = "c", .shape = {1}}};
  std::vector<std::unique_ptr<Stage>> stages;
  std::thread::id first, second;
  stages.push_back(std::make_unique<HostStage>("one", a, b, [&](auto in, auto out) {
    first = std::this_thread::get_id();
    on_floats([](float x) { return x + 1; })(in, out);
  }));
  stages.push_back(std::make_unique<HostStage>("two", b, c, [&](auto in, auto out) {
    second = std::this_thread::get_id();
    const auto* x = reinterpret_cast<const float*>(in[0].data);
    if (x[0] == 14) throw std::runtime_error{"unlucky"};
    *reinterpret_cast<float*>(out[0].data) = x[0] + x[1];
  }));
  Pipeline pipe{std::move(stages)};
  const Result sum = pipe.infer(frame(5));
  REQUIRE(sum.floats()[0] == 7.5f);
  CHECK(first != second);
  const Result failed = pipe.infer(frame(13));
  CHECK_FALSE(failed.ok());
  CHECK(failed.failed_stage() == "two");
  CHECK(failed.status().message.find("unlucky") != std::string::npos);
  CHECK(pipe.infer(frame(5)).ok());
}
