#pragma once
/// The ways to run a network that a profile has times for, and pairs of them that share the frames.
#include <string>
#include <vector>

#include "partition/route_cost.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

/// One route with everything that can be asked of it.
struct RouteFacts {
  Strategy strategy = Strategy::split;
  Route route;
  RouteCost cost;
  std::string name;
  double energy_mj = 0;   ///< per frame; NaN where a device of the profile does not say its watts
  double memory_mib = 0;  ///< weights and the largest pair of maps, as each device stores them
  double agreement = 1;   ///< NaN where nobody has measured it
};

RouteFacts facts_of(const Partitioner& parts, const Profile& profile, Route route, std::string name, Strategy strategy, const Feed& feed);

/// Each of all-a, all-b and every legal split of the two, in both orders. Never throws for what a device cannot run: it is left out.
std::vector<RouteFacts> splits_of(const Partitioner& parts, const Profile& profile, const std::string& a, const std::string& b,
                                  const Feed& feed = {});

/// The share of frames for `a` that makes the interval of the two side by side least, and that interval.
struct Sharing {
  double share = 1;
  double interval_ms = std::numeric_limits<double>::infinity();
};
Sharing best_sharing(const RouteFacts& a, const RouteFacts& b, const Profile& profile);

}  // namespace splitcnn::inline v0
