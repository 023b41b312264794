#pragma once
/// A device's curve from timestamps inside one build of the network, instead of a build per cut.
#include <optional>

#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

/// Prefix and suffix times of every cut from `runs` runs of the longest prefix the device can run
/// (Stage::time_nodes), corrected at `anchors` cuts whose pieces are also timed as they are: what fusion,
/// conversions and caches change there is spread over the cuts between. nullopt where the device's stages
/// cannot look inside. `step` is called once per timed piece.
std::optional<DeviceProfile> hook_curves(const Partitioner& parts, Pieces& pieces, int anchors, int runs,
                                         const std::function<void()>& step);

}  // namespace splitcnn::inline v0
