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
};

/// From the DPU to where the GPU can read it, per batch: fixed_us + bytes / bandwidth.
struct LinkModel {
  double bandwidth_gbs = 4.5;
  double fixed_us = 10;

  [[nodiscard]] SPLITCNN_API static LinkModel pcie_table1();
  [[nodiscard]] SPLITCNN_API static LinkModel pcie_zoo();
};

/// Times of one batch, ms, per node of the graph. Sums over a range plus start_us are the range's time.
[[nodiscard]] SPLITCNN_API std::vector<double> node_ms(const Graph& graph, const DpuModel& dpu);
[[nodiscard]] SPLITCNN_API std::vector<double> node_ms(const Graph& graph, const GpuModel& gpu);

/// A modelled profile of "dpu:0" and "gpu:0" over the partitioner's cuts, ms per frame (batch time / batch). The DPU's
/// prefix pays for storing what crosses the cut and for sending it over the link, as in the model the parameters were fitted
/// with; so the profile has no links of its own.
[[nodiscard]] SPLITCNN_API Profile model(const Partitioner& parts, const DpuModel& dpu, const GpuModel& gpu, const LinkModel& link);

}  // namespace splitcnn::inline v0
