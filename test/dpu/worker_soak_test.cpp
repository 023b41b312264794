// Frames flow through a pipeline while its worker is killed and stopped at random: all arrive, in order, with
// the right bytes, and nothing is left behind.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "dpu/worker_case.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

namespace fs = std::filesystem;

struct Load {
  std::uint64_t frames = 0;
  int faults = 0;
  bool tcp = false;
  std::chrono::microseconds period{};  ///< of the camera
};

/// What was seen of one fault.
struct Recovery {
  bool stopped = false;
  double ms = 0;
};

constexpr std::size_t kinds_of_frames = 16;

/// A few frames whose results are known.
struct Known {
  Known(DpuWorkerCase& c, const DpuStage& stage) {
    c.fill(stage.inputs(), kinds_of_frames);
    REQUIRE(c.equal_to_software(kinds_of_frames) == false);  // computes the results; nothing was there before
    const auto [in, out] = c.views(0, kinds_of_frames);
    for (std::size_t i = 0; i < kinds_of_frames; ++i) {
      inputs.emplace_back(in[i].data, in[i].data + in[i].bytes());
      for (std::size_t o = 0; o < stage.outputs().size(); ++o) {
        const TensorView& view = out[i * stage.outputs().size() + o];
        outputs.emplace_back(view.data, view.data + view.bytes());
      }
    }
  }
  std::vector<std::vector<std::byte>> inputs, outputs;
};

/// Waits for the worker to be in service again; false when that takes too long.
bool wait_for_service(const DpuStage& stage, std::uint64_t restarts) {
  const auto give_up = Clock::now() + std::chrono::seconds{30};
  for (;;) {
    const DpuWorkerStats s = stage.worker_stats();
    if (s.state == DpuWorkerState::serving && s.restarts >= restarts) return true;
    if (Clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::microseconds{500});
  }
}

/// Hurts the worker `count` times, after random numbers of frames.
std::vector<Recovery> hurt(const DpuStage& stage, const std::atomic<std::uint64_t>& done, const Load& load) {
  std::mt19937_64 random{seed()};
  std::vector<Recovery> seen;
  const std::uint64_t distance = load.frames * 9 / 10 / static_cast<std::uint64_t>(load.faults);
  std::uint64_t next = 0;
  for (int i = 0; i < load.faults; ++i) {
    next += distance / 2 + random() % distance;
    while (done < std::min(next, load.frames - 1))
      std::this_thread::sleep_for(std::chrono::microseconds{200});
    if (!wait_for_service(stage, static_cast<std::uint64_t>(i))) break;
    static constexpr int signals[] = {SIGKILL, SIGABRT, SIGTERM, SIGSTOP};
    const int signal = signals[random() % std::size(signals)];
    const auto at = Clock::now();
    if (kill(static_cast<pid_t>(stage.worker_stats().pid), signal) != 0 ||
        !wait_for_service(stage, static_cast<std::uint64_t>(i) + 1))
      break;
    seen.push_back({signal == SIGSTOP, Millis{stage.worker_stats().serving_since - at}.count()});
  }
  return seen;
}

/// Processes anywhere on this machine that serve models of this folder: other tests have workers, too.
int workers_alive(const std::string& folder) {
  int count = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator{"/proc", error}) {
    std::ifstream words{entry.path() / "cmdline", std::ios::binary};
    const std::string line{std::istreambuf_iterator<char>{words}, {}};
    count += line.starts_with(SPLITCNN_TEST_WORKER) && line.find(folder) != std::string::npos;
  }
  return count;
}

bool shared_memory_mapped() {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find("splitcnn-dpu") != std::string::npos) return true;
  }
  return false;
}

struct Counts {
  std::size_t descriptors = open_descriptors(), processes = children().size();
};

