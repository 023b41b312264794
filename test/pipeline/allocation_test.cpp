// After warm-up the flow of frames allocates nothing: every operator new of the process is counted. A program
// of its own, because it replaces operator new.
#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
  ++allocations;
  void* p = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  if (!p) throw std::bad_alloc{};
  return p;
}
}  // namespace

void* operator new(std::size_t n) { return counted(n); }
void* operator new[](std::size_t n) { return counted(n); }
void* operator new(std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

template <class Work>
std::uint64_t allocations_of(Work work) {
  const std::uint64_t before = allocations;
  work();
  return allocations - before;
}

Pipeline tiny_pipeline(PipelineOptions options) {
  return Pipeline{fake_chain({{}, {.batch = 6, .in_flight = 2}, {}}), options};
}

}  // namespace

TEST_CASE("push and pop of thousands of frames allocate nothing") {
  Pipeline pipe = tiny_pipeline({.batch_timeout = Millis{0.1}});
  Source source = pipe.source({.name = "camera with a name too long for the small-string optimisation"});
  const std::array<float, 2> frame{1, 2};
  const auto flow = [&](int frames) {
    for (int n = 0; n < frames; ++n) {
      for (int k = 0; k < 6; ++k) source.push(frame, {.tag = 1});
      for (int k = 0; k < 6; ++k) {
        auto result = pipe.pop();
        if (!result->ok() || result->floats()[0] != 1 || result->source().empty()) std::abort();
      }
    }
  };
  flow(10);
  CHECK(allocations_of([&] { flow(2000); }) == 0);
}

TEST_CASE("slots, infer, drops, blocked pushes and held results allocate nothing") {
  Pipeline pipe =
      tiny_pipeline({.overflow = Overflow::drop_oldest, .depth = 8, .batch_timeout = Millis{0.1}});
  Source blocking = pipe.source({.name = "blocking"});
  Source newest = pipe.source({.name = "newest", .overflow = Overflow::drop_newest});
  const std::array<float, 2> frame{1, 2};
  std::atomic<int> go{0};
  std::jthread other{[&] {  // started before counting begins
    while (blocking.push(frame) != Push::closed) ++go;
  }};
  std::optional<Result> held;
  std::jthread popper{[&] {
    for (int n = 0; auto result = pipe.pop(); ++n) {
      if (n % 8 == 0) held = std::move(result);
    }
  }};
  const auto flow = [&](int rounds) {
    for (int n = 0; n < rounds; ++n) {
      for (int k = 0; k < 4; ++k) pipe.push(frame);
      newest.push(frame);
      if (auto slot = pipe.acquire()) {
        slot->input().data[0] = std::byte{1};
        if (n % 2) pipe.push(std::move(*slot));
      }
      if (n % 4 == 0 && !pipe.infer(frame).ok()) std::abort();
    }
  };
  flow(50);
  while (go == 0) std::this_thread::yield();
  CHECK(allocations_of([&] { flow(1000); }) == 0);
  pipe.close();
}

TEST_CASE("a stream of failures allocates nothing of the pipeline's own") {
  // The stage's own sentence is short enough for a small string; ours is put into the frame's, whose capacity
  // stays.
  FakeOptions failing{.name = "a stage whose name alone needs memory", .log = nullptr};
  class Failing : public FakeStage {
   public:
    using FakeStage::FakeStage;
    Status wait(Ticket ticket, Clock::time_point deadline) override {
      (void)FakeStage::wait(ticket, deadline);
      return {Errc::stage_failed, "short"};
    }
  };
  std::vector<std::unique_ptr<Stage>> stages;
  stages.push_back(std::make_unique<Failing>(failing));
  Pipeline pipe{std::move(stages), {.depth = 3}};
  const std::array<float, 2> frame{1, 2};
  const auto flow = [&](int frames) {
    for (int n = 0; n < frames; ++n) {
      pipe.push(frame);
      if (pipe.pop()->ok()) std::abort();
    }
  };
  flow(10);
  CHECK(allocations_of([&] { flow(2000); }) == 0);
}
