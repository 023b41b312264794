// A predictor corrected by a few networks measured on other devices. The other devices are models, so that what is true is known.
#include <algorithm>
#include <cmath>
#include <random>

#include "predictor/training/random_cnn.hpp"
#include "splitcnn/device_model.hpp"
#include "splitcnn/predictor.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

Predictor modelled_pair() { return Predictor::load(SPLITCNN_WEIGHTS); }

/// Random networks with the times of devices that the weights were not trained for: another parameter set, the head 2.5 times slower, the
/// tail 2.5 times faster, with noise of 3 %.
class OtherDevices {
 public:
  explicit OtherDevices(std::uint64_t seed) : random_{seed}, next_{seed % 1'000'000} {}

  std::vector<MeasuredNetwork> networks(std::size_t count) {
    std::vector<MeasuredNetwork> all;
    while (all.size() < count) {
      try {
        const Partitioner parts{splitcnn_training::random_cnn(next_++, {.most_macs = 2e9, .most_weights = 1e7}).graph};
        all.push_back({parts, profile(parts)});
      } catch (const Error& e) {
        if (e.code() != Errc::bad_argument) throw;  // that seed gives no network
      }
    }
    return all;
  }

 private:
  Profile profile(const Partitioner& parts) {
    DpuModel dpu = DpuModel::vck190_table1();
    GpuModel gpu = GpuModel::rtx2080_table1();
    Profile p = model(parts, dpu, gpu, {});
    std::normal_distribution<double> noise{0, 0.03};
    const double by[2] = {2.5, 0.4};
    for (std::size_t d = 0; d < 2; ++d) {
      for (double& ms : p.devices[d].prefix_ms) ms *= by[d] * std::exp(noise(random_));
      for (double& ms : p.devices[d].suffix_ms) ms *= by[d] * std::exp(noise(random_));
    }
    return p;
  }

  std::mt19937_64 random_;
  std::uint64_t next_;
};

double interval(const MeasuredNetwork& net, std::size_t k) {
  return std::max(net.profile.devices[0].prefix_ms[k], net.profile.devices[1].suffix_ms[k]);
}

/// Mean regret of the forecasts' cuts, and mean error of their intervals (logarithms).
std::pair<double, double> score(const Predictor& predictor, const std::vector<MeasuredNetwork>& nets) {
  double regret = 0, error = 0;
  for (const MeasuredNetwork& net : nets) {
    const Forecast f = predictor.forecast(net.parts);
    double best = interval(net, 0);
    for (std::size_t k = 0; k < net.parts.cuts().size(); ++k)
      if (std::isfinite(interval(net, k)) && net.parts.cuts()[k].legal) best = std::min(best, interval(net, k));
    const double real = interval(net, static_cast<std::size_t>(f.k));
    regret += real / best - 1;
    error += std::abs(std::log(real / f.interval_ms));
  }
  return {regret / static_cast<double>(nets.size()), error / static_cast<double>(nets.size())};
}

Errc code_of(std::span<const MeasuredNetwork> nets) {
  try {
    (void)adapt(modelled_pair(), nets);
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("twelve networks of other devices correct the predictor for networks it has not seen") {
  OtherDevices devices{splitcnn_test::seed()};
  const std::vector<MeasuredNetwork> few = devices.networks(12), unseen = devices.networks(30);
  const Predictor before = modelled_pair(), after = adapt(before, few);
  const auto [regret_before, error_before] = score(before, unseen);
  const auto [regret_after, error_after] = score(after, unseen);
  CAPTURE(regret_before, regret_after, error_before, error_after);
  CHECK(regret_after < 0.5 * regret_before);
  CHECK(error_after < 0.5 * error_before);
  CHECK(after.info().adapted_by == 12);
  CHECK(before.info().adapted_by == 0);
  CHECK(score(before, unseen).first == regret_before);  // the one that was given is as it was
  const Forecast f = after.forecast(unseen[0].parts);
  CHECK(f.low_ms < f.interval_ms);
  // Profiles and forecasts agree, and adapting again starts from the weights.
  const Predictor again = adapt(after, few);
  CHECK(again.forecast(unseen[0].parts).interval_ms == Approx(f.interval_ms).epsilon(1e-9));
  const Profile p = after.profile(unseen[0].parts);
  CHECK(p.devices[1].suffix_ms.front() == Approx(f.tail_ms.front()));
}

TEST_CASE("a predictor adapted to what it predicts stays what it is") {
  const Predictor predictor = modelled_pair();
  std::vector<MeasuredNetwork> nets;
  for (const char* name : {"resnet18", "mobilenet_v2", "googlenet"}) {
    const Partitioner parts{Graph::zoo(name)};
    nets.push_back({parts, predictor.profile(parts)});
  }
  const Predictor same = adapt(predictor, nets);
  const Partitioner parts{Graph::zoo("squeezenet1_1")};
  const Forecast f = predictor.forecast(parts), g = same.forecast(parts);
  for (std::size_t k = 0; k < f.head_ms.size(); ++k) {
    CHECK(g.head_ms[k] == Approx(f.head_ms[k]).epsilon(1e-6));
    CHECK(g.tail_ms[k] == Approx(f.tail_ms[k]).epsilon(1e-6));
  }
}

TEST_CASE("adapt refuses what it cannot learn from, and takes what is unknown as unknown") {
  const Predictor predictor = modelled_pair();
  const Partitioner parts{Graph::zoo("lenet5")}, other{Graph::zoo("squeezenet1_1")};
  MeasuredNetwork net{parts, predictor.profile(parts)};
  CHECK(code_of({}) == Errc::bad_argument);
  MeasuredNetwork wrong{other, net.profile};
  CHECK(code_of({&wrong, 1}) == Errc::bad_argument);
  MeasuredNetwork half = net;
  half.profile.devices.pop_back();
  CHECK(code_of({&half, 1}) == Errc::bad_argument);
  MeasuredNetwork unknown = net;
  for (DeviceProfile& d : unknown.profile.devices) {
    std::fill(d.prefix_ms.begin(), d.prefix_ms.end(), std::nan(""));
    std::fill(d.suffix_ms.begin(), d.suffix_ms.end(), std::nan(""));
  }
  const Predictor same = adapt(predictor, {&unknown, 1});
  CHECK(same.forecast(parts).interval_ms == Approx(predictor.forecast(parts).interval_ms));
}
