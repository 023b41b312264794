// A pipeline leaves nothing behind: no thread, no descriptor, no file, whatever it was doing when it went.
#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "splitcnn/splitcnn.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

std::size_t entries(const char* folder) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator{folder}) n += !entry.path().empty();
  return n;
}

struct Held {
  std::size_t threads = entries("/proc/self/task"), descriptors = entries("/proc/self/fd");
  friend bool operator==(const Held&, const Held&) = default;
};

/// The kernel takes a moment to forget a joined thread.
Held settled(const Held& wanted) {
  Held held;
  for (int i = 0; i < 200 && !(held == wanted); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
    held = {};
  }
  return held;
}

std::set<std::string> files() {
  std::set<std::string> names;
  for (const char* folder : {"/dev/shm", "."}) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator{folder, none}) names.insert(entry.path().string());
  }
  return names;
}

/// One life, ended in the `n`-th way.
void live(const Plan& plan, const char* devices, int n) {
  Trace trace{{.events = 1024}};
  PipelineOptions options{.depth = 4};
  if (n % 2 == 0) options.trace = trace;
  Pipeline pipe{plan, Devices::open(devices), options};
  const std::vector<float> frame(32 * 32, 0.5f);
  if (n % 5 == 0) REQUIRE(pipe.infer(std::span<const float>{frame}).ok());
  if (n % 3 == 0) (void)pipe.push(frame);
  if (n % 7 == 0) (void)pipe.source({.name = "second", .overflow = Overflow::drop_oldest}).push(frame);
  if (n % 4 == 1) {
    std::jthread elsewhere{[&] { pipe.close(); }};
    while (pipe.pop()) {
    }
  }
}

}  // namespace

TEST_CASE("a thousand pipelines open and close and leave no thread, descriptor or file") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 1)};
  const Plan plan = parts.split_at(3, "dpu:0", "cpu").with_fallback();
  for (int n = 0; n < 12; ++n) live(plan, "dpu:0=software,cpu", n);  // what stays once: the runtime's own
  const Held before;
  const std::set<std::string> files_before = files();
  for (int n = 0; n < 1000; ++n) live(plan, "dpu:0=software,cpu", n);
  const Held after = settled(before);
  CHECK(after.threads == before.threads);
  CHECK(after.descriptors == before.descriptors);
  CHECK(files() == files_before);
}
