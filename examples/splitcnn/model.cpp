// Models, their sidecars and their frames.
#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <random>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

Model open_model(const std::string& name) {
  const bool zoo = name.starts_with("zoo:");
  Model model{name, zoo, sc::load_model(name), {}, {}};
  if (zoo) return model;
  model.sidecar_path = sc::Sidecar::path_for(name);
  model.sidecar = sc::Sidecar::load(model.sidecar_path);
  return model;
}

sc::QuantizedGraph calibration_of(const Model& model) {
  if (model.zoo) {
    note(
        fmt::format("note: {} has random weights and is calibrated on noise (synthetic): its speed means "
                    "something, its classes "
                    "do not",
                    model.name));
    ProgressBar bar{"calibrating"};
    return sc::Quantizer{{.progress = bar.callback()}}.calibrate_synthetic(model.graph);
  }
  if (!std::filesystem::exists(model.sidecar_path)) {
    throw sc::Error{sc::Errc::not_calibrated,
                    fmt::format("{}: a DPU needs calibration and there is none; run 'splitcnn calibrate {} "
                                "--frames DIR|FILE' once",
                                model.name, model.name)};
  }
  try {
    return sc::QuantizedGraph::load(model.graph, model.sidecar_path);
  } catch (const sc::Error& e) {
    throw sc::Error{
        e.code(), fmt::format("{} (to calibrate again: 'splitcnn calibrate {} --frames DIR|FILE')", e.what(),
                              model.name)};
  }
}

sc::TensorSpec float_spec(const sc::Graph& graph, sc::TensorId id) {
  const sc::GraphTensor& t = graph.tensor(id);
  return {.name = t.name, .shape = t.shape, .dtype = sc::DType::f32};
}

nlohmann::json json_number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

nlohmann::json spec_json(const sc::TensorSpec& spec) {
  return {{"name", spec.name},
          {"shape", std::vector<std::int64_t>{spec.shape.begin(), spec.shape.end()}},
          {"bytes", spec.bytes()}};
}

std::vector<sc::Tensor> noise_frame(const sc::Graph& graph, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::uniform_real_distribution<float> unit{-1, 1};
  std::vector<sc::Tensor> frame;
  for (const sc::TensorId id : graph.inputs()) {
    frame.emplace_back(float_spec(graph, id));
    for (float& v : frame.back().as<float>()) v = unit(random);
  }
  return frame;
}

RawFrames::RawFrames(const std::filesystem::path& file, const sc::Graph& graph) : path_{file} {
  std::size_t bytes = 0;
  for (const sc::TensorId id : graph.inputs()) {
    inputs_.push_back(float_spec(graph, id));
    bytes += inputs_.back().bytes();
  }
  std::error_code failed;
  const std::uintmax_t size = std::filesystem::file_size(file, failed);
  file_.open(file, std::ios::binary);
  if (failed || !file_) {
    throw sc::Error{
        sc::Errc::io,
        fmt::format("{}: cannot be read; give a file of raw little-endian float32 frames", file.string())};
  }
  if (size == 0 || bytes == 0 || size % bytes != 0) {
    throw sc::Error{sc::Errc::mismatch,
                    fmt::format("{}: {} bytes are no whole number of frames of {} bytes ({} as float32); the "
                                "model's own layout is expected",
                                file.string(), size, bytes, sc::to_string(inputs_.front().shape))};
  }
  count_ = static_cast<std::size_t>(size / bytes);
}

std::vector<sc::Tensor> RawFrames::buffers() const { return {inputs_.begin(), inputs_.end()}; }

void RawFrames::next(std::vector<sc::Tensor>& frame) {
  for (sc::Tensor& t : frame) {
    const std::span<std::byte> bytes = t.bytes();
    if (!file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()))) {
      throw sc::Error{sc::Errc::io, fmt::format("{}: reading stopped early; is the file still being written?",
                                                path_.string())};
    }
  }
}

}  // namespace tool
