// Live frames through a split pipeline: from a V4L2 camera, or raw frames on stdin.
//
//     20_camera MODEL --calibration frames.f32 --device /dev/video0
//     ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | 20_camera MODEL --calibration frames.f32 --size
//     640x360
//
// A camera cannot wait, so its oldest waiting frame is given up when the devices are slower; a file can, so
// nothing is dropped.
#include <csignal>
#include <cstdio>
#include <exception>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <thread>
#include <vector>

#include "v4l2_camera.hpp"

namespace sc = splitcnn;

namespace {

struct Options {
  std::string model, calibration, devices = "dpu:0,gpu:0", camera, format = "rgb";
  int width = 640, height = 480;
};

volatile std::sig_atomic_t stop = 0;

void grab_stdin(sc::Pipeline& pipe, const Options& o) {
  const bool gray = o.format == "gray";
  const std::size_t stride = static_cast<std::size_t>(o.width) * (gray ? 1 : 3);
  std::vector<std::uint8_t> pixels(stride * static_cast<std::size_t>(o.height));
  const sc::CameraFrame frame{.format = gray ? sc::PixelFormat::gray : sc::PixelFormat::rgb,
                              .width = o.width,
                              .height = o.height,
                              .planes = {pixels.data()},
                              .strides = {stride}};
  while (!stop && std::fread(pixels.data(), 1, pixels.size(), stdin) == pixels.size()) {
    if (pipe.push(frame) == sc::Push::closed) break;
  }
}

void run(const Options& o) {
  sc::OpenOptions options{.calibration = o.calibration};
  if (!o.camera.empty()) options.pipeline.overflow = sc::Overflow::drop_oldest;
  sc::Pipeline pipe = sc::open(o.model, o.devices, options);
  std::fprintf(stderr, "%s\n", pipe.plan()->why().c_str());

  std::exception_ptr trouble;
  std::jthread grab{[&] {
    try {
      if (o.camera.empty()) {
        grab_stdin(pipe, o);
      } else {
        Camera camera{o.camera, o.width, o.height};
        while (!stop && camera.grab(pipe) != sc::Push::closed) {
        }
      }
    } catch (...) {
      trouble = std::current_exception();
    }
    pipe.close();
  }};
  while (const auto result = pipe.pop()) {
    if (!result->ok()) {
      std::fprintf(stderr, "frame %llu failed: %s\n", static_cast<unsigned long long>(result->id()),
                   result->status().message.c_str());
      continue;
    }
    const sc::Score best = result->top(1).at(0);
    std::printf("%llu  %s  %.3f  %.2f ms\n", static_cast<unsigned long long>(result->id()),
                best.label.empty() ? std::to_string(best.index).c_str() : best.label.c_str(), best.value,
                result->latency().count());
  }
  grab.join();
  if (trouble) std::rethrow_exception(trouble);
  const sc::PipelineStats stats = pipe.stats();
  std::fprintf(stderr, "%llu frames, %llu dropped, %.2f ms between results, latency p50 %.2f ms\n",
               static_cast<unsigned long long>(stats.sources.at(0).delivered),
               static_cast<unsigned long long>(stats.sources.at(0).dropped), stats.interval_ms,
               stats.latency_ms_p50);
}

}  // namespace

int main(int argc, char** argv) try {
  Options o;
  const auto usage =
      "usage: 20_camera MODEL [--calibration FRAMES.f32] [--devices dpu:0,gpu:0] [--size 640x480]\n"
      "                 [--device /dev/video0 | --format rgb|gray (raw frames on stdin)]\n";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const bool more = i + 1 < argc;
    if (arg == "--help") return std::fputs(usage, stdout), 0;
    if (arg == "--calibration" && more)
      o.calibration = argv[++i];
    else if (arg == "--devices" && more)
      o.devices = argv[++i];
    else if (arg == "--device" && more)
      o.camera = argv[++i];
    else if (arg == "--format" && more &&
             (std::string{argv[i + 1]} == "rgb" || std::string{argv[i + 1]} == "gray"))
      o.format = argv[++i];
    else if (arg == "--size" && more && std::sscanf(argv[i + 1], "%dx%d", &o.width, &o.height) == 2 &&
             o.width > 0 && o.height > 0 && o.width <= 16384 && o.height <= 16384)
      ++i;
    else if (o.model.empty() && arg[0] != '-')
      o.model = arg;
    else
      return std::fprintf(stderr, "20_camera: '%s' is not understood here; see --help\n", arg.c_str()), 2;
  }
  if (o.model.empty()) return std::fprintf(stderr, "20_camera: which model? See --help\n"), 2;
  std::signal(SIGINT, [](int) { stop = 1; });
  run(o);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "20_camera: %s\n", e.what());
  return 1;
}
