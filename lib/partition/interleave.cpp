// Whole frames to either of two devices: the baseline that any split has to beat.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "partition/search.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

double busy(const RouteCost& cost, const std::string& resource) {
  const auto found = cost.busy_ms.find(resource);
  return found == cost.busy_ms.end() ? 0 : found->second;
}

/// The share of route a that makes the busiest resource least busy. Every resource's load is a line over the
/// share, so the best share is 0, 1, or where two lines meet. (The routes may have a device in common: the
/// CPU behind a DPU.)
double best_share(const RouteCost& a, const RouteCost& b) {
  std::set<std::string> resources;
  for (const auto& [name, ms] : a.busy_ms) resources.insert(name);
  for (const auto& [name, ms] : b.busy_ms) resources.insert(name);
  const auto load = [&](double share) {
    double most = 0;
    for (const std::string& r : resources)
      most = std::max(most, share * busy(a, r) + (1 - share) * busy(b, r));
    return most;
  };
  double best = load(1) < load(0) ? 1 : 0;
  for (const std::string& r : resources) {
    for (const std::string& s : resources) {
      const double slope = busy(a, r) - busy(b, r) - busy(a, s) + busy(b, s);
      const double share = slope == 0 ? 0 : (busy(b, s) - busy(b, r)) / slope;
      if (share > 0 && share < 1 && load(share) < load(best)) best = share;
    }
  }
  return best;
}

}  // namespace

Plan Partitioner::interleave(const Profile& profile, std::string_view a, std::string_view b) const {
  check_profile(*this, profile);
  const std::string rest = rest_device(profile, b);
  const Plan on_a = all_on(a, rest), on_b = all_on(b, rest);
  std::vector<Route> routes{on_a.route(0), on_b.route(0)};
  std::vector<RouteCost> costs;
  for (Route& route : routes) {
    costs.push_back(route_cost(graph_, route, profile, 0));
    if (std::isfinite(costs.back().latency_ms)) continue;
    throw Error{Errc::unsupported,
                fmt::format("interleave of {} and {}: the profile has no time for the whole network on {}; "
                            "measure again with that device",
                            a, b, route.segments.front().device)};
  }

  const double share = best_share(costs[0], costs[1]);
  routes[0].weight = share;
  routes[1].weight = 1 - share;
  const Cost cost{interval_ms(routes, costs), share * costs[0].latency_ms + (1 - share) * costs[1].latency_ms,
                  profile.origin};
  const std::string why = fmt::format(
      "Whole frames: {:.0f} % of them on {} and {:.0f} % on {}, in proportion to their speed; by the {} "
      "profile a result every "
      "{:.2f} ms.",
      100 * share, a, 100 * (1 - share), b, to_string(profile.origin), cost.interval_ms);
  std::erase_if(routes, [](const Route& route) { return route.weight <= 0; });
  return Plan{graph_, quant_, std::move(routes), cost, why};
}

}  // namespace splitcnn::inline v0
