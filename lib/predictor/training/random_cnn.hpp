#pragma once
/// Random convolutional networks of seven families, to train and test the predictor on. The same seed gives the same network on every
/// machine. Weights are zero where only shapes count, or noise where the network is to run.
#include <cstdint>
#include <string>

#include "splitcnn/graph.hpp"

namespace splitcnn_training {

inline constexpr int family_count = 7;
[[nodiscard]] const char* family_name(int family) noexcept;

struct RandomCnn {
  splitcnn::Graph graph;
  int family = 0;
  std::uint64_t skeleton = 0;  ///< hash of family, stages and units without widths and sizes: networks alike in it never part between sets
};

struct RandomCnnLimits {
  double most_macs = 25e9;
  double most_weights = 160e6;
  bool noise = false;  ///< weights that keep the activations' size from layer to layer
};

/// The test part of a data set (a fifth of the skeletons), as data.py divides it.
[[nodiscard]] constexpr bool is_test(std::uint64_t skeleton) noexcept { return (skeleton ^ skeleton >> 33) % 100 >= 80; }

/// Throws splitcnn::Error when the draw is outside the limits (draw the next seed then).
[[nodiscard]] RandomCnn random_cnn(std::uint64_t seed, const RandomCnnLimits& limits = {});

}  // namespace splitcnn_training
