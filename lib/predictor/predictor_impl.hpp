#pragma once
/// A loaded predictor: checked configuration and pointers into its weights.
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "predictor/features.hpp"
#include "predictor/net.hpp"
#include "predictor/weights.hpp"
#include "splitcnn/predictor.hpp"

namespace splitcnn::inline v0 {

enum class NetOutput { log_residual, cumulative };

/// What adapt() found for a device: logarithms of factors on the times of its layers.
struct DeviceCorrection {
  static constexpr std::size_t size = 5;
  using Terms = std::array<double, size>;
  Terms of{};  ///< all; more for depthwise and grouped convolutions, dense layers, layers without weights; per unit of log time

  /// What `of` is multiplied with for layer `row` of feature_count features that takes `us`.
  static Terms terms(const float* row, double us) noexcept;
  [[nodiscard]] double factor(const Terms& terms) const noexcept;
};

struct PredictedDevice {
  std::string device, name;
  BaseModel base;
  double fixed_ms = 0;   ///< per segment and frame
  double scale_us = 1;   ///< of a cumulative output
  NetWeights net;
  DeviceCorrection correction;
};

struct Predictor::Impl {
  Impl(SafeTensors file);

  std::shared_ptr<const SafeTensors> weights;  ///< shared with what adapt() made of it
  PredictorInfo info;
  std::array<PredictedDevice, 2> devices;  ///< head, tail
  std::optional<NetWeights> partition;     ///< a logit per layer: cut behind it
  Link link;
  double interval_factor = 1;              ///< low = t / factor, high = t * factor
  NetOutput output = NetOutput::log_residual;
  bool raw_sizes = false;                  ///< features are sizes over the largest seen, not logarithms (variant paper)
  bool self_loops = false;                 ///< neighbours include the layer itself (variant paper)
  const float *mean = nullptr, *scale = nullptr;
};

/// Working memory of one thread; grows to the largest graph seen.
struct PredictorScratch {
  Layers layers;
  std::vector<float> x, net, y[3];
  std::vector<int> start, near, fill;
  std::vector<double> layer_us[2];  ///< per layer and device: predicted time of a run
};

/// Fills layers and layer_us; y[2] too where there is a partition model.
void predict_layers(const Predictor::Impl& impl, const Graph& graph, PredictorScratch& s);

}  // namespace splitcnn::inline v0
