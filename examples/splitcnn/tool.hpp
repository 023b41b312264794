#pragma once
// What the commands of the tool share. Only the public headers of the library are used here.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "splitcnn/splitcnn.hpp"

namespace tool {

namespace sc = splitcnn;

/// A MODEL argument with what lies beside it.
struct Model {
  std::string name;  ///< as given
  bool zoo = false;
  sc::Graph graph;
  std::filesystem::path sidecar_path;
  sc::Sidecar sidecar;
};
Model open_model(const std::string& name);

/// The calibration in the sidecar; a zoo model is calibrated on noise, with a note. Throws not_calibrated
/// naming the command.
sc::QuantizedGraph calibration_of(const Model& model);

/// "DPU,gpu/2" as "dpu:0", "gpu:0/2". Throws bad_argument.
std::vector<std::string> device_specs(const std::string& text);
/// The name in such a spec: "dpu:0=software/2" is "dpu:0".
std::string device_name(const std::string& spec);
bool is_dpu(const std::string& device);
bool is_gpu(const std::string& device);
/// Opens the devices, and the CPU for what a DPU cannot run.
sc::Devices open_devices(const std::vector<std::string>& specs, const sc::DpuWorkerOptions& worker = {});

/// A partitioner that can plan for these devices: calibrated when a DPU is among them.
sc::Partitioner partitioner_for(const Model& model, const std::vector<std::string>& specs,
                                sc::Granularity granularity);

/// The plan that `--devices` and `--cut` ask for. Two devices without a cut: measured and searched, and the
/// choice explained.
struct PlanRequest {
  std::vector<std::string> devices;  ///< as device_specs() gives them; one or two
  std::optional<int> cut;
  sc::Objective objective = sc::Objective::interval;
};
sc::Plan choose_plan(const sc::Partitioner& parts, const PlanRequest& request);

/// Frames of raw little-endian float32 in the model's own layout, inputs in turn.
class RawFrames {
 public:
  RawFrames(const std::filesystem::path& file, const sc::Graph& graph);
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  /// The next frame, one tensor per input of the graph. Throws io.
  void next(std::vector<sc::Tensor>& frame);
  /// Tensors for next().
  [[nodiscard]] std::vector<sc::Tensor> buffers() const;

 private:
  std::filesystem::path path_;
  std::vector<sc::TensorSpec> inputs_;
  std::ifstream file_;
  std::size_t count_ = 0;
};

/// The image files below a folder, sorted, or those named in a text file; at most `most`, spread evenly.
std::vector<std::filesystem::path> image_files(const std::filesystem::path& where, std::size_t most);
/// An image file as the graph's float input in the model's own layout.
sc::Tensor image_tensor(const std::filesystem::path& file, const sc::Graph& graph,
                        const sc::InputTransform& transform);

/// At most `most` frames from a folder of images, a .txt or .lst list of them, or a file of raw float32 frames.
std::vector<sc::Tensor> read_frames(const std::filesystem::path& where, std::size_t most, const Model& model,
                                    const std::optional<sc::InputTransform>& transform);

sc::TensorSpec float_spec(const sc::Graph& graph, sc::TensorId id);
nlohmann::json spec_json(const sc::TensorSpec& spec);
nlohmann::json json_number(double value);  ///< null where it is not finite
/// Seeded noise in [-1, 1], one tensor per input of the graph.
std::vector<sc::Tensor> noise_frame(const sc::Graph& graph, std::uint64_t seed);

const std::map<std::string, sc::Granularity>& granularities();
/// A range check that leaves the help readable.
template <class T>
CLI::Validator within(T low, T high) {
  return CLI::Range(low, high).description("");
}
/// Adds the option everyone has who cuts.
void add_granularity(CLI::App& command, sc::Granularity& granularity);
/// `--cut auto|K`.
void add_cut(CLI::App& command, std::optional<int>& cut);

// One file each.
void add_inspect(CLI::App& app);
void add_calibrate(CLI::App& app);
void add_profile(CLI::App& app);
void add_plan(CLI::App& app);
void add_report(CLI::App& app);
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_doctor(CLI::App& app);
void add_export(CLI::App& app);
void add_replay(CLI::App& app);

}  // namespace tool
