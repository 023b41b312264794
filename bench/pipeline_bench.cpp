// What does the pipeline itself cost per frame? Stages that do nothing, frames of a few bytes; JSON lines.
//
//   interval: frames pushed and popped by two threads, all tokens in use.   latency: infer(), one frame at a
//   time.
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <thread>
#include <vector>

#include "splitcnn/pipeline.hpp"

namespace {

using namespace splitcnn;

std::vector<std::unique_ptr<Stage>> empty_stages(std::size_t n) {
  const auto spec = [](std::size_t i) {
    return std::vector<TensorSpec>{{.name = "t" + std::to_string(i), .shape = {1, 4}}};
  };
  std::vector<std::unique_ptr<Stage>> stages;
  for (std::size_t i = 0; i < n; ++i) {
    stages.push_back(
        std::make_unique<HostStage>("empty" + std::to_string(i), spec(i), spec(i + 1), [](auto, auto) {}));
  }
  return stages;
}

constexpr std::array<float, 4> frame{};

double stream_us(std::size_t stages, std::size_t frames, std::optional<Trace> trace = {}) {
  Pipeline pipe{empty_stages(stages), {.depth = 16, .trace = std::move(trace)}};
  pipe.warm_up();
  const auto start = Clock::now();
  std::jthread pusher{[&] {
    for (std::size_t n = 0; n < frames; ++n) pipe.push(frame);
    pipe.close();
  }};
  while (pipe.pop()) {
  }
  return Millis{Clock::now() - start}.count() * 1000 / static_cast<double>(frames);
}

std::vector<double> infer_us(std::size_t stages, std::size_t frames) {
  Pipeline pipe{empty_stages(stages)};
  pipe.warm_up();
  std::vector<double> times;
  for (std::size_t n = 0; n < frames; ++n) {
    const auto start = Clock::now();
    const Result result = pipe.infer(frame);
    times.push_back(Millis{Clock::now() - start}.count() * 1000);
  }
  return times;
}

void report(const char* what, std::size_t stages, std::vector<double> us) {
  std::sort(us.begin(), us.end());
  std::printf(
      "{\"name\": \"pipeline_%s\", \"stages\": %zu, \"median_us\": %.2f, \"p99_us\": %.2f, \"runs\": %zu, "
      "\"device\": \"cpu\", "
      "\"backend\": \"host\", \"threads\": %zu, \"version\": \"%s\"}\n",
      what, stages, us[us.size() / 2], us[us.size() * 99 / 100], us.size(), stages + 2, version());
}

/// Stages that compute for `run_us` each: what tracing costs where a network runs, not where nothing does.
double busy_us(double run_us, std::size_t frames, std::optional<Trace> trace) {
  const auto spec = [](std::size_t i) {
    return std::vector<TensorSpec>{{.name = "t" + std::to_string(i), .shape = {1, 4}}};
  };
  std::vector<std::unique_ptr<Stage>> stages;
  for (std::size_t i = 0; i < 2; ++i) {
    stages.push_back(std::make_unique<HostStage>("busy" + std::to_string(i), spec(i), spec(i + 1), [run_us](auto, auto) {
      const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::micro>{run_us});
      while (Clock::now() < until) {
      }
    }));
  }
  Pipeline pipe{std::move(stages), {.depth = 16, .trace = std::move(trace)}};
  const auto start = Clock::now();
  std::jthread pusher{[&] {
    for (std::size_t n = 0; n < frames; ++n) pipe.push(frame);
    pipe.close();
  }};
  while (pipe.pop()) {
  }
  return Millis{Clock::now() - start}.count() * 1000 / static_cast<double>(frames);
}

/// Off and on in turn; the ratio is that of the medians.
template <class Run>
void report_tracing(const char* name, std::size_t runs, const Run& run) {
  std::vector<double> off, on;
  for (std::size_t i = 0; i < runs; ++i) {
    off.push_back(run(std::nullopt));
    on.push_back(run(std::optional{Trace{}}));
  }
  std::sort(off.begin(), off.end());
  std::sort(on.begin(), on.end());
  std::printf(
      "{\"name\": \"%s\", \"off_us\": %.3f, \"on_us\": %.3f, \"throughput_on_over_off\": %.4f, \"runs\": %zu, \"version\": \"%s\"}\n", name,
      off[runs / 2], on[runs / 2], off[runs / 2] / on[runs / 2], runs, version());
}

}  // namespace

int main() {
  constexpr std::size_t runs = 15, frames = 20'000;
  for (const std::size_t stages : {1, 3}) {
    std::vector<double> intervals;
    for (std::size_t run = 0; run < runs; ++run) intervals.push_back(stream_us(stages, frames));
    report("interval", stages, std::move(intervals));
    report("latency", stages, infer_us(stages, frames));
  }
  report_tracing("tracing_empty_stages", runs, [](auto trace) { return stream_us(1, 20'000, std::move(trace)); });
  report_tracing("tracing_100us_stages", runs, [](auto trace) { return busy_us(100, 3'000, std::move(trace)); });
}
