// A small correction of a predictor for other devices of its kind.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "predictor/predictor_impl.hpp"
#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

namespace {

using Terms = DeviceCorrection::Terms;
constexpr std::size_t size = DeviceCorrection::size;
constexpr double pull = 0.5;       // towards zero, in networks that are off by a factor of e
constexpr int steps = 20;          // of Gauss and Newton; five are usual
constexpr double longest_step = 1;
constexpr double typical_us = 100;  // where the term that grows with time is zero

/// A piece of a network whose time is known: the layers it covers, as shares.
struct Piece {
  std::vector<double> share;  // per layer
  double measured_ms = 0;
};

/// One network on one device.
struct Sample {
  std::vector<double> us;  // per layer, predicted without correction
  std::vector<Terms> terms;
  std::vector<Piece> pieces;
};

double predicted_ms(const PredictedDevice& device, const Sample& sample, const Piece& piece, const DeviceCorrection& c, Terms* gradient = nullptr) {
  double us = 0;
  for (std::size_t l = 0; l < piece.share.size(); ++l) {
    if (piece.share[l] == 0) continue;
    const double here = piece.share[l] * sample.us[l] * c.factor(sample.terms[l]);
    us += here;
    for (std::size_t j = 0; gradient && j < size; ++j) (*gradient)[j] += here * sample.terms[l][j] / 1e3 / device.base.batch;
  }
  return device.fixed_ms + us / 1e3 / device.base.batch;
}

const DeviceProfile& times_of(const MeasuredNetwork& net, const std::string& device) {
  const std::string& name = net.parts.graph().name();
  if (net.profile.graph_hash != net.parts.graph().hash()) {
    throw Error{Errc::bad_argument, fmt::format("adapt: '{}' comes with the profile of another network; give each network its own", name)};
  }
  for (const DeviceProfile& d : net.profile.devices) {
    if (d.device == device && d.prefix_ms.size() == net.parts.cuts().size() && d.suffix_ms.size() == d.prefix_ms.size()) return d;
  }
  throw Error{Errc::bad_argument,
              fmt::format("adapt: the profile of '{}' has no times of {} at this partitioner's cuts; measure with that device and granularity", name, device)};
}

Sample sample_of(const Predictor::Impl& impl, int d, const MeasuredNetwork& net, PredictorScratch& s) {
  const Partitioner& parts = net.parts;
  const DeviceProfile& times = times_of(net, impl.devices[static_cast<std::size_t>(d)].device);
  predict_layers(impl, parts.graph(), s);
  Sample sample{.us = s.layer_us[d]};
  for (std::size_t l = 0; l < sample.us.size(); ++l)
    sample.terms.push_back(DeviceCorrection::terms(s.layers.x.data() + l * feature_count, sample.us[l]));
  std::vector<double> before(sample.us.size(), 0), all(sample.us.size(), 0);
  before[0] = all[0] = 1;
  const std::vector<double>& share = s.layers.node_share[d];
  for (std::size_t n = 0; n < share.size(); ++n) all[static_cast<std::size_t>(s.layers.layer_of[n])] += share[n];
  NodeId next = 0;
  const auto add = [&](std::vector<double> layers, double ms) {
    if (std::isfinite(ms) && ms > 0) sample.pieces.push_back({std::move(layers), ms});
  };
  for (const Cut& cut : parts.cuts()) {
    for (; next < cut.node; ++next) before[static_cast<std::size_t>(s.layers.layer_of[next])] += share[next];
    std::vector<double> after = all;
    for (std::size_t l = 0; l < after.size(); ++l) after[l] = std::max(after[l] - before[l], 0.0);
    const auto k = static_cast<std::size_t>(cut.k);
    if (cut.node > 0) add(before, times.prefix_ms[k]);
    if (cut.node < share.size()) add(std::move(after), times.suffix_ms[k]);
  }
  return sample;
}

/// Symmetric and positive: the pull is on the diagonal.
Terms solve(std::array<Terms, size> a, Terms b) {
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t r = i + 1; r < size; ++r) {
      const double f = a[r][i] / a[i][i];
      for (std::size_t c = i; c < size; ++c) a[r][c] -= f * a[i][c];
      b[r] -= f * b[i];
    }
  }
  for (std::size_t i = size; i-- > 0;) {
    for (std::size_t c = i + 1; c < size; ++c) b[i] -= a[i][c] * b[c];
    b[i] /= a[i][i];
  }
  return b;
}

