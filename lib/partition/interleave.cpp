// Whole frames to either of two devices: the baseline that any split has to beat.
#include <fmt/core.h>

#include <cmath>

#include "partition/search.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

Plan Partitioner::interleave(const Profile& profile, std::string_view a, std::string_view b) const {
  check_profile(*this, profile);
  const std::string rest = rest_device(profile, b);
  const Plan on_a = all_on(a, rest), on_b = all_on(b, rest);
  std::vector<Route> routes{on_a.route(0), on_b.route(0)};
  std::vector<RouteCost> costs;
  for (Route& route : routes) {
    costs.push_back(route_cost(graph_, route, profile));
    if (std::isfinite(costs.back().latency_ms)) continue;
    throw Error{Errc::unsupported,
                fmt::format("interleave of {} and {}: the profile has no time for the whole network on {}; "
                            "measure again with that device",
                            a, b, route.segments.front().device)};
  }

  const double share = best_share(costs[0], costs[1]);
  routes[0].weight = share;
  routes[1].weight = 1 - share;
  const Cost cost{interval_ms(routes, costs, profile), share * costs[0].latency_ms + (1 - share) * costs[1].latency_ms,
                  profile.origin};
  const std::string why = fmt::format(
      "Whole frames: {:.0f} % of them on {} and {:.0f} % on {}, in proportion to their speed; by the {} "
      "profile a result every "
      "{:.2f} ms.",
      100 * share, a, 100 * (1 - share), b, to_string(profile.origin), cost.interval_ms);
  std::erase_if(routes, [](const Route& route) { return route.weight <= 0; });
  return plan_of(*this, std::move(routes), cost, why);
}

}  // namespace splitcnn::inline v0
