#pragma once
/// A device's curve from timestamps inside one build of the network, instead of a build per cut.
#include <optional>

#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

struct HookOptions {
  int anchors = 6;
  int runs = 7;
  bool prefixes = true,
       suffixes = true;          ///< one that is not asked for is not corrected but at its end, or stays NaN
  std::function<void()> step{};  ///< called once per timed piece
  std::vector<double>* node_ms =
      nullptr;  ///< per node of the graph: median time of its instruction, 0 where it has none
};

/// Prefix and suffix times of every cut from `runs` runs of the longest prefix the device can run
/// (Stage::time_nodes), corrected at `anchors` cuts whose pieces are also timed as they are: what fusion,
/// conversions and caches change there is spread over the cuts between. nullopt where the device's stages
/// cannot look inside.
std::optional<DeviceProfile> hook_curves(const Partitioner& parts, Pieces& pieces,
                                         const HookOptions& options);

}  // namespace splitcnn::inline v0
