// Measuring a profile: every prefix and suffix as a real stage, loaded, run and freed one at a time.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/half.hpp"
#include "core/log.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Noise that looks like activations to the device: small floats, full-range int8.
void fill_with_noise(Tensor& tensor, std::mt19937_64& random) {
  std::uniform_real_distribution<float> unit{-1, 1};
  switch (tensor.spec().dtype) {
    case DType::f32:
      for (float& v : tensor.as<float>()) v = unit(random);
      break;
    case DType::f16:
      for (std::uint16_t& v : tensor.as<std::uint16_t>()) v = to_half(unit(random));
      break;
    case DType::i8:
    case DType::u8:
      for (std::uint8_t& v : tensor.as<std::uint8_t>()) v = static_cast<std::uint8_t>(random());
      break;
  }
}

struct Buffers {
  std::vector<Tensor> tensors;
  std::vector<TensorView> views;

  Buffers(std::span<const TensorSpec> specs, std::size_t frames) {
    for (std::size_t f = 0; f < frames; ++f) {
      for (const TensorSpec& spec : specs) tensors.emplace_back(spec);
    }
    for (Tensor& t : tensors) views.push_back(t.view());
  }
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Timed {
  double ms = nan;  ///< per frame
  std::size_t batch = 1;
};

Timed time_stage(Stage& stage, int runs) {
  const std::size_t frames = std::max<std::size_t>(stage.preferred_batch(), 1);
  std::mt19937_64 random{1};
  Buffers in{stage.inputs(), frames}, out{stage.outputs(), frames};
  for (Tensor& t : in.tensors) fill_with_noise(t, random);
  const Batch batch{frames, in.views, out.views};

  stage.prepare();
  std::vector<double> ms;
  for (int run = 0; run <= runs; ++run) {  // the first is the warm-up
    const Clock::time_point start = Clock::now();
    const Status status = stage.wait(stage.submit(batch), start + std::chrono::minutes{5});
    if (!status.ok())
      throw Error{status.code, fmt::format("profile of '{}': {}", stage.name(), status.message)};
    if (run > 0) ms.push_back(Millis{Clock::now() - start}.count() / static_cast<double>(frames));
  }
  return {median(std::move(ms)), frames};
}

/// Measures the pieces of one device.
class DeviceMeasurement {
 public:
  DeviceMeasurement(const Partitioner& parts, const Devices& devices, const DeviceInfo& info,
                    const MeasureOptions& options)
      : parts_{parts}, devices_{devices}, info_{info}, runs_{std::max(options.runs, 1)} {
    // The neighbour decides what crosses: a DPU hands int8 to a float device and the other way round. It is
    // not run.
    const bool dpu = device_kind(info.name) == DeviceKind::dpu;
    for (const DeviceInfo& other : devices.list()) {
      const bool other_dpu = device_kind(other.name) == DeviceKind::dpu;
      if (other_dpu == dpu) continue;
      (other_dpu ? dpu_neighbour_ : float_neighbour_) = other.name;
      break;
    }
  }

  double prefix(int k) { return piece(0, k); }
  double suffix(int k) { return piece(k, last()); }

  /// Units [first, last) on the device, the rest on its neighbours. NaN where the device cannot run them.
  double piece(int first, int last_unit) {
    if (first == last_unit) return 0;
    const bool on_dpu = device_kind(info_.name) == DeviceKind::dpu;
    if (on_dpu && (!parts_.quant() || (first == 0 && !cut(last_unit).legal))) return nan;
    try {
      const Plan plan = plan_of(first, last_unit);
      const auto& segments = plan.route(0).segments;
      const auto mine = std::find_if(segments.begin(), segments.end(), [&](const Segment& s) {
        return s.first_unit == first && s.device == info_.name;
      });
      const std::unique_ptr<Stage> stage = devices_.load(plan, *mine);
      const Timed timed = time_stage(*stage, runs_);
      batch_ = std::max(batch_, timed.batch);
      return timed.ms;
    } catch (const Error& e) {
      if (e.code() == Errc::unsupported || e.code() == Errc::not_calibrated) return nan;
      throw;
    }
  }

