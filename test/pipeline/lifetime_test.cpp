// Closing and destroying at any moment, from any thread; what may outlive the pipeline.
#include <array>
#include <random>
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using namespace std::chrono_literals;

TEST_CASE("after close nothing is taken, what is in flight comes out") {
  Gate gate;
  Pipeline pipe{one({.gate = &gate}), {.depth = 3}};
  auto slot = pipe.acquire();
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  pipe.close();
  pipe.close();
  CHECK(pipe.push(frame(2)) == Push::closed);
  CHECK(pipe.push(std::move(*slot)) == Push::closed);
  CHECK_FALSE(pipe.acquire());
  try {
    const Source late = pipe.source({.name = "late"});
    FAIL("a source after close");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::closed);
  }
  gate.open();
  for (int n = 0; n < 2; ++n) CHECK(pipe.pop()->id() == static_cast<std::uint64_t>(n));
  CHECK_FALSE(pipe.pop());
  CHECK(pipe.stats().in_flight == 0);
}

TEST_CASE("closing a source leaves the others alone") {
  Pipeline pipe{one({}), {.depth = 2}};
  Source a = pipe.source({.name = "a"}), b = pipe.source({.name = "b"});
  Source copy = a;
  CHECK(a.push(frame(1)) == Push::queued);
  copy.close();
  CHECK(a.push(frame(2)) == Push::closed);
  CHECK_FALSE(a.acquire());
  CHECK(b.push(frame(3)) == Push::queued);
  CHECK(pipe.pop()->source() == "a");
  CHECK(pipe.pop()->source() == "b");
}

TEST_CASE("close wakes a push that blocks; so does closing its source") {
  for (const bool whole_pipeline : {true, false}) {
    Gate gate;
    Pipeline pipe{one({.gate = &gate}), {.depth = 1}};
    Source source = pipe.source({.name = "s"});
    REQUIRE(source.push(frame(0)) == Push::queued);
    std::array<Push, 3> outcomes{};
    {
      std::vector<std::jthread> pushers;
      for (Push& outcome : outcomes) pushers.emplace_back([&] { outcome = source.push(frame(1)); });
      gate.wait_arrived(1);
      if (whole_pipeline) {
        pipe.close();
      } else {
        source.close();
      }
    }
    for (const Push outcome : outcomes) CHECK(outcome == Push::closed);
    gate.open();
    CHECK(pipe.pop()->id() == 0);
  }
}

