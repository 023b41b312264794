// How long does one camera frame take to become a network's input? JSON lines: one per format, resize,
// sampling and type.
//
//     input_transform_bench [runs]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "splitcnn/input_transform.hpp"

namespace sc = splitcnn;

namespace {

struct Case {
  const char* name;
  sc::PixelFormat format;
  sc::Resize resize;
  sc::Sampling sampling;
  sc::DType dtype;
};

constexpr Case cases[] = {
    {"nv12_stretch_bilinear_i8", sc::PixelFormat::nv12, sc::Resize::stretch, sc::Sampling::bilinear,
     sc::DType::i8},
    {"nv12_center_crop_bilinear_i8", sc::PixelFormat::nv12, sc::Resize::center_crop, sc::Sampling::bilinear,
     sc::DType::i8},
    {"nv12_letterbox_bilinear_i8", sc::PixelFormat::nv12, sc::Resize::letterbox, sc::Sampling::bilinear,
     sc::DType::i8},
    {"nv12_stretch_area_i8", sc::PixelFormat::nv12, sc::Resize::stretch, sc::Sampling::area, sc::DType::i8},
    {"yuyv_stretch_bilinear_i8", sc::PixelFormat::yuyv, sc::Resize::stretch, sc::Sampling::bilinear,
     sc::DType::i8},
    {"rgb_stretch_bilinear_i8", sc::PixelFormat::rgb, sc::Resize::stretch, sc::Sampling::bilinear,
     sc::DType::i8},
    {"rgb_stretch_bilinear_f16", sc::PixelFormat::rgb, sc::Resize::stretch, sc::Sampling::bilinear,
     sc::DType::f16},
    {"rgb_stretch_bilinear_f32", sc::PixelFormat::rgb, sc::Resize::stretch, sc::Sampling::bilinear,
     sc::DType::f32},
    {"rgb_stretch_area_f32", sc::PixelFormat::rgb, sc::Resize::stretch, sc::Sampling::area, sc::DType::f32},
};

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::max(1, std::atoi(argv[1])) : 200;
  constexpr int width = 1280, height = 720;
  std::vector<std::uint8_t> bytes(std::size_t{3} * width * height);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 2654435761u >> 13);
  for (const Case& c : cases) {
    const std::size_t pixel = c.format == sc::PixelFormat::rgb    ? 3
                              : c.format == sc::PixelFormat::yuyv ? 2
                                                                  : 1;
    const sc::CameraFrame frame{.format = c.format,
                                .width = width,
                                .height = height,
                                .planes = {bytes.data(), bytes.data() + std::size_t{width} * height},
                                .strides = {pixel * width, width}};
    const sc::TensorSpec spec{.name = "input",
                              .shape = {1, 224, 224, 3},
                              .dtype = c.dtype,
                              .fix_point = c.dtype == sc::DType::i8 ? 6 : 0};
    sc::FrameConverter convert_frame{{.resize = c.resize,
                                      .sampling = c.sampling,
                                      .mean = {127, 127, 127},
                                      .scale = {0.0078f, 0.0078f, 0.0078f}},
                                     spec};
    sc::Tensor out{spec};
    std::vector<double> ms;
    for (int i = 0; i <= runs; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const sc::Status status = convert_frame(frame, out.bytes().data());
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
      if (!status.ok()) {
        std::fprintf(stderr, "%s: %s\n", c.name, status.message.c_str());
        return 1;
      }
      if (i > 0) ms.push_back(took.count());  // the first builds the tables
    }
    std::sort(ms.begin(), ms.end());
    const auto at = [&](std::size_t percent) {
      return ms[std::min(ms.size() - 1, ms.size() * percent / 100)];
    };
    std::printf(
        "{\"name\": \"input_transform_%s\", \"frame\": \"%dx%d\", \"network\": \"224x224\", \"median_ms\": "
        "%.4f, "
        "\"p99_ms\": %.4f, \"min_ms\": %.4f, \"runs\": %d, \"device\": \"cpu\", \"backend\": \"host\", "
        "\"threads\": 1, "
        "\"version\": \"%s\"}\n",
        c.name, width, height, at(50), at(99), ms.front(), runs, sc::version());
  }
  return 0;
}
