// Two routes that share the frames: splits, whole networks, and any pair of them.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "partition/search.hpp"
#include "partition/strategies.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

struct Mixture {
  std::size_t a = 0, b = 0;  // routes; equal = one alone
  double share = 1;          // of a
  double interval_ms = std::numeric_limits<double>::infinity();
};

double alone_ms(const RouteFacts& a, const Profile& profile) { return interval_ms({Route{}}, {a.cost}, profile); }

Mixture best_mixture(const std::vector<RouteFacts>& all, const Profile& profile) {
  Mixture best;
  for (std::size_t a = 0; a < all.size(); ++a) {
    const double alone = alone_ms(all[a], profile);
    if (alone < best.interval_ms) best = {a, a, 1, alone};
  }
  for (std::size_t a = 0; a < all.size(); ++a) {
    for (std::size_t b = a + 1; b < all.size(); ++b) {
      const auto [share, interval] = best_sharing(all[a], all[b], profile);
      // A second route costs memory and mixes numerics: it has to earn more than rounding.
      if (interval < best.interval_ms * (1 - 1e-9)) best = {a, b, share, interval};
    }
  }
  return best;
}

}  // namespace

Plan Partitioner::mix(const Profile& profile, const MixOptions& options) const {
  check_profile(*this, profile);
  const std::vector<RouteFacts> all = splits_of(*this, profile, options.a, options.b);
  if (all.empty()) {
    throw Error{Errc::unsupported, fmt::format("'{}': the profile has no way to run it on {} and {}; measure other devices",
                                               graph_.name(), options.a, options.b)};
  }
  const Mixture best = best_mixture(all, profile);
  const RouteFacts &a = all[best.a], &b = all[best.b];
  const auto single = std::min_element(all.begin(), all.end(), [&](const RouteFacts& x, const RouteFacts& y) {
    return alone_ms(x, profile) < alone_ms(y, profile);
  });
  const double single_ms = alone_ms(*single, profile);
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
  return plan_of(*this, std::move(routes), cost, std::move(why));
}

}  // namespace splitcnn::inline v0