  /// The price of one more segment: what two halves cost more than the whole.
  double fixed(const DeviceProfile& d) {
    const double whole = d.prefix_ms.back();
    std::vector<double> extra;
    for (std::size_t k = 1; k + 1 < d.prefix_ms.size(); ++k) {
      const double ms = d.prefix_ms[k] + d.suffix_ms[k] - whole;
      if (std::isfinite(ms)) extra.push_back(ms);
    }
    if (extra.empty()) extra = longest_prefix_in_halves(d);
    return extra.empty() ? 0 : std::max(median(std::move(extra)), 0.0);
  }

  [[nodiscard]] std::size_t batch() const noexcept { return batch_; }

 private:
  [[nodiscard]] int last() const { return static_cast<int>(parts_.units().size()); }
  [[nodiscard]] const Cut& cut(int k) const { return parts_.cuts()[static_cast<std::size_t>(k)]; }

  std::vector<double> longest_prefix_in_halves(const DeviceProfile& d) {
    int end = last();
    while (end > 1 && !std::isfinite(d.prefix_ms[static_cast<std::size_t>(end)])) --end;
    if (end < 2) return {};
    const int middle = end / 2;
    const double ms = d.prefix_ms[static_cast<std::size_t>(middle)] + piece(middle, end) -
                      d.prefix_ms[static_cast<std::size_t>(end)];
    return std::isfinite(ms) ? std::vector{ms} : std::vector<double>{};
  }

  Plan plan_of(int first, int last_unit) const {
    std::vector<std::string> device(parts_.units().size());
    for (int u = 0; u < last(); ++u) {
      const bool before = u < first, inside = !before && u < last_unit;
      const bool dpu_before = before && !dpu_neighbour_.empty() && parts_.quant() && cut(first).legal;
      device[static_cast<std::size_t>(u)] = inside       ? info_.name
                                            : dpu_before ? dpu_neighbour_
                                                         : float_neighbour_;
    }
    return parts_.switched(device);
  }

  const Partitioner& parts_;
  const Devices& devices_;
  const DeviceInfo& info_;
  int runs_;
  std::string dpu_neighbour_, float_neighbour_ = "host";
  std::size_t batch_ = 1;
};

bool can_run_something(const DeviceProfile& d) {
  const auto positive = [](double ms) { return std::isfinite(ms) && ms > 0; };
  return std::any_of(d.prefix_ms.begin(), d.prefix_ms.end(), positive) ||
         std::any_of(d.suffix_ms.begin(), d.suffix_ms.end(), positive);
}

}  // namespace

Profile measure(const Partitioner& parts, const Devices& devices, const MeasureOptions& options) {
  Profile profile;
  profile.graph_hash = parts.graph().hash();
  profile.granularity = parts.granularity();
  profile.origin = Origin::measured;
  const std::string build = build_info();
  profile.machine = build.substr(0, build.find('\n'));

  const std::size_t cuts = parts.cuts().size(), all = devices.list().size() * (2 * cuts - 1);
  std::size_t done = 0;
  const auto step = [&] {
    if (options.progress) options.progress(std::min(++done, all), all);
  };
  for (const DeviceInfo& info : devices.list()) {
    DeviceMeasurement device{parts, devices, info, options};
    DeviceProfile d{.device = info.name, .backend = info.backend, .threads = info.threads};
    for (std::size_t k = 0; k < cuts; ++k) {
      d.prefix_ms.push_back(device.prefix(static_cast<int>(k)));
      step();
    }
    for (std::size_t k = 0; k < cuts; ++k) {
      // the suffix behind cut 0 is the prefix before the last: the whole network, measured already
      d.suffix_ms.push_back(k == 0 ? d.prefix_ms.back() : device.suffix(static_cast<int>(k)));
      if (k > 0) step();
    }
    d.fixed_ms = device.fixed(d);
    d.batch = device.batch();
    if (can_run_something(d)) {
      profile.devices.push_back(std::move(d));
    } else {
      log(LogLevel::warning, fmt::format("profile: {} can run no part of '{}'; it is left out", info.name,
                                         parts.graph().name()));
    }
  }
  return profile;
}

}  // namespace splitcnn::inline v0
