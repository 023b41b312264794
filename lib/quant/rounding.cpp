// Compiled with -O3 (see CMakeLists.txt).
#include "quant/rounding.hpp"

#include <algorithm>
#include <cmath>

#include "quant/equalise.hpp"
#include "quant/fix_point.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr double correlation = 0.98;  // of pixels within one window; natural images and their feature maps are smooth
constexpr int passes = 3;

/// One output channel: its weights in units of the weights' step, its errors in the same units times the input's value.
class Row {
 public:
  Row(const float* weights, std::int8_t* bytes, std::size_t taps, std::size_t per, const double* mean, const double* variance, double step)
      : bytes_{bytes}, taps_{taps}, per_{per}, mean_{mean}, variance_{variance}, step_{step}, errors_(taps * per), sums_(per, 0.0) {
    for (std::size_t i = 0; i < errors_.size(); ++i) {
      errors_[i] = bytes[i] * step - static_cast<double>(weights[i]);
      sums_[i % per] += errors_[i];
      mean_error_ += errors_[i] * mean[i % per];
    }
  }

  /// The bias that is left over once weights are rounded: adds its error to the mean.
  void round_bias(double bias, double bias_step, std::int8_t& byte) {
    const double wanted = (bias - mean_error_) / bias_step;
    byte = static_cast<std::int8_t>(std::clamp(std::round(wanted), -128.0, 127.0));
    mean_error_ += byte * bias_step - bias;
  }

  void improve() {
    for (std::size_t i = 0; i < taps_ * per_; ++i) {
      const std::size_t c = i % per_;
      const double delta = errors_[i] > 0 ? -step_ : step_;  // to the neighbour on the other side of the float value
      const int moved = bytes_[i] + (delta > 0 ? 1 : -1);
      if (moved < -128 || moved > 127 || std::abs(errors_[i]) > step_) continue;
      const double mean = mean_error_ + delta * mean_[c];
      const double common = (2 * sums_[c] + delta) * delta, own = (2 * errors_[i] + delta) * delta;
      const double change = mean * mean - mean_error_ * mean_error_ + variance_[c] * (correlation * common + (1 - correlation) * own);
      if (change >= 0) continue;
      bytes_[i] = static_cast<std::int8_t>(moved);
      errors_[i] += delta;
      sums_[c] += delta;
      mean_error_ = mean;
    }
  }

 private:
  std::int8_t* bytes_;
  std::size_t taps_, per_;
  const double *mean_, *variance_;
  double step_;
  std::vector<double> errors_, sums_;  // per weight, and per input channel over the taps
  double mean_error_ = 0;
};

}  // namespace

WeightBytes round_weights(const LoweredOp& op, const WeightQuant& quant, const ChannelScale* in, const ChannelScale* out,
                          const ChannelMoments* moments, double rise) {
  std::vector<float> weights = op.weights, bias = op.bias;
  scale_channels(op, in, out, weights, bias);
  for (float& b : bias) b = static_cast<float>(static_cast<double>(b) - rise);
  WeightBytes bytes{std::vector<std::int8_t>(weights.size()), std::vector<std::int8_t>(bias.size())};
  quantise_half_away(weights, quant.weight_fix_point, bytes.weights);
  quantise_half_away(bias, quant.bias_fix_point, bytes.bias);
  const auto channels = static_cast<std::size_t>(op.in_channels);
  if (!moments || moments->mean.size() != channels) return bytes;

  std::vector<double> mean(channels), variance(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const double scale = in ? static_cast<double>(in->factors[c]) : 1.0;
    mean[c] = static_cast<double>(moments->mean[c]) * scale;
    variance[c] = static_cast<double>(moments->variance[c]) * scale * scale;
  }
  const std::size_t outs = bias.size(), groups = static_cast<std::size_t>(op.groups), per = channels / groups;
  const std::size_t row = weights.size() / outs, taps = row / per;
  const double step = std::ldexp(1.0, -quant.weight_fix_point), bias_step = std::ldexp(1.0, -quant.bias_fix_point);
  for (std::size_t o = 0; o < outs; ++o) {
    const std::size_t first = o / (outs / groups) * per;
    Row r{weights.data() + o * row, bytes.weights.data() + o * row, taps, per, mean.data() + first, variance.data() + first, step};
    r.round_bias(static_cast<double>(bias[o]), bias_step, bytes.bias[o]);
    for (int pass = 0; pass < passes; ++pass) r.improve();
  }
  return bytes;
}

}  // namespace splitcnn::inline v0
