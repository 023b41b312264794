#pragma once
/// What each node of a graph asks of a device, without any parameter that is fitted: cycles, bytes, operations. device_model.cpp makes
/// times of it; the fits evaluate that some ten thousand times and so do not walk the graph again.
#include <vector>

#include "splitcnn/device_model.hpp"

namespace splitcnn::inline v0 {

/// One fused layer of a DPU; the nodes folded into it have layer = false and cost nothing.
struct DpuWork {
  bool layer = false;
  double array_cycles = 0;  ///< MAC array, at full efficiency
  double alu_cycles = 0;    ///< pooling, depthwise, add
  double weight_bytes = 0;  ///< int8, once per batch
  double map_bytes = 0;     ///< int8, per frame: maps that do not fit on chip
};

/// One GPU kernel. Elements, not bytes; of one frame.
struct GpuWork {
  enum class Kind : std::uint8_t { memory, convolution, dense, depthwise };
  bool kernel = false;
  Kind kind = Kind::memory;
  double flop = 0, maps = 0, weights = 0;
  double pixels = 1, channels = 1;  ///< of the output
};

std::vector<DpuWork> dpu_work(const Graph& graph, double on_chip_mib);
std::vector<GpuWork> gpu_work(const Graph& graph, bool fused);

/// Time of one batch, ms, without the fixed start.
double layer_ms(const DpuWork& work, const DpuModel& dpu) noexcept;
double layer_ms(const GpuWork& work, const GpuModel& gpu) noexcept;

/// Elements of the tensors that cross the cut, per frame (bytes, where they cross as int8).
double crossing_elements(const Graph& graph, const Cut& cut);

}  // namespace splitcnn::inline v0
