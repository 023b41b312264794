#include "splitcnn/partitioner.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "graph/dpu_limits.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

Partitioner::Partitioner(Graph graph, Granularity granularity)
    : graph_{std::move(graph)},
      granularity_{granularity},
      units_{splitcnn::units(graph_, granularity)},
      cuts_{splitcnn::cuts(graph_, granularity)} {}

Partitioner::Partitioner(QuantizedGraph quant, Granularity granularity)
    : Partitioner{quant.graph(), granularity} {
  quant_ = std::move(quant);
}

namespace {

Segment segment_of_units(std::span<const Unit> units, std::string device, int first, int last) {
  return {.device = std::move(device),
          .first = units[static_cast<std::size_t>(first)].first,
          .last = units[static_cast<std::size_t>(last) - 1].last,
          .first_unit = first,
          .last_unit = last};
}

/// Throws unless a DPU can run the segment. The head up to a legal cut is known to be fine; elsewhere every
/// node is asked.
void require_legal(const Graph& graph, std::span<const Cut> cuts, const Segment& s) {
  const Cut& end = cuts[static_cast<std::size_t>(s.last_unit)];
  if (device_kind(s.device) != DeviceKind::dpu || end.legal) return;
  if (s.first_unit == 0) {
    throw Error{Errc::unsupported,
                fmt::format("cut {} after '{}': not possible on {}: {}; choose an earlier cut", end.k,
                            end.after, s.device, end.reason)};
  }
  for (NodeId n = s.first; n < s.last; ++n) {
    const DpuLimits limits = dpu_limits(graph, n);
    if (limits.legal) continue;
    throw Error{Errc::unsupported,
                fmt::format("units {} to {}: not possible on {}: {}; give them to another device",
                            s.first_unit, s.last_unit, s.device, limits.reason)};
  }
}

}  // namespace

Plan plan_of(const Partitioner& parts, std::vector<Route> routes, Cost cost, std::string why) {
  const bool dpu = std::any_of(routes.begin(), routes.end(), [](const Route& route) {
    return std::any_of(route.segments.begin(), route.segments.end(),
                       [](const Segment& s) { return device_kind(s.device) == DeviceKind::dpu; });
  });
  std::optional<QuantizedGraph> quant;
  if (dpu && parts.quant()) quant = *parts.quant();
  return Plan{parts.graph(), std::move(quant), std::move(routes), cost, std::move(why)};
}

Plan Partitioner::split_at(int k, std::string_view head, std::string_view tail) const {
  const int last = static_cast<int>(units_.size());
  if (k < 0 || k > last) {
    throw Error{Errc::bad_argument,
                fmt::format("cut {}: '{}' has cuts 0 to {}; choose one of them", k, graph_.name(), last)};
  }
  Route route;
  if (k > 0) route.segments.push_back(segment_of_units(units_, std::string{head}, 0, k));
  if (k < last) route.segments.push_back(segment_of_units(units_, std::string{tail}, k, last));
  if (route.segments.size() == 2 && head == tail)
    route.segments = {segment_of_units(units_, std::string{head}, 0, last)};
  for (const Segment& s : route.segments) require_legal(graph_, cuts_, s);
  const std::string why = k == 0 ? fmt::format("Everything on {}, as asked.", tail)
                          : k == last
                              ? fmt::format("Everything on {}, as asked.", head)
                              : fmt::format("Cut {} after '{}', as asked: the head on {}, the tail on {}.", k,
                                            cuts_[static_cast<std::size_t>(k)].after, head, tail);
  return plan_of(*this, {std::move(route)}, {}, why);
}

Plan Partitioner::all_on(std::string_view device, std::string_view rest) const {
  const int last = static_cast<int>(units_.size());
  if (device_kind(device) != DeviceKind::dpu) return split_at(0, device, device);
  int k = last;
  while (k > 0 && !cuts_[static_cast<std::size_t>(k)].legal) --k;
  if (k == 0) {
    throw Error{Errc::unsupported, fmt::format("'{}': {} can run no part of it: {}; run it on another device",
                                               graph_.name(), device, cuts_.at(1).reason)};
  }
  return split_at(k, device, rest);
}

Plan Partitioner::switched(std::span<const std::string> device_per_unit) const {
  if (device_per_unit.size() != units_.size()) {
    throw Error{Errc::bad_argument,
                fmt::format("switched: {} devices for {} units of '{}'; give one device per unit",
                            device_per_unit.size(), units_.size(), graph_.name())};
  }
  Route route;
  for (std::size_t first = 0, last = 0; first < units_.size(); first = last) {
    while (last < units_.size() && device_per_unit[last] == device_per_unit[first]) ++last;
    route.segments.push_back(
        segment_of_units(units_, device_per_unit[first], static_cast<int>(first), static_cast<int>(last)));
    require_legal(graph_, cuts_, route.segments.back());
  }
  return plan_of(*this, {std::move(route)}, {}, "Devices chosen unit by unit, as asked.");
}

}  // namespace splitcnn::inline v0
