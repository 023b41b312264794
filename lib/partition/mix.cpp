// Two routes that share the frames: splits, whole networks, and any pair of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "partition/search.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

struct Strategy {
  Route route;
  RouteCost cost;
  std::string name;
};

struct Mixture {
  std::size_t a = 0, b = 0;  // strategies; equal = one alone
  double share = 1;          // of a
  double interval_ms = std::numeric_limits<double>::infinity();
};

/// Every plan that needs no second route, as far as the profile has times for it.
std::vector<Strategy> strategies(const Partitioner& parts, const Profile& profile, const MixOptions& options) {
  std::vector<Strategy> all;
  const auto add = [&](const Plan& plan, std::string name) {
    Route route = plan.route(0);
    RouteCost cost = route_cost(parts.graph(), route, profile, 0);
    if (std::isfinite(cost.latency_ms)) all.push_back({std::move(route), std::move(cost), std::move(name)});
  };
  const int last = static_cast<int>(parts.units().size());
  for (const auto& [head, tail] : {std::pair{options.a, options.b}, std::pair{options.b, options.a}}) {
    add(parts.all_on(head, rest_device(profile, tail)), fmt::format("all on {}", head));
    if (device_kind(tail) == DeviceKind::dpu) continue;  // a DPU behind another device needs every later node legal: switch_layers
    for (int k = 1; k < last; ++k) {
      if (device_kind(head) == DeviceKind::dpu && !parts.cuts()[static_cast<std::size_t>(k)].legal) break;
      add(parts.split_at(k, head, tail), fmt::format("{} to cut {}, then {}", head, k, tail));
    }
  }
  return all;
}

double interval_of(const Strategy& a, const Strategy& b, double share) {
  std::vector<Route> routes{a.route, b.route};
  routes[0].weight = share;
  routes[1].weight = 1 - share;
  return interval_ms(routes, {a.cost, b.cost});
}

Mixture best_mixture(const std::vector<Strategy>& all) {
  Mixture best;
  for (std::size_t a = 0; a < all.size(); ++a) {
    const double alone = interval_of(all[a], all[a], 1);
    if (alone < best.interval_ms) best = {a, a, 1, alone};
  }
  for (std::size_t a = 0; a < all.size(); ++a) {
    for (std::size_t b = a + 1; b < all.size(); ++b) {
      const double share = best_share(all[a].cost, all[b].cost);
      const double interval = interval_of(all[a], all[b], share);
      // A second route costs memory and mixes numerics: it has to earn more than rounding.
      if (interval < best.interval_ms * (1 - 1e-9)) best = {a, b, share, interval};
    }
  }
  return best;
}

}  // namespace

Plan Partitioner::mix(const Profile& profile, const MixOptions& options) const {
  check_profile(*this, profile);
  const std::vector<Strategy> all = strategies(*this, profile, options);
  if (all.empty()) {
    throw Error{Errc::unsupported, fmt::format("'{}': the profile has no way to run it on {} and {}; measure other devices",
                                               graph_.name(), options.a, options.b)};
  }
  const Mixture best = best_mixture(all);
  const Strategy &a = all[best.a], &b = all[best.b];
  const auto single = std::min_element(all.begin(), all.end(), [](const Strategy& x, const Strategy& y) {
    return interval_of(x, x, 1) < interval_of(y, y, 1);
  });
  const double single_ms = interval_of(*single, *single, 1);
  const double latency = best.share * a.cost.latency_ms + (1 - best.share) * b.cost.latency_ms;
  const Cost cost{best.interval_ms, latency, profile.origin};
  std::vector<Route> routes{a.route};
  std::string why = fmt::format("One route is best: {}; by the {} profile a result every {:.2f} ms, and no second route helps.", a.name,
                                to_string(profile.origin), best.interval_ms);
  if (best.a != best.b) {
    routes = {a.route, b.route};
    routes[0].weight = best.share;
    routes[1].weight = 1 - best.share;
    why = fmt::format(
        "Two routes share the frames: {:.0f} % {}, {:.0f} % {}; by the {} profile a result every {:.2f} ms, {:.2f} times as fast as the best "
        "single route ({}, {:.2f} ms).",
        100 * best.share, a.name, 100 * (1 - best.share), b.name, to_string(profile.origin), best.interval_ms,
        single_ms / best.interval_ms, single->name, single_ms);
  }
  std::erase_if(routes, [](const Route& route) { return route.weight <= 0; });
  return Plan{graph_, quant_, std::move(routes), cost, std::move(why)};
}

}  // namespace splitcnn::inline v0