TEST_CASE("close wakes every pop that blocks") {
  Pipeline pipe{one({})};
  std::atomic<int> woken{0};
  {
    std::vector<std::jthread> poppers;
    for (int t = 0; t < 3; ++t) {
      poppers.emplace_back([&] {
        while (pipe.pop()) {
        }
        ++woken;
      });
    }
    for (int n = 0; n < 10; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
    pipe.close();
  }
  CHECK(woken == 3);
}

TEST_CASE("pop_for gives up after its time") {
  Pipeline pipe{one({})};
  CHECK_FALSE(pipe.pop_for(1ms));
  CHECK_FALSE(pipe.pop_for(0ms));
  CHECK_FALSE(pipe.pop_for(-5ms));
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  CHECK(pipe.pop_for(Millis{1e12}));
}

TEST_CASE("destruction gives up what is in flight; stages go before the pipeline is gone") {
  FakeLog log;
  Gate gate;
  std::atomic<bool> opened{false};
  {
    Pipeline pipe{fake_chain({{.submit_gate = &gate, .log = &log}, {.batch = 4, .log = &log}}),
                  {.depth = 8, .batch_timeout = Millis{1e9}}};
    for (int n = 0; n < 8; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
    gate.wait_arrived(1);
    gate.open();
    opened = true;
  }
  CHECK(log.destroyed == 2);
  CHECK(log.breaches == 0);
}

TEST_CASE("destruction does not wait for a batch that is past its deadline") {
  Gate gate;
  FakeLog log;
  {
    Pipeline pipe{one({.in_flight = 2, .gate = &gate, .log = &log}), {.depth = 4, .stage_deadline = 5ms}};
    for (int n = 0; n < 4; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
    CHECK_FALSE(pipe.pop()->ok());
  }
  CHECK(log.destroyed == 1);
}

TEST_CASE("results, sources and slots may outlive the pipeline") {
  std::optional<Result> ok, failed;
  std::optional<Source> source;
  std::optional<Slot> slot;
  FakeLog log;
  {
    Pipeline pipe{one({.fail_every = 2, .offer_inputs = true, .log = &log}), {.depth = 4}};
    source = pipe.source({.name = "cam"});
    REQUIRE(source->push(frame(5)) == Push::queued);
    REQUIRE(source->push(frame(6)) == Push::queued);
    ok = pipe.pop();
    failed = pipe.pop();
    slot = source->acquire();
  }
  CHECK(ok->floats()[0] == 5);
  CHECK(ok->spec().name == "y");
  CHECK(ok->source() == "cam");
  CHECK(failed->failed_stage() == "fake");
  CHECK_FALSE(failed->status().message.empty());
  CHECK(source->push(frame(7)) == Push::closed);
  CHECK_FALSE(source->acquire());
  CHECK(source->name() == "cam");
  std::memset(slot->input().data, 1, 8);  // memory of the stage, which therefore still lives
  CHECK(log.destroyed == 0);
  source->close();
  ok.reset();
  Result last = std::move(*failed);
  failed.reset();
  slot.reset();
  CHECK(last.id() == 1);
}

TEST_CASE("a pipeline moves, with its threads running") {
  FakeLog first, second;
  Pipeline a{one({.log = &first})};
  REQUIRE(a.push(frame(1)) == Push::queued);
  Pipeline b{std::move(a)};
  CHECK(b.pop()->floats()[0] == 1);
  Pipeline c{one({.log = &second})};
  REQUIRE(c.push(frame(2)) == Push::queued);
  c = std::move(b);
  CHECK(second.destroyed == 1);
  CHECK(first.destroyed == 0);
  REQUIRE(c.push(frame(3)) == Push::queued);
  CHECK(c.pop()->floats()[0] == 3);
}

TEST_CASE("close, from another thread, at any moment of a busy pipeline") {
  std::mt19937_64 random{seed()};
  for (int round = 0; round < 60; ++round) {
    FakeLog log;
    Pipeline pipe{fake_chain({{.batch = 3, .in_flight = 2, .log = &log}, {.batch = 2, .fail_every = 5}}),
                  {.depth = 1 + random() % 8, .batch_timeout = Millis{1}}};
    const Overflow overflow = static_cast<Overflow>(random() % 3);
    Source source = pipe.source({.name = "s", .overflow = overflow});
    const std::size_t close_at = random() % 60;
    std::atomic<std::uint64_t> accepted{0}, dropped{0}, popped{0};
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (Push p{}; p != Push::closed;) {
          p = source.push(frame(1));
          accepted += p == Push::queued;
          dropped += p == Push::dropped;
        }
      });
    }
    threads.emplace_back([&] {
      while (popped < close_at) std::this_thread::yield();
      pipe.close();
    });
    threads.emplace_back([&] {
      std::optional<std::uint64_t> last;
      while (auto result = pipe.pop()) {
        if (last && result->id() <= *last) ++log.breaches;
        last = result->id();
        ++popped;
      }
      popped += 1000;  // closed before close_at results: cannot happen, but must not hang
    });
    threads.clear();
    CHECK(log.breaches == 0);
    const PipelineStats stats = pipe.stats();
    const SourceStats& s = stats.sources[1];
    CHECK(s.pushed == accepted + dropped);
    CHECK(s.delivered + s.failed + s.dropped == s.pushed);
    CHECK(popped - 1000 == s.delivered + s.failed);
    CHECK(stats.in_flight == 0);
  }
}

TEST_CASE("destruction at any moment, while sources push and infer waits elsewhere") {
  std::mt19937_64 random{seed()};
  for (int round = 0; round < 60; ++round) {
    FakeLog log;
    std::vector<std::jthread> pushers;
    std::vector<Result> kept;
    {
      Pipeline pipe{fake_chain({{.batch = 2, .in_flight = 2, .log = &log}, {.log = &log}}),
                    {.depth = 2 + random() % 6, .batch_timeout = Millis{1}}};
      for (int t = 0; t < 3; ++t) {
        Source source = pipe.source({.name = "s", .overflow = static_cast<Overflow>(t)});
        pushers.emplace_back([source]() mutable {
          while (source.push(frame(1)) != Push::closed) {
            if (auto slot = source.acquire()) {
              std::memcpy(slot->input().data, frame(1).data(), 8);
              source.push(std::move(*slot));
            }
          }
        });
      }
      for (std::size_t n = random() % 20; n > 0; --n) REQUIRE(pipe.pop());
      if (auto result = pipe.pop()) kept.push_back(std::move(*result));
    }
    pushers.clear();
    for (const Result& result : kept) CHECK(result.floats()[0] == 1);
    CHECK(log.breaches == 0);
  }
}