void soak(const Load& load) {
  set_log_handler([](LogLevel, std::string_view) {});
  const Counts before;
  std::string folder;
  {
    DpuWorkerCase c{"small 0 3 6", load.tcp};
    folder = c.other_key().parent_path().string();
    CHECK(workers_alive(folder) == (load.tcp ? 1 : 0));  // the one that listens
    auto options = c.options();
    options.worker.deadline = Millis{100};
    options.worker.restarts = 1'000'000;  // unlimited
    auto owned = std::make_unique<DpuStage>(c.plan, c.plan.head(), options);
    DpuStage& stage = *owned;
    const Known known{c, stage};
    std::vector<std::unique_ptr<Stage>> stages;
    stages.push_back(std::move(owned));
    std::atomic<std::uint64_t> done{0};
    std::uint64_t in_order = 0, right = 0;
    std::vector<Recovery> seen;
    DpuWorkerStats stats;
    {
      Pipeline pipe{std::move(stages), {.depth = 24, .batch_timeout = Millis{5}}};
      std::jthread camera{[&] {
        auto next = Clock::now();
        for (std::uint64_t f = 0; f < load.frames; ++f) {
          const std::span<const std::byte> frame = known.inputs[f % kinds_of_frames];
          if (pipe.push(std::span{&frame, 1}) != Push::queued) break;
          next = std::max(next + load.period, Clock::now() - std::chrono::milliseconds{20});
          std::this_thread::sleep_until(next);
        }
        pipe.close();
      }};
      std::jthread enemy{[&] { seen = hurt(stage, done, load); }};
      const std::size_t outs = stage.outputs().size();
      while (auto result = pipe.pop()) {
        in_order += result->ok() && result->id() == done;
        bool same = result->ok();
        for (std::size_t o = 0; same && o < outs; ++o) {
          const auto& expected = known.outputs[done % kinds_of_frames * outs + o];
          same = std::equal(expected.begin(), expected.end(), result->bytes(o).begin());
        }
        right += same;
        ++done;
      }
      enemy.join();
      stats = stage.worker_stats();
    }
    CHECK(done == load.frames);
    CHECK(in_order == load.frames);
    CHECK(right == load.frames);
    REQUIRE(seen.size() == static_cast<std::size_t>(load.faults));
    CHECK(stats.worker_frames + stats.fallback_frames == load.frames);
    double exit_ms = 0, stop_ms = 0;
    for (const Recovery& r : seen)
      (r.stopped ? stop_ms : exit_ms) = std::max(r.stopped ? stop_ms : exit_ms, r.ms);
    std::printf(
        "{\"test\": \"worker_soak\", \"transport\": \"%s\", \"frames\": %llu, \"faults\": %d, "
        "\"worker_share\": %.4f, \"deaths\": %llu, \"timeouts\": %llu, "
        "\"slowest_recovery_ms_after_exit\": %.1f, \"after_stop\": %.1f, \"deadline_ms\": 100}\n",
        load.tcp ? "tcp" : "shared memory", static_cast<unsigned long long>(load.frames), load.faults,
        static_cast<double>(stats.worker_frames) / static_cast<double>(load.frames),
        static_cast<unsigned long long>(stats.deaths), static_cast<unsigned long long>(stats.timeouts),
        exit_ms, stop_ms);
    if (load.faults >= 100) {  // the long run is also held to the times
      CHECK(static_cast<double>(stats.worker_frames) >= 0.9 * static_cast<double>(load.frames));
      CHECK(exit_ms <= 300);
      CHECK(stop_ms <= 400);
    }
  }
  set_log_handler({});
  const Counts after;
  CHECK(after.descriptors == before.descriptors);
  CHECK(after.processes == before.processes);
  CHECK_FALSE(shared_memory_mapped());
  const auto give_up = Clock::now() + std::chrono::seconds{5};
  while (workers_alive(folder) > 0 && Clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  CHECK(workers_alive(folder) == 0);
}

}  // namespace

TEST_CASE("frames flow while the worker is killed and stopped", "[dpu]") {
  for (const bool tcp : {false, true})
    soak({.frames = 1500, .faults = 8, .tcp = tcp, .period = std::chrono::microseconds{700}});
}

TEST_CASE("100,000 frames while the worker is killed or stopped 200 times, shared memory", "[dpu][long]") {
  soak({.frames = 100'000, .faults = 200, .tcp = false, .period = std::chrono::microseconds{1500}});
}

TEST_CASE("100,000 frames while the worker is killed or stopped 200 times, TCP", "[dpu][long]") {
  soak({.frames = 100'000, .faults = 200, .tcp = true, .period = std::chrono::microseconds{1500}});
}
