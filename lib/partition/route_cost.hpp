#pragma once
/// What a route costs by a profile: the time each device and each link is busy with one frame.
#include <limits>
#include <map>
#include <string>

#include "splitcnn/graph.hpp"
#include "splitcnn/plan.hpp"
#include "splitcnn/profile.hpp"

namespace splitcnn::inline v0 {

/// NaN anywhere means that the profile says a device cannot run its piece.
struct RouteCost {
  std::map<std::string, double>
      busy_ms;            ///< per device, and per link as "from->to": resources that work side by side
  double latency_ms = 0;  ///< one frame through all of them, one after the other
  double link_ms = 0;     ///< the part of latency_ms spent between devices
  std::size_t bytes = 0;  ///< what crosses between devices, per frame
};

/// How frames come. 0: always enough of them waiting.
struct Feed {
  double frame_interval_ms = 0;
  double batch_timeout_ms = std::numeric_limits<double>::infinity();  ///< a started batch leaves after this, full or not
};

/// Also writes expected_ms of the segments. A device that computes `batch` frames at once delivers them together, so its part of the
/// latency is the whole batch; the wait for the batch to fill comes on top. A batch that leaves unfilled takes the time of a full one
/// (the lanes run in lock step), which makes each of its frames dearer.
RouteCost route_cost(const Graph& graph, Route& route, const Profile& profile, const Feed& feed = {});

/// Time between results when the routes share the frames as their weights say: the busiest resource, slowed as the profile says by
/// what is busy beside it.
double interval_ms(const std::vector<Route>& routes, const std::vector<RouteCost>& costs, const Profile& profile);

/// The share of route a that makes the busiest resource least busy when route b gets the rest. Every resource's load is a
/// line over the share, so the best share is 0, 1, or where two lines meet. (The routes may have a device in common: the CPU
/// behind a DPU.)
double best_share(const RouteCost& a, const RouteCost& b);

/// Bytes per element of a tensor that crosses between two segments, by the devices of all segments that touch
/// it.
std::size_t crossing_element_size(bool dpu, bool gpu) noexcept;

/// "block", "fused", "op", "paper": the spelling in files and on command lines.
const char* granularity_name(Granularity granularity) noexcept;

}  // namespace splitcnn::inline v0
