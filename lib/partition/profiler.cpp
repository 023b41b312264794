// Measuring a profile: curves per device, what devices do to each other, what they draw.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>

#include "core/log.hpp"
#include "partition/contention.hpp"
#include "partition/hooks.hpp"
#include "partition/measured_so_far.hpp"
#include "partition/power.hpp"
#include "plan/calibration_hash.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

/// A prefix that takes longer than a longer one, or a suffix that takes longer than an earlier one, was
/// disturbed (or conversions at that cut are dear: then the second look says the same).
void look_again(Pieces& pieces, DeviceProfile& d) {
  constexpr double suspicious = 1.02;
  constexpr int looks = 3;
  const int last = pieces.units();
  const auto at = [](std::vector<double>& values, int k) -> double& {
    return values[static_cast<std::size_t>(k)];
  };
  for (int look = 0; look < looks; ++look) {
    bool all_well = true;
    for (int k = last - 1; k > 0; --k) {
      if (!(at(d.prefix_ms, k) > suspicious * at(d.prefix_ms, k + 1))) continue;  // false for NaN
      at(d.prefix_ms, k) = pieces.again(0, k).ms;
      all_well = false;
    }
    for (int k = 1; k < last; ++k) {
      if (!(at(d.suffix_ms, k) > suspicious * at(d.suffix_ms, k - 1))) continue;
      at(d.suffix_ms, k) = pieces.again(k, last).ms;
      all_well = false;
    }
    if (all_well) return;
  }
}

/// Every prefix and suffix, built and timed.
DeviceProfile direct_curves(Pieces& pieces, const std::function<void()>& step) {
  DeviceProfile d{
      .device = pieces.info().name, .backend = pieces.info().backend, .threads = pieces.info().threads};
  const int last = pieces.units();
  std::vector<double> spreads;
  const auto note = [&](const PieceTime& t) {
    d.batch = std::max(d.batch, t.batch);
    if (std::isfinite(t.ms) && t.ms > 0) spreads.push_back(t.spread);
    step();
    return t.ms;
  };
  for (int k = 0; k <= last; ++k) d.prefix_ms.push_back(note(pieces.time(0, k)));
  d.suffix_ms.push_back(d.prefix_ms.back());  // behind cut 0 is the whole network, measured already
  for (int k = 1; k <= last; ++k) d.suffix_ms.push_back(note(pieces.time(k, last)));
  if (!spreads.empty()) d.spread = median_of(std::move(spreads));
  look_again(pieces, d);
  return d;
}

std::vector<double> longest_prefix_in_halves(Pieces& pieces, const DeviceProfile& d) {
  int end = pieces.units();
  while (end > 1 && !std::isfinite(d.prefix_ms[static_cast<std::size_t>(end)])) --end;
  if (end < 2) return {};
  const int middle = end / 2;
  const double ms = d.prefix_ms[static_cast<std::size_t>(middle)] + pieces.time(middle, end).ms -
                    d.prefix_ms[static_cast<std::size_t>(end)];
  return std::isfinite(ms) ? std::vector{ms} : std::vector<double>{};
}

/// The price of one more segment: what two halves cost more than the whole.
double fixed_ms(Pieces& pieces, const DeviceProfile& d) {
  std::vector<double> extra;
  for (std::size_t k = 1; k + 1 < d.prefix_ms.size(); ++k) {
    const double ms = d.prefix_ms[k] + d.suffix_ms[k] - d.prefix_ms.back();
    if (std::isfinite(ms)) extra.push_back(ms);
  }
  if (extra.empty()) extra = longest_prefix_in_halves(pieces, d);
  return extra.empty() ? 0 : std::max(median_of(std::move(extra)), 0.0);
}

