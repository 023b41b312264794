// Image files as frames. stb_image is used by the tool only.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include <fmt/core.h>
#include <stb/stb_image.h>

#include <algorithm>
#include <cctype>
#include <fstream>

#include "tool.hpp"

namespace tool {

namespace {

bool looks_like_image(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const auto known = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tga"};
  return std::find(known.begin(), known.end(), ending) != known.end();
}

std::vector<std::filesystem::path> listed(const std::filesystem::path& list) {
  std::ifstream file{list};
  if (!file) throw sc::Error{sc::Errc::io, fmt::format("{}: cannot be read", list.string())};
  std::vector<std::filesystem::path> paths;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    const std::filesystem::path path{line};
    paths.push_back(path.is_absolute() ? path : list.parent_path() / path);
  }
  return paths;
}

struct Pixels {
  int width = 0, height = 0;
  std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> rgb{nullptr, &stbi_image_free};
};

Pixels read_pixels(const std::filesystem::path& file) {
  Pixels image;
  int channels = 0;
  image.rgb.reset(stbi_load(file.c_str(), &image.width, &image.height, &channels, 3));
  if (!image.rgb) {
    throw sc::Error{sc::Errc::io, fmt::format("{}: cannot be read as an image ({}); leave it out",
                                              file.string(), stbi_failure_reason())};
  }
  return image;
}

}  // namespace

std::vector<std::filesystem::path> image_files(const std::filesystem::path& where, std::size_t most) {
  std::vector<std::filesystem::path> all;
  if (std::filesystem::is_directory(where)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(where)) {
      if (entry.is_regular_file() && looks_like_image(entry.path())) all.push_back(entry.path());
    }
    std::sort(all.begin(), all.end());
  } else {
    all = listed(where);
  }
  if (all.empty()) {
    throw sc::Error{sc::Errc::bad_argument,
                    fmt::format("{}: no images there (jpg, png, bmp, ppm, tga)", where.string())};
  }
  // Spread over the list: folders are often sorted by class.
  std::vector<std::filesystem::path> chosen;
  const std::size_t n = std::min(most, all.size());
  for (std::size_t i = 0; i < n; ++i) chosen.push_back(all[i * all.size() / n]);
  return chosen;
}

sc::Tensor image_tensor(const std::filesystem::path& file, const sc::Graph& graph,
                        const sc::InputTransform& transform) {
  const sc::TensorSpec wanted = float_spec(graph, graph.inputs().front());
  const bool is_image = graph.inputs().size() == 1 && wanted.shape.rank() == 4 && wanted.shape[0] == 1 &&
                        (wanted.shape[1] == 1 || wanted.shape[1] == 3);
  if (!is_image) {
    throw sc::Error{
        sc::Errc::unsupported,
        fmt::format("'{}': images need one input of shape 1x3xHxW or 1x1xHxW; this model has {}; give raw "
                    "float32 frames instead",
                    graph.name(), sc::to_string(wanted.shape))};
  }
  const Pixels image = read_pixels(file);
  const sc::CameraFrame frame{.format = sc::PixelFormat::rgb,
                              .width = image.width,
                              .height = image.height,
                              .planes = {image.rgb.get(), nullptr},
                              .strides = {static_cast<std::size_t>(image.width) * 3, 0}};
  sc::Tensor channels_last{
      {.name = wanted.name, .shape = sc::storage_shape(wanted.shape), .dtype = sc::DType::f32}};
  try {
    sc::transform(frame, transform, channels_last.view());
  } catch (const sc::Error& e) {
    throw sc::Error{e.code(), fmt::format("{}: {}", file.string(), e.what())};
  }
  sc::Tensor result{wanted};
  const auto channels = static_cast<std::size_t>(wanted.shape[1]),
             pixels = static_cast<std::size_t>(wanted.shape[2] * wanted.shape[3]);
  const std::span<const float> from = std::as_const(channels_last).as<float>();
  const std::span<float> to = result.as<float>();
  for (std::size_t p = 0; p < pixels; ++p) {
    for (std::size_t c = 0; c < channels; ++c) to[c * pixels + p] = from[p * channels + c];
  }
  return result;
}

}  // namespace tool
