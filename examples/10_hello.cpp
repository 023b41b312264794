// A trained network, its frames, a split pipeline: what was chosen and why, what it sees, how fast, beside
// the baselines.
//
//     10_hello                      hand-written digits, on the software DPU and the CPU's stand-in for a GPU
//     10_hello --devices dpu:0,cpu  other devices
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <thread>
#include <vector>

namespace sc = splitcnn;

namespace {

const std::string data = SPLITCNN_EXAMPLE_DATA;
constexpr int side =
    8;  // the committed frames are 8x8, 8-bit gray; the network's input transform makes 32x32 of them

std::vector<std::uint8_t> read(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>{in}, {}};
  if (bytes.empty()) throw sc::Error{sc::Errc::io, path + ": cannot be read, or is empty"};
  return bytes;
}

struct Frames {
  std::vector<std::uint8_t> pixels = read(data + "/digits_test.gray");
  std::vector<std::uint8_t> labels = read(data + "/digits_test.labels");

  [[nodiscard]] std::size_t count() const { return labels.size(); }
  [[nodiscard]] sc::CameraFrame operator[](std::size_t i) const {
    return {.format = sc::PixelFormat::gray,
            .width = side,
            .height = side,
            .planes = {&pixels[(i % count()) * side * side]},
            .strides = {side}};
  }
};

/// Pushes every frame `rounds` times from a thread, as a camera would, and counts what comes out right.
std::size_t stream(sc::Pipeline& pipe, const Frames& frames, std::size_t rounds) {
  std::jthread camera{[&] {
    for (std::size_t i = 0; i < rounds * frames.count(); ++i) {
      if (pipe.push(frames[i], {.tag = frames.labels[i % frames.count()]}) == sc::Push::closed) return;
    }
    pipe.close();
  }};
  std::size_t right = 0;
  while (const auto result = pipe.pop()) {
    if (!result->ok()) throw sc::Error{result->status().code, result->status().message};
    if (static_cast<std::uint64_t>(result->top(1)[0].index) == result->info().tag) ++right;
  }
  return right;
}

/// One row of the table: the same frames, the same depth, whatever the plan.
void row(const char* name, sc::Plan plan, const sc::Plan& like, const std::string& devices,
         const Frames& frames) {
  plan.input_transform = like.input_transform;
  sc::Pipeline pipe{plan, sc::Devices::open(devices)};
  pipe.warm_up();
  constexpr std::size_t rounds = 10;
  const auto begin = sc::Clock::now();
  const std::size_t right = stream(pipe, frames, rounds);
  const double seconds = std::chrono::duration<double>(sc::Clock::now() - begin).count();
  const double n = static_cast<double>(rounds * frames.count());
  std::printf("%-11s %8.0f frames/s   latency p50 %6.3f ms   p99 %6.3f ms   %.2f %% right\n", name,
              n / seconds, pipe.stats().latency_ms_p50, pipe.stats().latency_ms_p99,
              100.0 * static_cast<double>(right) / n);
}

void run(const std::string& devices) {
  const Frames frames;
  sc::Pipeline pipe =
      sc::open(data + "/digits.onnx", devices, {.calibration = data + "/digits_calibration.f32"});
  const sc::Plan plan = *pipe.plan();
  std::printf("%s\n\n", plan.why().c_str());

  for (std::size_t i = 0; i < 3; ++i) {
    const sc::Result result = pipe.infer(frames[i]);
    std::printf("frame %zu shows a %d:", i, frames.labels[i]);
    for (const sc::Score& s : result.top(3)) std::printf("  %s (%.1f)", s.label.c_str(), s.value);
    std::printf("\n");
  }
  const std::size_t right = stream(pipe, frames, 1);
  std::printf("%zu of %zu right\n\n", right, frames.count());

  const std::string head = devices.substr(0, devices.find_first_of(",=/"));
  const std::string second = devices.substr(std::min(devices.size(), devices.find(',') + 1));
  const std::string tail = second.substr(0, second.find_first_of(",=/"));
  const sc::Partitioner parts{*plan.quant()};
  const sc::Profile profile = sc::measure(parts, sc::Devices::open(devices));
  row("split", plan, plan, devices, frames);
  row("all-DPU", parts.all_on(head, tail), plan, devices, frames);
  row("all-GPU", parts.all_on(tail), plan, devices, frames);
  row("interleave", parts.interleave(profile, head, tail), plan, devices, frames);
}

}  // namespace

int main(int argc, char** argv) try {
  std::string devices = "dpu:0,gpu:0";
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::puts("usage: 10_hello [--devices dpu:0,gpu:0]\nRuns the digits network split across two devices.");
      return 0;
    }
    if (std::strcmp(argv[i], "--devices") == 0 && i + 1 < argc) {
      devices = argv[++i];
    } else {
      std::fprintf(stderr, "10_hello: '%s' is not understood; see --help\n", argv[i]);
      return 2;
    }
  }
  if (devices.find(',') == std::string::npos) {
    std::fprintf(stderr, "10_hello: --devices takes two devices, head and tail; see --help\n");
    return 2;
  }
  run(devices);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "10_hello: %s\n", e.what());
  return 1;
}
