#pragma once
/// What the predictor knows of a graph: fused layers, the edges between them, and numbers about each.
///
/// A layer is a node with the normalisation, activations and views right behind it. Layer 0 stands for the network's input, so that
/// layer j is also the boundary behind it. Nothing here is fitted; what is known of a device (BaseModel) comes with the weights.
#include <array>
#include <cstdint>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// Version of the list below: weights trained on another one are refused.
inline constexpr int feature_version = 2;
inline constexpr int feature_count = 42;
/// Names in order, as they stand in weight files.
[[nodiscard]] const std::array<const char*, feature_count>& feature_names() noexcept;

/// A rough analytical model of a device, whose error the network learns. Microseconds per run of `batch` frames.
struct BaseModel {
  enum class Kind : std::uint8_t {
    dpu,  ///< a layer: max(array + alu cycles, weights + spilled maps) + overhead
    gpu,  ///< a kernel per node: max(FLOP by wave, bytes) + overhead
    cpu,  ///< a layer: max(MACs, elements) + overhead
  };
  Kind kind = Kind::dpu;
  double batch = 1;
  double compute_us = 0;   ///< per array cycle; per FLOP; per MAC
  double alu_us = 0;       ///< per cycle of pooling, depthwise, add (dpu)
  double weight_us = 0;    ///< per weight
  double map_us = 0;       ///< per element of a feature map that is moved
  double layer_us = 0;     ///< per layer or kernel
  double processors = 1;   ///< that share the tiles of a kernel (gpu)
};

struct LayerEdge {
  int from = 0, to = 0;
};

/// Buffers are kept between calls: describing a graph no larger than an earlier one allocates nothing.
struct Layers {
  int count = 0;                       ///< with the input layer
  std::vector<float> x;                ///< count rows of feature_count
  std::vector<LayerEdge> edges;        ///< producer to consumer, each pair once, ascending by `to`
  std::vector<int> layer_of;           ///< per node
  std::vector<double> base_us[2];      ///< per layer and device: the BaseModel's time of a run
  std::vector<double> node_share[2];   ///< per node and device: its part of its layer's time

  struct Scratch {
    std::vector<std::uint32_t> root, last_read;
    std::vector<double> expires, node_us[2], stats;
    std::vector<std::uint8_t> spilled;
    std::vector<NodeId> main;
  } scratch;
};

void describe(const Graph& graph, const BaseModel& head, const BaseModel& tail, Layers& out);

}  // namespace splitcnn::inline v0
