#include "pipeline/depth.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace splitcnn::inline v0 {
namespace {

constexpr std::size_t max_depth = 1'000'000;
constexpr double most_overtaking = 64;

/// Results come in order: while a frame is on the slowest route, those that took a faster one after it are done
/// and wait with their tokens. Without tokens for them the faster route would stand still. By the plan's
/// expected times; 0 where it has none.
std::size_t overtaking(const Plan& plan, std::size_t batch) {
  std::map<std::string, double> busy_ms;
  double longest_ms = 0;
  int sharing = 0;
  for (const Route& route : plan.routes()) {
    if (route.weight <= 0) continue;
    ++sharing;
    double ms = 0;
    for (const Segment& s : route.segments) {
      busy_ms[s.device] += route.weight * s.expected_ms;
      ms += s.expected_ms;
    }
    longest_ms = std::max(longest_ms, ms);
  }
  double interval_ms = 0;
  for (const auto& [device, ms] : busy_ms) interval_ms = std::max(interval_ms, ms);
  if (sharing < 2 || !(interval_ms > 0) || !std::isfinite(longest_ms)) return 0;
  return static_cast<std::size_t>(std::min(std::ceil(longest_ms / interval_ms), most_overtaking));
}

}  // namespace

std::size_t choose_depth(const Stages& stages, const Plan* plan, std::size_t wanted) {
  if (wanted > max_depth) {
    throw Error{Errc::bad_argument, "PipelineOptions::depth: " + std::to_string(wanted) +
                                        " frames in flight; at most " + std::to_string(max_depth) +
                                        " are supported"};
  }
  if (wanted > 0) return wanted;
  std::size_t batch = 1;
  for (const auto& stage : stages) batch = std::max(batch, stage->preferred_batch());
  return std::min(2 * batch + stages.size() + (plan ? overtaking(*plan, batch) : 0), max_depth);
}

}  // namespace splitcnn::inline v0
