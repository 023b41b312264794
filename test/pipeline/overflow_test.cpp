// Tokens: what push does when they are all taken, slots, and results that keep theirs.
#include <array>
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using namespace std::chrono_literals;

namespace {

SourceStats stats_of(const Pipeline& pipe, const std::string& name) {
  for (const SourceStats& s : pipe.stats().sources) {
    if (s.name == name) return s;
  }
  FAIL("no source " << name);
  return {};
}

}  // namespace

TEST_CASE("drop_newest gives up the new frame") {
  Gate gate;
  Pipeline pipe{one({.gate = &gate}), {.overflow = Overflow::drop_newest, .depth = 3}};
  for (int n = 0; n < 3; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  for (int n = 3; n < 6; ++n) REQUIRE(pipe.push(frame(n)) == Push::dropped);
  CHECK(stats_of(pipe, "default").dropped == 3);
  CHECK(stats_of(pipe, "default").pushed == 6);
  gate.open();
  for (int n = 0; n < 3; ++n) CHECK(pipe.pop()->floats()[0] == static_cast<float>(n));
  REQUIRE(pipe.push(frame(6)) == Push::queued);
  CHECK(pipe.pop()->id() == 6);  // the gap is the drops
}

TEST_CASE("drop_oldest gives up the oldest frame no stage has started") {
  Gate gate;
  Pipeline pipe{one({.gate = &gate}), {.overflow = Overflow::drop_oldest, .depth = 3}};
  REQUIRE(pipe.push(frame(0)) == Push::queued);
  gate.wait_arrived(1);  // 0 is started, the others wait
  for (int n = 1; n < 7; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  CHECK(stats_of(pipe, "default").dropped == 4);
  gate.open();
  std::vector<std::uint64_t> ids;
  for (int n = 0; n < 3; ++n) ids.push_back(pipe.pop()->id());
  CHECK(ids == std::vector<std::uint64_t>{0, 5, 6});
}

TEST_CASE("drop_oldest else gives up the oldest result nobody has popped") {
  FakeLog log;
  Pipeline pipe{one({.log = &log}), {.overflow = Overflow::drop_oldest, .depth = 2}};
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  while (pipe.stats().latency_ms_p50 == 0 || log.frames < 2) std::this_thread::yield();
  auto held = pipe.pop();  // 0
  CHECK(held->id() == 0);
  // 1 is a result or about to be one; 2 takes its token, 3 takes 2's.
  REQUIRE(pipe.push(frame(2)) != Push::closed);
  held.reset();
  pipe.close();
  std::uint64_t last = 0;
  while (auto result = pipe.pop()) last = result->id();
  CHECK(last >= 1);
  const SourceStats s = stats_of(pipe, "default");
  CHECK(s.pushed == 3);
  CHECK(s.delivered + s.dropped == 3);
}

TEST_CASE("drop_oldest: unpopped results make room, newest kept") {
  Pipeline pipe{one({}), {.overflow = Overflow::drop_oldest, .depth = 2}};
  std::uint64_t done = 0;
  for (int n = 0; n < 50; ++n) {
    if (pipe.push(frame(n)) != Push::queued) continue;
    // Nobody pops, so a finished frame always holds a token that the next push can take.
    while (pipe.stats().stages[0].frames <= done) std::this_thread::yield();
    done = pipe.stats().stages[0].frames;
  }
  pipe.close();
  std::vector<std::uint64_t> ids;
  while (auto result = pipe.pop()) ids.push_back(result->id());
  CHECK(ids == std::vector<std::uint64_t>{48, 49});
}

TEST_CASE("drop_oldest gives up this frame when all of its own are being worked on") {
  Gate gate;
  Pipeline pipe{one({.batch = 2, .gate = &gate}), {.overflow = Overflow::drop_oldest, .depth = 2}};
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  gate.wait_arrived(1);
  CHECK(pipe.push(frame(2)) == Push::dropped);
  Source other = pipe.source({.name = "other", .overflow = Overflow::drop_oldest});
  CHECK(other.push(frame(3)) == Push::dropped);  // never at the cost of another source
  gate.open();
  CHECK(pipe.pop()->id() == 0);
  CHECK(pipe.pop()->id() == 1);
}

TEST_CASE("block waits for a token; held results keep theirs") {
  Pipeline pipe{one({}), {.depth = 2}};
  REQUIRE(pipe.push(frame(0)) == Push::queued);
  REQUIRE(pipe.push(frame(1)) == Push::queued);
  auto first = pipe.pop();
  auto second = pipe.pop();
  CHECK(pipe.stats().in_flight == 2);
  std::atomic<bool> pushed{false};
  std::jthread pusher{[&] {
    pipe.push(frame(2));
    pushed = true;
  }};
  CHECK_FALSE(pipe.pop_for(1ms));
  CHECK_FALSE(pushed);
  CHECK(first->floats()[0] == 0);  // still there
  first.reset();
  CHECK(pipe.pop()->id() == 2);
  Result moved = std::move(*second);
  CHECK(moved.id() == 1);
  CHECK_FALSE(second->ok());
  CHECK_THROWS_AS(second->bytes(), Error);
  second = std::nullopt;
  CHECK(pipe.stats().in_flight == 1);
}

TEST_CASE("a source that drops is not kept out by one that blocks") {
  Pipeline pipe{one({}), {.depth = 3}};
  Source front = pipe.source({.name = "front", .overflow = Overflow::drop_newest});
  Source rear = pipe.source({.name = "rear"});
  std::vector<std::jthread> pushers;
  for (int t = 0; t < 6; ++t) {
    pushers.emplace_back([&] {
      while (rear.push(frame(0)) != Push::closed) {
      }
    });
  }
  while (stats_of(pipe, "rear").pushed < 3) std::this_thread::yield();
  int queued = 0, tried = 0;
  for (; queued < 50 && tried < 5000; ++tried) {
    queued += front.push(frame(1)) == Push::queued;
    REQUIRE(pipe.pop());
  }
  pipe.close();
  CHECK(queued == 50);
}

TEST_CASE("the reserve of a source that dropped goes back when it closes") {
  Gate gate;
  Pipeline pipe{one({.gate = &gate}), {.depth = 2}};
  Source front = pipe.source({.name = "front", .overflow = Overflow::drop_newest});
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.push(frame(n)) == Push::queued);
  CHECK(front.push(frame(9)) == Push::dropped);
  gate.open();
  for (int n = 0; n < 2; ++n) REQUIRE(pipe.pop());
  CHECK(pipe.stats().in_flight == 0);
  front.close();
  CHECK(front.push(frame(9)) == Push::closed);
  const auto a = pipe.acquire(), b = pipe.acquire();
  CHECK((a && b));
}

TEST_CASE("slots: fill in place, push, or give back") {
  Pipeline pipe{one({}), {.overflow = Overflow::drop_newest, .depth = 2}};
  auto slot = pipe.acquire();
  REQUIRE(slot);
  const TensorView view = slot->input();
  REQUIRE(view.data);
  CHECK(view.spec->name == "x");
  CHECK(slot->input(1).data == nullptr);
  reinterpret_cast<float*>(view.data)[0] = 17;
  auto other = pipe.acquire();
  REQUIRE(other);
  CHECK_FALSE(pipe.acquire());
  CHECK(pipe.push(frame(0)) == Push::dropped);
  other.reset();  // gives the token back
  CHECK(pipe.stats().in_flight == 1);
  CHECK(pipe.push(std::move(*slot), {.tag = 5}) == Push::queued);
  const auto result = pipe.pop();
  CHECK(result->floats()[0] == 17);
  CHECK(result->info().tag == 5);
  CHECK(result->id() == 2);  // two drops before it
  CHECK_THROWS_AS(pipe.push(std::move(*slot)), Error);

  Pipeline elsewhere{one({})};
  auto foreign = elsewhere.acquire();
  CHECK_THROWS_AS(pipe.push(std::move(*foreign)), Error);
  CHECK(elsewhere.stats().in_flight == 0);
}

TEST_CASE("pushes are checked before they take anything") {
  Pipeline pipe{one({}), {.depth = 1}};
  CHECK_THROWS_AS(pipe.push(std::array<float, 3>{}), Error);
  const std::array<std::byte, 8> bytes{};
  const std::span<const std::byte> good{bytes};
  const std::array<std::span<const std::byte>, 2> two{good, good};
  CHECK_THROWS_AS(pipe.push(std::span<const std::span<const std::byte>>{two}), Error);
  CHECK_THROWS_AS(pipe.push(CameraFrame{}), Error);
  CHECK(pipe.push(std::span{two}.first(1)) == Push::queued);
  CHECK(pipe.pop()->ok());
  CHECK(stats_of(pipe, "default").pushed == 1);

  Pipeline bytes_only{one({.inputs = {{.name = "x", .shape = {8}, .dtype = DType::i8}}})};
  try {
    bytes_only.push(frame(1));
    FAIL("floats into an i8 input");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::mismatch);
  }
}

