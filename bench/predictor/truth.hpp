#pragma once
/// Modelled truth for the predictor: the parameter set `zoo` of the device models over a network's cuts.
#include <vector>

#include "predictor/features.hpp"
#include "predictor/training/random_cnn.hpp"
#include "splitcnn/device_model.hpp"

namespace splitcnn_training {

struct Sample {
  splitcnn::Layers layers;
  int family = 0;
  std::uint64_t skeleton = 0;
  std::vector<double> head_us, tail_us;  ///< per layer, of a run of the batch, without the fixed start
  std::vector<int> cut_layer;            ///< per cut: layers [0, cut_layer] are in front of it
  std::vector<double> link_ms;           ///< per cut and frame
  std::vector<int> legal;
};

/// The analytical model whose error the network learns: set `table1`, fitted on another source than the truth.
splitcnn::BaseModel base_of(const splitcnn::DpuModel& dpu);
splitcnn::BaseModel base_of(const splitcnn::GpuModel& gpu);

Sample sample(const splitcnn::Graph& graph, int family, std::uint64_t skeleton);

struct Optimum {
  int k = 0;
  double interval_ms = 0, head_alone_ms = 0, tail_alone_ms = 0;
  double gain = 1;  ///< of the best cut over the better device alone
};
/// Of the noise-free truth.
Optimum optimum(const Sample& sample);

}  // namespace splitcnn_training
