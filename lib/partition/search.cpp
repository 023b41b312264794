#include "partition/search.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "partition/numbers.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

Route route_of_cut(const Partitioner& parts, const Cut& cut, const SearchOptions& options) {
  const auto nodes = static_cast<NodeId>(parts.graph().nodes().size());
  const int last = static_cast<int>(parts.units().size());
  Route route;
  if (options.head == options.tail) {
    route.segments.push_back({options.head, 0, nodes, 0, last});
    return route;
  }
  if (cut.k > 0) route.segments.push_back({options.head, 0, cut.node, 0, cut.k});
  if (cut.k < last) route.segments.push_back({options.tail, cut.node, nodes, cut.k, last});
  return route;
}

Candidate candidate_at(const Partitioner& parts, const Profile& profile, const SearchOptions& options,
                       const Cut& cut) {
  Candidate row{.k = cut.k};
  Route route = route_of_cut(parts, cut, options);
  const RouteCost cost = route_cost(parts.graph(), route, profile, {.frame_interval_ms = options.frame_interval_ms});
  row.head_ms = profile.segment_ms(options.head, 0, cut.k);
  row.tail_ms = profile.segment_ms(options.tail, cut.k, static_cast<int>(parts.units().size()));
  row.link_ms = cost.link_ms;
  row.bytes = cost.bytes;
  const bool dpu_head = device_kind(options.head) == DeviceKind::dpu && cut.k > 0;
  row.legal = (!dpu_head || cut.legal) && std::isfinite(cost.latency_ms);
  row.cost = row.legal ? Cost{interval_ms({route}, {cost}, profile), cost.latency_ms, profile.origin}
                       : Cost{infinite, infinite, profile.origin};
  return row;
}

/// Ties go to the better other objective, then to the earlier cut.
bool better(const Candidate& a, const Candidate& b, Objective objective) {
  const auto key = [&](const Candidate& c) {
    return objective == Objective::interval ? std::pair{c.cost.interval_ms, c.cost.latency_ms}
                                            : std::pair{c.cost.latency_ms, c.cost.interval_ms};
  };
  return key(a) < key(b);
}

}  // namespace

void check_profile(const Partitioner& parts, const Profile& profile) {
  if (profile.graph_hash != parts.graph().hash()) {
    throw Error{
        Errc::mismatch,
        fmt::format("profile: it was made for another graph than '{}'; measure again with 'splitcnn profile'",
                    parts.graph().name())};
  }
  if (profile.granularity != parts.granularity()) {
    throw Error{
        Errc::mismatch,
        fmt::format("profile: its cuts are of granularity '{}', asked for is '{}'; measure again with "
                    "that granularity",
                    granularity_name(profile.granularity), granularity_name(parts.granularity()))};
  }
  for (const DeviceProfile& d : profile.devices) {
    if (d.prefix_ms.size() == parts.cuts().size() && d.suffix_ms.size() == parts.cuts().size()) continue;
    throw Error{Errc::mismatch,
                fmt::format("profile: '{}' has times for {} cuts, the graph has {}; measure again", d.device,
                            d.prefix_ms.size(), parts.cuts().size())};
  }
}

std::string rest_device(const Profile& profile, std::string_view otherwise) {
  const bool cpu = std::any_of(profile.devices.begin(), profile.devices.end(),
                               [](const DeviceProfile& d) { return d.device == "cpu"; });
  return cpu ? "cpu" : std::string{otherwise};
}

std::vector<Candidate> Partitioner::candidates(const Profile& profile, const SearchOptions& options) const {
  check_profile(*this, profile);
  if (!(options.frame_interval_ms >= 0))
    throw Error{Errc::bad_argument, "search: frame_interval_ms is negative; give 0 or a period"};
  std::vector<Candidate> rows;
  for (const Cut& cut : cuts_) rows.push_back(candidate_at(*this, profile, options, cut));
  return rows;
}

Plan Partitioner::search(const Profile& profile, const SearchOptions& options) const {
  const bool dpu =
      device_kind(options.head) == DeviceKind::dpu || device_kind(options.tail) == DeviceKind::dpu;
  if (dpu && !quant_) {
    throw Error{Errc::not_calibrated,
                fmt::format("'{}': a DPU needs calibration and this graph has none; run 'splitcnn calibrate "
                            "MODEL --frames DIR' first",
                            graph_.name())};
  }
  const std::vector<Candidate> rows = candidates(profile, options);
  const auto best = std::min_element(rows.begin(), rows.end(), [&](const Candidate& a, const Candidate& b) {
    return better(a, b, options.objective);
  });
  if (!best->legal) {
    throw Error{
        Errc::unsupported,
        fmt::format(
            "'{}': the profile has no cut at which {} and {} together can run it; measure other devices",
            graph_.name(), options.head, options.tail)};
  }
  Route route = split_at(best->k, options.head, options.tail).route(0);
  (void)route_cost(graph_, route, profile, {.frame_interval_ms = options.frame_interval_ms});  // fills in expected_ms
  return plan_of(*this, {std::move(route)}, best->cost, explain(*this, profile, options, *best));
}

Cost Partitioner::cost(const Plan& plan, const Profile& profile) const {
  check_profile(*this, profile);
  std::vector<Route> routes{plan.routes().begin(), plan.routes().end()};
  std::erase_if(routes, [](const Route& route) { return route.weight == 0; });  // standby
  std::vector<RouteCost> costs;
  double latency = 0;
  for (Route& route : routes) {
    for (const Segment& s : route.segments) {
      const auto first = static_cast<std::size_t>(s.first_unit), last = static_cast<std::size_t>(s.last_unit);
      const bool fits = s.first_unit >= 0 && s.last_unit > s.first_unit && last <= units_.size() &&
                        units_[first].first == s.first && units_[last - 1].last == s.last;
      if (!fits) {
        throw Error{
            Errc::mismatch,
            fmt::format(
                "plan: its segment of nodes {} to {} does not end at units of this partitioner; use the "
                "graph and granularity the plan was made with",
                s.first, s.last)};
      }
    }
    costs.push_back(route_cost(graph_, route, profile));
    latency += route.weight * costs.back().latency_ms;
  }
  const double interval = interval_ms(routes, costs, profile);
  if (!std::isfinite(interval) || !std::isfinite(latency)) return {infinite, infinite, profile.origin};
  return {interval, latency, profile.origin};
}

}  // namespace splitcnn::inline v0
