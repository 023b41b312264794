// Devices by their data sheet, and the fits of such models and of links to measurements.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/json_file.hpp"
#include "graph/dpu_limits.hpp"
#include "partition/device_work.hpp"
#include "partition/minimise.hpp"
#include "partition/numbers.hpp"
#include "partition/search.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

double layer_ms(const GpuWork& work, const DeviceModel& d) {
  if (!work.kernel) return 0;
  const double arithmetic_us = work.flop * d.batch / (d.tops * 1e6);
  const double memory_us = d.element_bytes * (d.batch * work.maps + work.weights) / (d.bandwidth_gbs * 1e3);
  return (std::max(arithmetic_us, memory_us) + d.layer_us) / 1e3;
}

/// Sums over nodes [0, n), so that a range is a difference.
std::vector<double> cumulated(const std::vector<GpuWork>& work, const DeviceModel& d) {
  std::vector<double> sum{0};
  for (const GpuWork& w : work) sum.push_back(sum.back() + layer_ms(w, d));
  return sum;
}

double range_ms(const std::vector<double>& sum, const DeviceModel& d, NodeId first, NodeId last) {
  return first == last ? 0 : (d.start_us / 1e3 + sum[last] - sum[first]) / d.batch;
}

bool can_run(const Partitioner& parts, const DeviceModel& d, NodeId first, NodeId last) {
  if (device_kind(d.device) != DeviceKind::dpu) return true;
  for (NodeId n = first; n < last; ++n) {
    if (!dpu_limits(parts.graph(), n).legal) return false;
  }
  return true;
}

DeviceModel read_device(const nlohmann::json& value, const std::string& where) {
  DeviceModel d;
  d.device = require<std::string>(value, "device", where);
  d.name = value.contains("name") ? require<std::string>(value, "name", where) : d.device + " (model)";
  if (value.contains("batch")) d.batch = static_cast<int>(require_integer(value, "batch", where, 1, 4096));
  if (value.contains("fused")) d.fused = require<bool>(value, "fused", where);
  const auto number = [&](const char* key, double& field, double low) {
    if (value.contains(key)) field = require_number(value, key, where);
    else if (std::isnan(field)) return;
    if (!(field >= low) || field > 1e9) throw Error{Errc::bad_file, fmt::format("{}: '{}' of {} is out of range", where, key, d.device)};
  };
  number("tops", d.tops, 1e-6);
  number("bandwidth_gbs", d.bandwidth_gbs, 1e-6);
  number("layer_us", d.layer_us, 0);
  number("start_us", d.start_us, 0);
  number("element_bytes", d.element_bytes, 0.125);
  number("watts", d.watts, 0);
  return d;
}

const nlohmann::json& objects(const nlohmann::json& file, const char* key, const std::string& where) {
  static const nlohmann::json none = nlohmann::json::array();
  const auto found = file.find(key);
  if (found == file.end()) return none;
  const bool good = found->is_array() && found->size() <= 64 && std::all_of(found->begin(), found->end(), [](const auto& o) { return o.is_object(); });
  if (!good) throw Error{Errc::bad_file, fmt::format("{}: '{}' is not a list of at most 64 objects", where, key)};
  return *found;
}

}  // namespace

DeviceModels DeviceModels::load(const std::filesystem::path& path) {
  const nlohmann::json file = read_json(path);
  const std::string where = path.string();
  check_format(file, "splitcnn-device-models", 1, where);
  DeviceModels models;
  for (const auto& item : objects(file, "devices", where)) models.devices.push_back(read_device(item, where));
  if (models.devices.empty()) throw Error{Errc::bad_file, where + ": it has no device"};
  for (const auto& item : objects(file, "links", where)) {
    const double gbs = require_number(item, "gbs", where), us = item.contains("us") ? require_number(item, "us", where) : 0;
    if (!(gbs > 0) || !(us >= 0)) throw Error{Errc::bad_file, where + ": a link needs gbs above 0 and us of 0 or more"};
    models.links.push_back({require<std::string>(item, "from", where), require<std::string>(item, "to", where), us / 1e3, 1 / (gbs * 1e6)});
  }
  return models;
}

std::vector<double> node_ms(const Graph& graph, const DeviceModel& device) {
  std::vector<double> ms;
  for (const GpuWork& work : gpu_work(graph, device.fused)) ms.push_back(layer_ms(work, device));
  return ms;
}