bool can_run_something(const DeviceProfile& d) {
  const auto positive = [](double ms) { return std::isfinite(ms) && ms > 0; };
  return std::any_of(d.prefix_ms.begin(), d.prefix_ms.end(), positive) ||
         std::any_of(d.suffix_ms.begin(), d.suffix_ms.end(), positive);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// What a file of pieces measured so far belongs to.
std::string key_of(const Partitioner& parts, const Profile& profile, const Devices& devices,
                   const MeasureOptions& options) {
  std::string key =
      fmt::format("{} {} {} {} runs, {}", profile.graph_hash, static_cast<int>(parts.granularity()),
                  profile.calibration_hash, options.runs, profile.machine);
  for (const DeviceInfo& info : devices.list())
    key += fmt::format(", {}={}/{} {}", info.name, info.backend, info.threads, info.detail);
  return key;
}

class Measurement {
 public:
  Measurement(const Partitioner& parts, const Devices& devices, const MeasureOptions& options)
      : parts_{parts}, devices_{devices}, options_{options} {
    profile_.graph_hash = parts.graph().hash();
    profile_.granularity = parts.granularity();
    profile_.origin = Origin::measured;
    profile_.machine = first_line(build_info());
    if (parts.quant()) profile_.calibration_hash = calibration_hash(*parts.quant());
    if (!options.resume.empty()) so_far_.emplace(options.resume, key_of(parts, profile_, devices, options));
    const std::size_t per_device =
        options.depth == MeasureDepth::hooks ? 2 * anchors() - 1 : 2 * parts.cuts().size() - 1;
    all_ = devices.list().size() * per_device + (options.contention_cuts > 0 ? pairs() : 0);
  }

  Profile run() {
    for (const DeviceInfo& info : devices_.list())
      pieces_.emplace_back(parts_, devices_, info, options_.runs, so_far_ ? &*so_far_ : nullptr);
    std::vector<Pieces*> present;
    for (Pieces& pieces : pieces_) {
      DeviceProfile d = device(pieces);
      if (can_run_something(d)) {
        profile_.devices.push_back(std::move(d));
        present.push_back(&pieces);
      } else {
        log(LogLevel::warning, fmt::format("profile: {} can run no part of '{}'; it is left out",
                                           pieces.info().name, parts_.graph().name()));
      }
    }
    if (options_.contention_cuts > 0) side_by_side(present);
    if (so_far_) so_far_->finish();
    if (options_.progress) options_.progress(all_, all_);
    return std::move(profile_);
  }

 private:
  [[nodiscard]] std::size_t anchors() const {
    return static_cast<std::size_t>(std::max(options_.anchors, 5));
  }
  [[nodiscard]] std::size_t pairs() const {
    return devices_.list().size() * (devices_.list().size() - 1) / 2;
  }
  void step() {
    if (options_.progress && done_ + 1 < all_) options_.progress(++done_, all_);
  }

  DeviceProfile device(Pieces& pieces) {
    const auto tick = [this] { step(); };
    std::optional<DeviceProfile> d;
    if (options_.depth == MeasureDepth::hooks)
      d = hook_curves(parts_, pieces,
                      {.anchors = static_cast<int>(anchors()), .runs = options_.runs, .step = tick});
    if (!d) d = direct_curves(pieces, tick);
    d->fixed_ms = fixed_ms(pieces, *d);
    const bool on_gpu = pieces.info().backend == "cudnn", readable = on_gpu ? energy_.of_gpus() : energy_.of_processor();
    if (const std::unique_ptr<Stage> whole = readable ? pieces.load(0, pieces.units()) : nullptr; whole)
      d->watts = watts_of(*whole, on_gpu, energy_);
    return std::move(*d);
  }

  void side_by_side(const std::vector<Pieces*>& present) {
    for (std::size_t a = 0; a < present.size(); ++a) {
      for (std::size_t b = a + 1; b < present.size(); ++b) {
        const auto pair = measure_contention(*present[a], profile_.devices[a], *present[b],
                                             profile_.devices[b], options_.contention_cuts, options_.runs);
        profile_.contention.insert(profile_.contention.end(), pair.begin(), pair.end());
        step();
      }
    }
  }

  const Partitioner& parts_;
  const Devices& devices_;
  const MeasureOptions& options_;
  Profile profile_;
  std::optional<MeasuredSoFar> so_far_;
  std::deque<Pieces> pieces_;
  EnergyCounters energy_;
  std::size_t done_ = 0, all_ = 0;
};

}  // namespace

Profile measure(const Partitioner& parts, const Devices& devices, const MeasureOptions& options) {
  return Measurement{parts, devices, options}.run();
}

}  // namespace splitcnn::inline v0
