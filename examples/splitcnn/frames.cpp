// Frames for calibrating and for measuring agreement: images or raw float32.
#include <algorithm>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

/// A file without zero bytes at its start that ends in .txt or .lst is a list of images; every other file is
/// raw frames.
bool is_list(const std::filesystem::path& path) {
  return path.extension() == ".txt" || path.extension() == ".lst";
}

}  // namespace

std::vector<sc::Tensor> read_frames(const std::filesystem::path& where, std::size_t most, const Model& model,
                                    const std::optional<sc::InputTransform>& transform) {
  std::vector<sc::Tensor> frames;
  if (!std::filesystem::is_directory(where) && !is_list(where)) {
    RawFrames file{where, model.graph};
    for (std::size_t f = 0; f < std::min(file.count(), most); ++f) {
      std::vector<sc::Tensor> frame = file.buffers();
      file.next(frame);
      for (sc::Tensor& t : frame) frames.push_back(std::move(t));
    }
    return frames;
  }
  if (!transform) {
    note("note: no --mean, --scale or --resize given: pixels go in as 0..255, stretched to the model's size");
  }
  const auto files = image_files(where, most);
  ProgressBar bar{"reading images"};
  for (const auto& file : files) {
    frames.push_back(image_tensor(file, model.graph, transform.value_or(sc::InputTransform{})));
    bar.step(frames.size(), files.size());
  }
  return frames;
}

}  // namespace tool
