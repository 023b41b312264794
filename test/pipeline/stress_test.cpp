// Every pushed frame is delivered, dropped or failed exactly once, in order per source, in flat memory,
// whatever happens.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

constexpr std::size_t n_sources = 4;

/// Plain builds stay within some 0.1 MB. The address sanitizer keeps freed memory for a while, the thread
/// sanitizer history.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double allowed_drift_mb = 300;
#else
constexpr double allowed_drift_mb = 4;
#endif

double resident_mb() {
  std::ifstream statm{"/proc/self/statm"};
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

/// What the test itself knows about one source.
struct Ledger {
  std::uint64_t accepted = 0, dropped_at_push = 0;    // pusher's
  std::uint64_t delivered = 0, failed = 0, next = 0;  // popper's; `next` is the lowest id that may still come
  std::uint64_t out_of_order = 0, wrong = 0;
};

/// One source: frames carry (source, number); about one in 16 goes through a slot, some slots are given back.
void push_frames(Source source, std::size_t s, std::size_t frames, std::uint64_t random_seed,
                 Ledger& ledger) {
  std::mt19937_64 random{random_seed};
  for (std::size_t n = 0; n < frames; ++n) {
    const std::array<float, 2> frame{static_cast<float>(s), static_cast<float>(n)};
    Push outcome{};
    const FrameInfo info{.timestamp_ns = static_cast<std::int64_t>(n), .tag = s};
    if (random() % 16 == 0) {
      auto slot = source.acquire();
      if (slot && random() % 8 == 0) continue;  // given back, not counted
      if (slot) {
        std::memcpy(slot->input().data, frame.data(), sizeof frame);
        outcome = source.push(std::move(*slot), info);
      } else {
        outcome = Push::dropped;  // or closed: the next push tells
      }
    } else {
      outcome = source.push(frame, info);
    }
    if (outcome == Push::closed) return;
    ++(outcome == Push::queued ? ledger.accepted : ledger.dropped_at_push);
  }
}

/// One life of a pipeline: four sources of every policy, failing stages, sources and pipeline closed at
/// random moments.
std::uint64_t one_life(std::mt19937_64& random, std::size_t frames_per_source, bool close_early) {
  FakeLog logs[3];
  const std::size_t depth = random() % 4 == 0 ? 1 + random() % 5 : 0;
  Pipeline pipe{
      fake_chain({{.fail_every = 97, .log = &logs[0]},
                  {.batch = 6, .in_flight = 2, .fail_every = 41, .throw_every = 53, .log = &logs[1]},
                  {.throw_every = 211, .log = &logs[2]}}),
      {.depth = depth, .batch_timeout = Millis{0.05}}};
  std::vector<Source> sources;
  std::array<Ledger, n_sources> ledgers{};
  for (std::size_t s = 0; s < n_sources; ++s) {
    sources.push_back(pipe.source(
        {.name = std::string(1, static_cast<char>('0' + s)), .overflow = static_cast<Overflow>(s % 3)}));
  }
  std::vector<std::jthread> pushers;
  for (std::size_t s = 0; s < n_sources; ++s) {
    pushers.emplace_back(push_frames, sources[s], s, frames_per_source, random(), std::ref(ledgers[s]));
  }
  const std::uint64_t close_source_at = close_early ? random() % (frames_per_source * 2) : UINT64_MAX;
  const std::uint64_t close_at = close_early ? random() % (frames_per_source * 4) : UINT64_MAX;
  const std::uint64_t hold_seed = random();
  std::atomic<std::uint64_t> popped{0};
  std::jthread popper{[&] {
    std::mt19937_64 hold{hold_seed};
    std::optional<Result> held;  // now and then a result is kept for a while
    while (auto result = pipe.pop()) {
      const std::size_t s = static_cast<std::size_t>(result->source()[0] - '0');
      Ledger& ledger = ledgers[s];
      if (result->id() < ledger.next) ++ledger.out_of_order;
      ledger.next = result->id() + 1;
      if (result->info().tag != s) ++ledger.wrong;
      if (result->ok()) {
        ++ledger.delivered;
        const auto values = result->floats();
        if (values[0] != static_cast<float>(s) ||
            values[1] != static_cast<float>(result->info().timestamp_ns))
          ++ledger.wrong;
      } else {
        ++ledger.failed;
      }
      const std::uint64_t count = ++popped;
      if (count == close_source_at) sources[1].close();
      if (count == close_at) pipe.close();
      if (hold() % 32 == 0 && depth != 1) held = std::move(result);
    }
  }};
  pushers.clear();
  pipe.close();
  popper.join();

  const PipelineStats stats = pipe.stats();
  CHECK(stats.in_flight == 0);
  for (std::size_t s = 0; s < n_sources; ++s) {
    const SourceStats& counted = stats.sources[s + 1];
    const Ledger& known = ledgers[s];
    CHECK(known.out_of_order == 0);
    CHECK(known.wrong == 0);
    CHECK(counted.delivered == known.delivered);
    CHECK(counted.failed == known.failed);
    CHECK(counted.pushed == counted.delivered + counted.failed + counted.dropped);
    CHECK(counted.pushed >= known.accepted);
    CHECK(counted.pushed <= known.accepted + known.dropped_at_push);
    CHECK(counted.dropped <= known.dropped_at_push + known.accepted);
    if (s % 3 == 0) CHECK(counted.dropped == 0);  // block never drops
  }
  for (const FakeLog& log : logs) CHECK(log.breaches == 0);
  std::uint64_t pushed = 0;
  for (const SourceStats& s : stats.sources) pushed += s.pushed;
  return pushed;
}

void stress(std::size_t frames) {
  std::mt19937_64 random{seed()};
  std::uint64_t pushed = 0;
  double settled = 0;
  for (std::size_t life = 0; pushed < frames; ++life) {
    // Many short lives closed at random moments, and long ones that run to the end.
    const bool close_early = life % 4 != 3;
    pushed += one_life(random, close_early ? 500 : std::max<std::size_t>(frames / 40, 1000), close_early);
    if (settled == 0 && pushed >= frames / 5) settled = resident_mb();
  }
  const double drift = resident_mb() - settled;
  std::printf("%llu frames; resident memory %.1f MB after a fifth of them, %+.2f MB since\n",
              static_cast<unsigned long long>(pushed), settled, drift);
  CHECK(drift < allowed_drift_mb);
}

}  // namespace

TEST_CASE("20,000 frames: each delivered, dropped or failed exactly once") { stress(20'000); }

TEST_CASE("1,000,000 frames: each delivered, dropped or failed exactly once", "[soak]") { stress(1'000'000); }
