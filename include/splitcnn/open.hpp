#pragma once
/// The one-liner: model and devices in, running pipeline out.
///
///     Pipeline pipe = open("model.onnx", "dpu:0,gpu:0", {.calibration = "frames/calibration.f32"});
///     fmt::print("{}\n", pipe.plan()->why());
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "splitcnn/partitioner.hpp"
#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

/// The file beside a model that says how to use it: `<model>.splitcnn.json` with input transform, labels, calibration, graph hash.
struct Sidecar {
  std::optional<InputTransform> input_transform;
  std::vector<std::string> labels;

  /// The path that belongs to a model: "dir/net.onnx" to "dir/net.splitcnn.json".
  [[nodiscard]] SPLITCNN_API static std::filesystem::path path_for(const std::filesystem::path& model);
  /// Missing file: an empty Sidecar. Throws io, bad_file.
  [[nodiscard]] SPLITCNN_API static Sidecar load(const std::filesystem::path& json);
  /// Writes or updates its parts of the file; the calibration part stays. Throws io, bad_file.
  SPLITCNN_API void save(const std::filesystem::path& json) const;
};

struct OpenOptions {
  /// Frames to calibrate on when the sidecar has no calibration: a file of raw little-endian float32 frames in the model's own layout.
  std::filesystem::path calibration{};
  Objective objective = Objective::interval;
  int cut = -1;                                  ///< >= 0: this cut instead of a search
  PipelineOptions pipeline{};
};

/// A MODEL is a file or "zoo:resnet50". Reads the sidecar, calibrates where needed, measures, searches, opens.
/// Throws not_calibrated naming the command when a DPU is asked for without calibration.
[[nodiscard]] SPLITCNN_API Pipeline open(const std::string& model, std::string_view devices, const OpenOptions& options = {});

/// The first half of open(): the graph behind a MODEL string.
[[nodiscard]] SPLITCNN_API Graph load_model(const std::string& model);

}  // namespace splitcnn::inline v0
