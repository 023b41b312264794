#pragma once
/// The lines of gpu_bench as one table: a row per network and batch, a column per peer, and why a peer is missing.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bench {

/// In the order in which networks and batches first occur.
std::string table(const std::vector<nlohmann::json>& lines);

}  // namespace bench
