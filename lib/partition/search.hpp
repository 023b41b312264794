#pragma once
/// What search and the baselines share.
#include <string>

#include "partition/route_cost.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

/// Throws mismatch when the profile is of another graph, granularity or number of cuts.
void check_profile(const Partitioner& parts, const Profile& profile);

/// Where the part of the network runs that the DPU cannot: the CPU where the profile knows it, else
/// `otherwise`.
std::string rest_device(const Profile& profile, std::string_view otherwise);

/// The paragraph behind Plan::why(): the chosen row against the baselines by the same profile.
std::string explain(const Partitioner& parts, const Profile& profile, const SearchOptions& options,
                    const Candidate& chosen);

}  // namespace splitcnn::inline v0
