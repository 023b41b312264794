#include "pipeline/depth.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace splitcnn::inline v0 {
namespace {

constexpr std::size_t max_depth = 1'000'000;
constexpr double most_extra = 256;

/// Frames that come in while a route that takes the share `weight` of them fills one batch and another one is on
/// its way, `ms` long. Results are in order: whatever overtakes those on a faster route is done and waits with
/// its token. Without tokens for them the faster route would stand still, and the batch would not fill.
double passing(double weight, double batch, double ms, double interval_ms) {
  return batch / weight + ms / interval_ms;
}

/// By the plan's expected times; 0 where it has none, or only one route.
std::size_t for_sharing(const Plan& plan, const Stages& stages, const Wiring& wiring) {
  std::map<std::string, double> busy_ms;
  std::size_t sharing = 0;
  for (const Route& route : plan.routes()) {
    if (route.weight <= 0) continue;
    ++sharing;
    for (const Segment& s : route.segments) busy_ms[s.device] += route.weight * s.expected_ms;
  }
  double interval_ms = 0;
  for (const auto& [device, ms] : busy_ms) interval_ms = std::max(interval_ms, ms);
  if (sharing < 2 || !(interval_ms > 0)) return 0;
  double most = 0;
  for (std::size_t r = 0; r < sharing; ++r) {  // standby routes are behind them
    const Route& route = plan.routes()[r];
    double largest = 1, ms = 0;
    for (std::size_t k = 0; k < route.segments.size(); ++k) {
      const Stage& stage = *stages[wiring.routes[r].steps[k].stage];
      const auto batch = static_cast<double>(stage.preferred_batch());
      largest = std::max(largest, batch);
      ms += batch * route.segments[k].expected_ms;
    }
    most = std::max(most, passing(route.weight, largest, ms, interval_ms));
  }
  return static_cast<std::size_t>(std::min(std::ceil(most), most_extra));
}

}  // namespace

std::size_t choose_depth(const Stages& stages, const Wiring& wiring, const Plan* plan, std::size_t wanted) {
  if (wanted > max_depth) {
    throw Error{Errc::bad_argument, "PipelineOptions::depth: " + std::to_string(wanted) +
                                        " frames in flight; at most " + std::to_string(max_depth) +
                                        " are supported"};
  }
  if (wanted > 0) return wanted;
  std::size_t batch = 1;
  for (const auto& stage : stages) batch = std::max(batch, stage->preferred_batch());
  // Of a large batch one fills, one is ready, one runs, and the tokens of one come back frame by frame from the stages behind.
  const std::size_t batches = batch > 1 ? 4 : 2;
  const std::size_t extra = plan ? for_sharing(*plan, stages, wiring) : 0;
  return std::min(batches * batch + stages.size() + extra, max_depth);
}

}  // namespace splitcnn::inline v0
