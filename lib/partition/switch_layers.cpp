// Layer switching on a profile: the chain of lib/partition/switching.hpp made of units, devices and links.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "graph/dpu_limits.hpp"
#include "partition/numbers.hpp"
#include "partition/search.hpp"
#include "partition/switching.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

bool device_can_run(const Graph& graph, const Unit& unit, std::string_view device) {
  if (device_kind(device) != DeviceKind::dpu) return true;
  for (NodeId n = unit.first; n < unit.last; ++n) {
    if (!dpu_limits(graph, n).legal) return false;
  }
  return true;
}

/// What unit `u` adds to a segment of the device: a difference of prefixes, or of suffixes where the device cannot run the
/// prefix. Noise can make it negative; nothing takes less than no time.
double unit_ms(const DeviceProfile& d, std::size_t u) {
  const double by_prefix = d.prefix_ms[u + 1] - d.prefix_ms[u];
  const double by_suffix = d.suffix_ms[u] - d.suffix_ms[u + 1];
  const double ms = std::isnan(by_prefix) ? by_suffix : by_prefix;
  return std::isnan(ms) ? infinite : std::max(ms, 0.0);
}

std::size_t switch_bytes(const Graph& graph, const Cut& cut, std::string_view from, std::string_view to) {
  const auto either = [&](DeviceKind kind) { return device_kind(from) == kind || device_kind(to) == kind; };
  std::size_t elements = 0;
  for (const TensorId t : cut.tensors) elements += static_cast<std::size_t>(graph.tensor(t).shape.elements());
  return elements * crossing_element_size(either(DeviceKind::dpu), either(DeviceKind::gpu));
}

SwitchProblem make_problem(const Partitioner& parts, const Profile& profile, const std::vector<std::string>& devices) {
  SwitchProblem p{.devices = devices.size(), .units = parts.units().size()};
  for (const std::string& name : devices) {
    const DeviceProfile& d = profile.device(name);
    for (std::size_t u = 0; u < p.units; ++u) {
      p.unit_ms.push_back(device_can_run(parts.graph(), parts.units()[u], name) ? unit_ms(d, u) : infinite);
    }
  }
  for (std::size_t u = 0; u < p.units; ++u) {
    for (const std::string& from : devices) {
      for (const std::string& to : devices) {
        const double ms = from == to ? 0
                                     : profile.device(to).fixed_ms +
                                           profile.transfer_ms(from, to, switch_bytes(parts.graph(), parts.cuts()[u], from, to));
        p.switch_ms.push_back(ms);
      }
    }
  }
  return p;
}

Assignment assign(const SwitchProblem& problem, const SwitchOptions& options) {
  if (options.method == SwitchMethod::optimal) {
    return options.objective == Objective::latency ? optimal_latency(problem) : optimal_interval(problem);
  }
  if (options.objective == Objective::interval) {
    throw Error{Errc::bad_argument, "switch_layers: greedy knows the latency objective only; use SwitchMethod::optimal"};
  }
  return greedy_latency(problem);
}

/// Each device alone, for the explanation: " dpu:0 12.3 ms, cpu 40.1 ms".
std::string alone(const SwitchProblem& problem, const std::vector<std::string>& devices) {
  std::string text;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    const double ms = evaluate(problem, std::vector<std::size_t>(problem.units, d)).latency_ms;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", devices[d], std::isfinite(ms) ? fmt::format("{:.2f} ms", ms) : "not possible");
  }
  return text;
}

}  // namespace

Plan Partitioner::switch_layers(const Profile& profile, const SwitchOptions& options) const {
  check_profile(*this, profile);
  std::vector<std::string> devices = options.devices;
  if (devices.empty()) {
    for (const DeviceProfile& d : profile.devices) devices.push_back(d.device);
  }
  const SwitchProblem problem = make_problem(*this, profile, devices);
  const Assignment chosen = assign(problem, options);
  if (chosen.device.empty()) {
    throw Error{Errc::unsupported, fmt::format("'{}': some unit runs on none of the {} devices of the profile; measure the CPU, too",
                                               graph_.name(), devices.size())};
  }
  std::vector<std::string> per_unit;
  for (const std::size_t d : chosen.device) per_unit.push_back(devices[d]);
  Route route = switched(per_unit).route(0);
  const RouteCost by_segments = route_cost(graph_, route, profile);
  const Cost cost{interval_ms({route}, {by_segments}, profile), by_segments.latency_ms, profile.origin};
  const std::string why = fmt::format(
      "Unit by unit, least {} by the {} profile with {} switches: {:.2f} ms latency, {:.2f} ms interval. One device alone (latency): {}.",
      options.objective == Objective::latency ? "latency" : "interval", to_string(profile.origin), chosen.switches(), cost.latency_ms,
      cost.interval_ms, alone(problem, devices));
  return plan_of(*this, {std::move(route)}, cost, why);
}

}  // namespace splitcnn::inline v0
