#pragma once
/// Modelled devices: what a graph should cost on hardware that is not here.
///
///     DpuModel dpu = DpuModel::vck190_zoo();
///     GpuModel gpu = GpuModel::rtx2080_zoo();
///     Profile profile = model(parts, dpu, gpu);             // origin modelled, never mixed with measurements
///     Plan plan = parts.search(profile);
///
/// Two named parameter sets exist and are never mixed: `table1`, fitted on the speed-ups of the Split CNN paper
/// (arXiv 2605.00174, Table 1), whose DPU times are not physical; and `zoo`, whose DPU was fitted on throughputs AMD publishes for
/// the VCK190. docs/device-models.md says what was fitted on what (bench/fit_device_models does it). Equations: the same page.
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/partitioner.hpp"
#include "splitcnn/profile.hpp"

namespace splitcnn::inline v0 {

/// A DPUCVDX8G-like engine: `batch` lanes in lock step, one instruction stream.
struct DpuModel {
  std::string name{};
  int batch = 6;                    ///< frames per run
  double efficiency = 0.7;          ///< reached share of the MAC array's peak
  double bandwidth_gbs = 45;        ///< DDR, weights and spilled maps
  double weight_gbs = 0;            ///< > 0: weights come through ports of their own, side by side with the maps
  double layer_us = 0.2;            ///< per fused layer
  double start_us = 250;            ///< per run: submit, interrupt, host
  double clock_ghz = 1.25;          ///< MAC array: 16 x 32 channels x 8 pixels per cycle and lane
  double alu_clock_ghz = 0.333;     ///< pooling, depthwise, add: 16 channels x 8 pixels per cycle and lane
  double on_chip_mib = 2;           ///< feature-map memory per lane

  [[nodiscard]] SPLITCNN_API static DpuModel vck190_table1();
  [[nodiscard]] SPLITCNN_API static DpuModel vck190_zoo();
};

/// A GPU that runs each layer as one kernel: the slower of arithmetic (with tile quantisation) and memory, plus a fixed cost.
struct GpuModel {
  std::string name{};
  int batch = 6;
  double tflops = 40;               ///< reached by full waves
  double bandwidth_gbs = 403;       ///< reached
  double kernel_us = 10;            ///< per kernel
  double start_us = 200;            ///< per batch
  int multiprocessors = 46;
  bool fused = false;               ///< convolution, bn, activation and add in one kernel (false: one kernel per node, as eager frameworks do)
  double upload_gbs = 0;            ///< host to device copy of what enters; 0 = not charged (the paper's Path 2)
  double upload_us = 10;

  [[nodiscard]] SPLITCNN_API static GpuModel rtx2080_table1();
  [[nodiscard]] SPLITCNN_API static GpuModel rtx2080_zoo();
  /// From data sheets and typical kernel times, fitted to nothing.
  [[nodiscard]] SPLITCNN_API static GpuModel h200();
};

/// From the DPU to where the GPU can read it, per batch: fixed_us + bytes / bandwidth.
struct LinkModel {
  double bandwidth_gbs = 4.5;
  double fixed_us = 10;

  [[nodiscard]] SPLITCNN_API static LinkModel pcie_table1();
  [[nodiscard]] SPLITCNN_API static LinkModel pcie_zoo();
};

/// Any device, by what a data sheet says: a layer takes the longer of arithmetic and memory traffic, plus a fixed time. What DpuModel and
/// GpuModel know of their architecture (tiles, spills, waves) it does not.
struct DeviceModel {
  std::string device{};             ///< "dpu:0", "gpu:0", "cpu": what plans call it
  std::string name{};               ///< for people
  int batch = 1;
  double tops = 1;                  ///< reached, 10^12 operations per second (two per multiply-add)
  double bandwidth_gbs = 10;        ///< reached
  double layer_us = 5;              ///< per layer or kernel
  double start_us = 50;             ///< per batch
  double element_bytes = 4;         ///< 1 for int8, 2 for f16
  bool fused = true;                ///< convolution, bn, activation and add in one layer
  double watts = std::numeric_limits<double>::quiet_NaN();  ///< while busy, above idle; NaN = not known
};

/// A user's own board.
struct DeviceModels {
  std::vector<DeviceModel> devices{};
  std::vector<Link> links{};

  /// {"format": "splitcnn-device-models", "version": 1, "devices": [{"device": "dpu:0", "tops": 4, ...}],
  ///  "links": [{"from": "dpu:0", "to": "gpu:0", "gbs": 1.2, "us": 30}]}; what is left out of a device keeps the default above. Throws io, bad_file.
  [[nodiscard]] SPLITCNN_API static DeviceModels load(const std::filesystem::path& path);
};

/// A model fitted to measurements, and how far it is off.
struct Calibrated {
  struct Residual {
    int first_unit = 0, last_unit = 0;
    double measured_ms = 0, modelled_ms = 0;  ///< per frame
  };
  DeviceModel model;
  std::vector<Residual> residuals{};
  double mean_abs_error = 0, max_abs_error = 0;  ///< relative
};

/// Fits tops, bandwidth_gbs, layer_us and start_us to the prefixes and suffixes that `profile` has of `start.device` (a handful is enough:
/// the others may be NaN); `start` gives the rest, and the search goes a factor of 100 either way from it. Seeded. Throws no_device,
/// mismatch, bad_argument (fewer than four times).
[[nodiscard]] SPLITCNN_API Calibrated calibrate(const Partitioner& parts, const DeviceModel& start, const Profile& profile);

/// Bandwidth and fixed time of a link by least squares over measured transfers. Throws bad_argument: fewer than two different sizes.
struct Transfer {
  std::size_t bytes = 0;
  double ms = 0;
};
[[nodiscard]] SPLITCNN_API Link fit_link(std::string from, std::string to, std::span<const Transfer> transfers);

/// Times of one batch, ms, per node of the graph. Sums over a range plus start_us are the range's time.
[[nodiscard]] SPLITCNN_API std::vector<double> node_ms(const Graph& graph, const DpuModel& dpu);
[[nodiscard]] SPLITCNN_API std::vector<double> node_ms(const Graph& graph, const GpuModel& gpu);
[[nodiscard]] SPLITCNN_API std::vector<double> node_ms(const Graph& graph, const DeviceModel& device);

/// A modelled profile of "dpu:0" and "gpu:0" over the partitioner's cuts, ms per frame (batch time / batch). The DPU waits while what
/// crosses is stored and sent over the link, as in the model the parameters were fitted with: Link::blocks_sender.
[[nodiscard]] SPLITCNN_API Profile model(const Partitioner& parts, const DpuModel& dpu, const GpuModel& gpu, const LinkModel& link);
/// The same of any devices; links stay links. A device called dpu:N cannot run what a DPU cannot.
[[nodiscard]] SPLITCNN_API Profile model(const Partitioner& parts, const DeviceModels& models);

}  // namespace splitcnn::inline v0