Profile model(const Partitioner& parts, const DeviceModels& models) {
  const auto last = static_cast<NodeId>(parts.graph().nodes().size());
  Profile profile;
  profile.graph_hash = parts.graph().hash();
  profile.granularity = parts.granularity();
  profile.origin = Origin::modelled;
  profile.links = models.links;
  for (const DeviceModel& m : models.devices) {
    DeviceProfile d{.device = m.device, .backend = m.name, .batch = static_cast<std::size_t>(m.batch), .fixed_ms = m.start_us / 1e3 / m.batch, .watts = m.watts};
    const std::vector<double> sum = cumulated(gpu_work(parts.graph(), m.fused), m);
    for (const Cut& cut : parts.cuts()) {
      d.prefix_ms.push_back(can_run(parts, m, 0, cut.node) ? range_ms(sum, m, 0, cut.node) : nan);
      d.suffix_ms.push_back(can_run(parts, m, cut.node, last) ? range_ms(sum, m, cut.node, last) : nan);
    }
    profile.machine += (profile.machine.empty() ? "" : " + ") + m.name;
    profile.devices.push_back(std::move(d));
  }
  return profile;
}

Calibrated calibrate(const Partitioner& parts, const DeviceModel& start, const Profile& profile) {
  check_profile(parts, profile);
  const DeviceProfile& measured = profile.device(start.device);
  const int last = static_cast<int>(parts.units().size());
  Calibrated result;
  const auto add = [&](int first, int end, double ms) {
    if (first != end && std::isfinite(ms) && ms > 0) result.residuals.push_back({first, end, ms, 0});
  };
  for (int k = 0; k <= last; ++k) {
    add(0, k, measured.prefix_ms[static_cast<std::size_t>(k)]);
    if (k > 0) add(k, last, measured.suffix_ms[static_cast<std::size_t>(k)]);
  }
  if (result.residuals.size() < 4) {
    throw Error{Errc::bad_argument, fmt::format("calibrate: the profile has {} times of {} and four parameters need at least as many",
                                                result.residuals.size(), start.device)};
  }
  const std::vector<GpuWork> work = gpu_work(parts.graph(), start.fused);
  const auto node = [&](int k) { return parts.cuts()[static_cast<std::size_t>(k)].node; };
  const auto with = [&](std::span<const double> x) {
    DeviceModel m = start;
    m.batch = static_cast<int>(measured.batch);
    m.tops = x[0], m.bandwidth_gbs = x[1], m.layer_us = x[2], m.start_us = x[3];
    return m;
  };
  const auto range = [](double middle) { return ParameterRange{std::max(middle, 1e-3) / 100, std::max(middle, 1e-3) * 100}; };
  const ParameterRange ranges[] = {range(start.tops), range(start.bandwidth_gbs), range(start.layer_us), range(start.start_us)};
  const std::vector<double> best = minimise(ranges, [&](std::span<const double> x) {
    const DeviceModel m = with(x);
    const std::vector<double> sum = cumulated(work, m);
    double loss = 0;
    for (const Calibrated::Residual& r : result.residuals) {
      loss += std::pow(std::log(range_ms(sum, m, node(r.first_unit), node(r.last_unit)) / r.measured_ms), 2);
    }
    return loss;
  });
  result.model = with(best);
  const std::vector<double> sum = cumulated(work, result.model);
  for (Calibrated::Residual& r : result.residuals) {
    r.modelled_ms = range_ms(sum, result.model, node(r.first_unit), node(r.last_unit));
    const double error = std::abs(r.modelled_ms / r.measured_ms - 1);
    result.mean_abs_error += error / static_cast<double>(result.residuals.size());
    result.max_abs_error = std::max(result.max_abs_error, error);
  }
  return result;
}

Link fit_link(std::string from, std::string to, std::span<const Transfer> transfers) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const Transfer& t : transfers) {
    const double bytes = static_cast<double>(t.bytes);
    n += 1, x += bytes, y += t.ms, xx += bytes * bytes, xy += bytes * t.ms;
  }
  const double determinant = n * xx - x * x;
  if (!(determinant > 0)) throw Error{Errc::bad_argument, "fit_link: transfers of at least two different sizes are needed"};
  const double slope = std::max((n * xy - x * y) / determinant, 0.0);
  return {std::move(from), std::move(to), std::max((y - slope * x) / n, 0.0), slope};
}

}  // namespace splitcnn::inline v0
