#pragma once
/// What search and the baselines share.
#include <string>
#include <vector>

#include "partition/route_cost.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

/// A plan of these routes, with the partitioner's calibration where one of them needs it.
Plan plan_of(const Partitioner& parts, std::vector<Route> routes, Cost cost = {}, std::string why = {});

/// Throws mismatch when the profile is of another graph, granularity or number of cuts.
void check_profile(const Partitioner& parts, const Profile& profile);

/// Where the part of the network runs that the DPU cannot: the CPU where the profile knows it, else
/// `otherwise`.
std::string rest_device(const Profile& profile, std::string_view otherwise);

/// The paragraph behind Plan::why(): the chosen row against the baselines by the same profile.
std::string explain(const Partitioner& parts, const Profile& profile, const SearchOptions& options,
                    const Candidate& chosen);

}  // namespace splitcnn::inline v0
