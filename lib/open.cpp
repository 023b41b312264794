#include "splitcnn/open.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

#include "core/input_transform_json.hpp"
#include "core/json_file.hpp"
#include "core/log.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr const char* sidecar_format = "splitcnn-sidecar";
constexpr int sidecar_version = 1;

bool is_zoo(const std::string& model) { return model.starts_with("zoo:"); }

/// A file that only calibration has written to says no format of its own yet.
nlohmann::json read_sidecar(const std::filesystem::path& path) {
  nlohmann::json file = read_json(path);
  if (!file.is_object())
    throw Error{Errc::bad_file, path.string() + ": is not a JSON object; calibrate the model again"};
  if (file.contains("format")) check_format(file, sidecar_format, sidecar_version, path.string());
  return file;
}

}  // namespace

std::filesystem::path Sidecar::path_for(const std::filesystem::path& model) {
  return std::filesystem::path{model}.replace_extension(".splitcnn.json");
}

Sidecar Sidecar::load(const std::filesystem::path& json) {
  Sidecar sidecar;
  if (!std::filesystem::exists(json)) return sidecar;
  const nlohmann::json file = read_sidecar(json);
  const std::string where = json.string();
  if (const auto found = file.find("input_transform"); found != file.end() && !found->is_null()) {
    sidecar.input_transform = input_transform_from_json(*found, where + ", input_transform");
  }
  if (file.contains("labels")) sidecar.labels = require<std::vector<std::string>>(file, "labels", where);
  return sidecar;
}

void Sidecar::save(const std::filesystem::path& json) const {
  nlohmann::json file = std::filesystem::exists(json) ? read_sidecar(json) : nlohmann::json::object();
  file["format"] = sidecar_format;
  file["version"] = sidecar_version;
  file.erase("input_transform");
  file.erase("labels");
  if (input_transform) file["input_transform"] = input_transform_to_json(*input_transform);
  if (!labels.empty()) file["labels"] = labels;
  write_json(json, file);
}

Graph load_model(const std::string& model) {
  return is_zoo(model) ? Graph::zoo(model.substr(4)) : Graph::load(model);
}

namespace {

bool is_dpu(const std::string& device) { return device.starts_with("dpu"); }

std::vector<std::string> names_of(const Devices& devices) {
  std::vector<std::string> names;
  for (const DeviceInfo& d : devices.list()) names.push_back(d.name);
  return names;
}

/// Raw float32 frames, inputs in turn; at most as many as calibration uses.
std::vector<Tensor> read_frames(const std::filesystem::path& path, const Graph& graph) {
  constexpr std::size_t most = 128;
  std::ifstream file{path, std::ios::binary};
  std::error_code failed;
  const std::uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed || !file)
    throw Error{Errc::io,
                fmt::format("{}: cannot be read; give a file of raw float32 frames", path.string())};
  std::size_t frame_bytes = 0;
  for (const TensorId id : graph.inputs()) frame_bytes += TensorSpec{.shape = graph.tensor(id).shape}.bytes();
  if (size == 0 || frame_bytes == 0 || size % frame_bytes != 0) {
    throw Error{Errc::mismatch, fmt::format("{}: {} bytes are no whole number of frames of {} bytes; float32 "
                                            "in the model's own layout is expected",
                                            path.string(), size, frame_bytes)};
  }
  std::vector<Tensor> frames;
  for (std::size_t f = 0; f < std::min<std::size_t>(most, size / frame_bytes); ++f) {
    for (const TensorId id : graph.inputs()) {
      Tensor& t =
          frames.emplace_back(TensorSpec{.name = graph.tensor(id).name, .shape = graph.tensor(id).shape});
      if (!file.read(reinterpret_cast<char*>(t.bytes().data()),
                     static_cast<std::streamsize>(t.bytes().size()))) {
        throw Error{Errc::io, fmt::format("{}: reading stopped early", path.string())};
      }
    }
  }
  return frames;
}

bool has_calibration(const std::filesystem::path& sidecar) {
  return std::filesystem::exists(sidecar) && read_sidecar(sidecar).contains("calibration");
}

QuantizedGraph calibration_of(const std::string& model, const Graph& graph, const OpenOptions& options) {
  const std::filesystem::path sidecar = is_zoo(model) ? std::filesystem::path{} : Sidecar::path_for(model);
  if (!sidecar.empty() && has_calibration(sidecar)) return QuantizedGraph::load(graph, sidecar);
  if (!options.calibration.empty()) {
    const std::vector<Tensor> frames = read_frames(options.calibration, graph);
    log(LogLevel::info,
        fmt::format("open: calibrating '{}' on {}; 'splitcnn calibrate' would keep the result", model,
                    options.calibration.string()));
    return Quantizer{}.calibrate(graph, frames);
  }
  if (is_zoo(model)) {
    log(LogLevel::info,
        fmt::format("open: {} has random weights and is calibrated on noise (synthetic)", model));
    return Quantizer{}.calibrate_synthetic(graph);
  }
  throw Error{
      Errc::not_calibrated,
      fmt::format(
          "{}: a DPU needs calibration and there is none; run 'splitcnn calibrate {} --frames DIR|FILE' "
          "once, or set OpenOptions::calibration",
          model, model)};
}

/// Measures the devices asked for and takes the best cut over every pair of them, in the order given.
Plan search_plan(const Partitioner& parts, const Devices& devices, const std::vector<std::string>& names,
                 Objective objective) {
  log(LogLevel::info,
      fmt::format("open: measuring '{}' on {} devices to choose the cut; OpenOptions::cut skips this",
                  parts.graph().name(), names.size()));
  const Profile profile = measure(parts, devices, {.runs = 3});
  std::optional<Plan> best;
  const auto cost = [&](const Plan& plan) {
    return objective == Objective::interval ? plan.expected().interval_ms : plan.expected().latency_ms;
  };
  for (std::size_t a = 0; a < names.size(); ++a) {
    for (std::size_t b = a + 1; b < names.size(); ++b) {
      Plan plan = parts.search(profile, {.objective = objective, .head = names[a], .tail = names[b]});
      if (!best || cost(plan) < cost(*best)) best = std::move(plan);
    }
  }
  log(LogLevel::info, "open: " + best->why());
  return std::move(*best);
}

}  // namespace

Pipeline open(const std::string& model, std::string_view devices, const OpenOptions& options) {
  Devices opened = Devices::open(devices);
  const std::vector<std::string> names = names_of(opened);
  const bool dpu = std::any_of(names.begin(), names.end(), is_dpu);
  // a device alone may need the CPU for what it cannot run, or behind the cut
  const bool alone = names.size() == 1 && names[0] != "cpu";
  if (alone) opened = Devices::open(std::string{devices} + ",cpu");
  const std::string tail = names.size() > 1 ? names[1] : "cpu";

  const Graph graph = load_model(model);
  const Sidecar sidecar = is_zoo(model) ? Sidecar{} : Sidecar::load(Sidecar::path_for(model));
  const Partitioner parts = dpu ? Partitioner{calibration_of(model, graph, options)} : Partitioner{graph};
  Plan plan = options.cut >= 0   ? parts.split_at(options.cut, names[0], tail)
              : names.size() > 1 ? search_plan(parts, opened, names, options.objective)
                                 : parts.all_on(names[0], tail);
  plan.input_transform = sidecar.input_transform;
  plan.labels = sidecar.labels;
  return Pipeline{plan, std::move(opened), options.pipeline};
}

}  // namespace splitcnn::inline v0
