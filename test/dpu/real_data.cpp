#include "dpu/real_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "support/temporary_folder.hpp"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace splitcnn_test {

namespace {

namespace fs = std::filesystem;
using splitcnn::Tensor;

std::vector<std::uint8_t> output_of(const std::string& command) {
  std::vector<std::uint8_t> bytes;
  const auto close = [](std::FILE* f) { pclose(f); };
  const std::unique_ptr<std::FILE, decltype(close)> pipe{popen((command + " 2>/dev/null").c_str(), "r"), close};
  if (!pipe) return bytes;
  std::vector<std::uint8_t> block(1 << 16);
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), pipe.get())) bytes.insert(bytes.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(n));
  return bytes;
}

Photo load(const fs::path& path) {
  Photo photo;
  int channels = 0;
  if (stbi_uc* data = stbi_load(path.c_str(), &photo.width, &photo.height, &channels, 3)) {
    photo.rgb.assign(data, data + static_cast<std::size_t>(photo.width) * static_cast<std::size_t>(photo.height) * 3);
    stbi_image_free(data);
  }
  return photo;
}

/// Bilinear value at a place given in pixels; edges repeat.
float sample(const Photo& p, double x, double y, int c) {
  const double cx = std::clamp(x, 0.0, p.width - 1.0), cy = std::clamp(y, 0.0, p.height - 1.0);
  const int x0 = static_cast<int>(cx), y0 = static_cast<int>(cy), x1 = std::min(x0 + 1, p.width - 1), y1 = std::min(y0 + 1, p.height - 1);
  const auto at = [&](int px, int py) { return static_cast<double>(p.rgb[static_cast<std::size_t>((py * p.width + px) * 3 + c)]); };
  const double fx = cx - x0, fy = cy - y0;
  return static_cast<float>((at(x0, y0) * (1 - fx) + at(x1, y0) * fx) * (1 - fy) + (at(x0, y1) * (1 - fx) + at(x1, y1) * fx) * fy);
}

/// Short side to `side`, then 224 x 224 at (u, v) of the room that is left, mirrored if asked.
Tensor crop(const Photo& p, int side, double u, double v, bool mirrored = false) {
  Tensor t{{.name = "image", .shape = {1, 3, 224, 224}}};
  const double step = std::min(p.width, p.height) / static_cast<double>(side);
  const double left = u * (p.width / step - 224), top = v * (p.height / step - 224);
  auto values = t.as<float>();
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 224; ++y) {
      for (int x = 0; x < 224; ++x) {
        const int from = mirrored ? 223 - x : x;
        const float value = sample(p, (left + from + 0.5) * step - 0.5, (top + y + 0.5) * step - 0.5, c);
        values[static_cast<std::size_t>((c * 224 + y) * 224 + x)] = (value - 128) / 128;
      }
    }
  }
  return t;
}

std::vector<Photo> video_frames(const fs::path& path, int every) {
  const std::string command = "ffmpeg -v error -i '" + path.string() + "' -vf \"select='not(mod(n," + std::to_string(every) +
                              "))',scale=456:256\" -vsync 0 -f rawvideo -pix_fmt rgb24 -";
  const auto bytes = output_of(command);
  constexpr std::size_t size = 456u * 256u * 3u;
  std::vector<Photo> frames;
  for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
    frames.push_back({456, 256, {bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(at + size)}});
  }
  return frames;
}

std::vector<fs::path> files(const fs::path& folder) {
  std::vector<fs::path> list;
  if (!fs::is_directory(folder)) return list;
  for (const auto& entry : fs::directory_iterator{folder}) {
    const auto extension = entry.path().extension();
    if (extension == ".jpg" || extension == ".bmp" || extension == ".mp4") list.push_back(entry.path());
  }
  std::sort(list.begin(), list.end());
  return list;
}

}  // namespace

std::vector<Tensor> mnist_digits(const std::string& data, std::size_t count) {
  const auto bytes = output_of("gzip -dc '" + data + "/mnist/t10k-images-idx3-ubyte.gz'");
  std::vector<Tensor> digits;
  for (std::size_t at = 16; digits.size() < count && at + 784 <= bytes.size(); at += 784) {
    Tensor t{{.name = "digit", .shape = {1, 1, 28, 28}}};
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 784, t.as<float>().begin());
    digits.push_back(std::move(t));
  }
  return digits;
}

std::vector<Tensor> cifar10_images(const std::string& data, std::size_t count) {
  const TemporaryFolder folder;
  output_of("tar -xzf '" + data + "/cifar10/cifar10_jpg_test.tar.gz' -C '" + folder.path().string() + "'");
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator{folder.path()}) {
    if (entry.path().extension() == ".jpg") paths.push_back(entry.path());
  }
  const auto key = [](const fs::path& p) { return std::pair{p.filename().string(), p.parent_path().filename().string()}; };
  std::sort(paths.begin(), paths.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  constexpr float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  std::vector<Tensor> images;
  for (const fs::path& path : paths) {
    if (images.size() == count) break;
    const Photo p = load(path);
    if (p.width != 32 || p.height != 32) continue;
    Tensor t{{.name = "image", .shape = {1, 3, 32, 32}}};
    for (std::size_t i = 0; i < 1024; ++i) {
      for (std::size_t c = 0; c < 3; ++c) t.as<float>()[c * 1024 + i] = (static_cast<float>(p.rgb[i * 3 + c]) / 255 - mean[c]) / deviation[c];
    }
    images.push_back(std::move(t));
  }
  return images;
}

std::vector<Tensor> imagenet_inputs(const std::string& data) {
  std::vector<Tensor> inputs;
  for (const fs::path& path : files(fs::path{data} / "images" / "imagenet_200")) {
    const Photo p = load(path);
    if (!p.rgb.empty()) inputs.push_back(crop(p, 256, 0.5, 0.5));
  }
  return inputs;
}

std::vector<Tensor> imagenet_calibration(const std::string& data, std::size_t count) {
  std::vector<Tensor> inputs;
  for (const fs::path& path : files(fs::path{data} / "images")) {
    const Photo p = load(path);
    if (p.rgb.empty()) continue;
    for (const int side : {256, 320, 448}) {
      for (const double place : {0.0, 0.5, 1.0}) {
        for (const bool mirrored : {false, true}) inputs.push_back(crop(p, side, place, place, mirrored));
      }
    }
  }
  for (const fs::path& path : files(fs::path{data} / "video")) {
    for (const Photo& p : video_frames(path, 40)) inputs.push_back(crop(p, 256, 0.5, 0.5));
  }
  if (inputs.size() <= count) return inputs;
  std::vector<Tensor> some;  // spread evenly over everything
  for (std::size_t i = 0; i < count; ++i) some.push_back(std::move(inputs[i * inputs.size() / count]));
  return some;
}

}  // namespace splitcnn_test