TEST_CASE("a stage's own input buffers are used where they can be") {
  auto first = std::make_unique<FakeStage>(FakeOptions{.name = "a", .device = "a", .offer_inputs = true});
  FakeOptions second{.name = "b", .device = "b", .offer_inputs = true};
  second.inputs = {{.name = "y", .shape = {1, 2}}};
  second.outputs = {{.name = "z", .shape = {1, 2}}};
  std::atomic<int> offered{0};
  FakeStage* b_stage = nullptr;
  second.compute = [&](auto in, auto out) {
    offered += b_stage->was_offered(in[0].data);
    std::memcpy(out[0].data, in[0].data, in[0].bytes());
  };
  auto b = std::make_unique<FakeStage>(second);
  b_stage = b.get();
  FakeStage* a_stage = first.get();
  std::vector<std::unique_ptr<Stage>> stages;
  stages.push_back(std::move(first));
  stages.push_back(std::move(b));
  Pipeline pipe{std::move(stages), {.depth = 3}};
  for (int n = 0; n < 10; ++n) {
    auto slot = pipe.acquire();
    CHECK(a_stage->was_offered(slot->input().data));  // zero-copy capture into the first stage's memory
    *reinterpret_cast<float*>(slot->input().data) = static_cast<float>(n);
    REQUIRE(pipe.push(std::move(*slot)) == Push::queued);
    CHECK(pipe.pop()->floats()[0] == static_cast<float>(n));
  }
  CHECK(offered == 10);
}