/// Every network counts alike, however many pieces it has.
DeviceCorrection fit(const PredictedDevice& device, const std::vector<Sample>& samples) {
  DeviceCorrection c;
  for (int step = 0; step < steps; ++step) {
    std::array<Terms, size> a{};
    Terms b{};
    for (std::size_t j = 0; j < size; ++j) {
      a[j][j] = j == 0 ? 1e-6 : pull;
      b[j] = -a[j][j] * c.of[j];
    }
    for (const Sample& sample : samples) {
      for (const Piece& piece : sample.pieces) {
        Terms gradient{};
        const double ms = predicted_ms(device, sample, piece, c, &gradient), weight = 1 / static_cast<double>(sample.pieces.size());
        if (!(ms > 0)) continue;
        const double off = std::log(piece.measured_ms / ms);
        for (std::size_t i = 0; i < size; ++i) {
          b[i] += weight * off * gradient[i] / ms;
          for (std::size_t j = 0; j < size; ++j) a[i][j] += weight * gradient[i] * gradient[j] / ms / ms;
        }
      }
    }
    const Terms change = solve(a, b);
    double most = 0;
    for (std::size_t j = 0; j < size; ++j) {
      most = std::max(most, std::abs(change[j]));
      c.of[j] += std::clamp(change[j], -longest_step, longest_step);
    }
    if (most < 1e-6) break;
  }
  return c;
}

/// The factor within which the true interval of the forecast's cut lies for `confidence` of the networks (split-conformal rank).
double width_for(const Predictor& predictor, std::span<const MeasuredNetwork> nets) {
  const PredictorInfo& info = predictor.info();
  std::vector<double> off;
  for (const MeasuredNetwork& net : nets) {
    const Forecast f = predictor.forecast(net.parts);
    const auto k = static_cast<std::size_t>(f.k);
    const double real = std::max(times_of(net, info.head).prefix_ms[k], times_of(net, info.tail).suffix_ms[k]);
    if (std::isfinite(real) && real > 0 && f.interval_ms > 0) off.push_back(std::abs(std::log(real / f.interval_ms)));
  }
  if (off.empty()) return 1;
  std::sort(off.begin(), off.end());
  const auto rank = static_cast<std::size_t>(std::ceil(static_cast<double>(off.size() + 1) * info.confidence));
  return std::exp(off[std::min(rank, off.size()) - 1]);
}

}  // namespace

Terms DeviceCorrection::terms(const float* row, double us) noexcept {
  // Layer types in the order of feature_names(): conv, depthwise, grouped, dense, then those without weights.
  const bool thin = row[2] != 0 || row[3] != 0, dense = row[4] != 0, plain = row[1] != 0 || thin || dense;
  return {1, thin ? 1.0 : 0.0, dense ? 1.0 : 0.0, plain ? 0.0 : 1.0, std::clamp(std::log(std::max(us, 1e-9) / typical_us), -4.0, 4.0)};
}

double DeviceCorrection::factor(const Terms& terms) const noexcept {
  double log = 0;
  for (std::size_t j = 0; j < size; ++j) log += of[j] * terms[j];
  return std::exp(std::clamp(log, -8.0, 8.0));
}

Predictor adapt(const Predictor& predictor, std::span<const MeasuredNetwork> nets) {
  if (nets.empty()) throw Error{Errc::bad_argument, "adapt: no networks; measure 10 to 30 on the new devices"};
  auto impl = std::make_shared<Predictor::Impl>(*predictor.impl_);
  for (PredictedDevice& device : impl->devices) device.correction = {};
  PredictorScratch scratch;
  for (int d = 0; d < 2; ++d) {
    std::vector<Sample> samples;
    for (const MeasuredNetwork& net : nets) samples.push_back(sample_of(*impl, d, net, scratch));
    PredictedDevice& device = impl->devices[static_cast<std::size_t>(d)];
    device.correction = fit(device, samples);
  }
  impl->info.adapted_by = nets.size();
  impl->interval_factor = std::max(impl->interval_factor, width_for(Predictor{impl}, nets));
  return Predictor{std::move(impl)};
}

}  // namespace splitcnn::inline v0
