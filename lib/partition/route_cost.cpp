#include "partition/route_cost.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

std::size_t segment_of(const Route& route, NodeId node) {
  const auto found = std::find_if(route.segments.begin(), route.segments.end(),
                                  [&](const Segment& s) { return node >= s.first && node < s.last; });
  return static_cast<std::size_t>(found - route.segments.begin());
}

std::size_t crossing_bytes(const Graph& graph, const Route& route, TensorId id) {
  bool dpu = false, gpu = false;
  const auto touch = [&](NodeId node) {
    const DeviceKind kind = device_kind(route.segments[segment_of(route, node)].device);
    dpu |= kind == DeviceKind::dpu;
    gpu |= kind == DeviceKind::gpu;
  };
  if (const auto writer = graph.producer(id)) touch(*writer);
  for (const NodeId reader : graph.consumers(id)) touch(reader);
  return static_cast<std::size_t>(graph.tensor(id).shape.elements()) * crossing_element_size(dpu, gpu);
}

/// Bytes per pair (writing segment, reading segment). A tensor read twice on one device crosses to it once.
std::map<std::pair<std::size_t, std::size_t>, std::size_t> crossings(const Graph& graph, const Route& route) {
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> bytes;
  std::set<std::pair<TensorId, std::string>> there;
  for (std::size_t s = 0; s < route.segments.size(); ++s) {
    const Segment& reader = route.segments[s];
    for (const TensorId id : boundary(graph, reader.first, reader.last).inputs) {
      const auto writer = graph.producer(id);
      if (!writer) continue;  // a graph input comes from the host
      const std::size_t from = segment_of(route, *writer);
      if (route.segments[from].device == reader.device || !there.emplace(id, reader.device).second) continue;
      bytes[{from, s}] += crossing_bytes(graph, route, id);
    }
  }
  return bytes;
}

double busy(const RouteCost& cost, const std::string& resource) {
  const auto found = cost.busy_ms.find(resource);
  return found == cost.busy_ms.end() ? 0 : found->second;
}

}  // namespace

std::size_t crossing_element_size(bool dpu, bool gpu) noexcept { return dpu ? 1 : gpu ? 2 : 4; }

RouteCost route_cost(const Graph& graph, Route& route, const Profile& profile, const Feed& feed) {
  RouteCost cost;
  double fill_ms = 0;
  for (Segment& s : route.segments) {
    const DeviceProfile& device = profile.device(s.device);
    const double batch = static_cast<double>(device.batch);
    const double filled =
        feed.frame_interval_ms > 0
            ? std::min(batch, 1 + std::floor(feed.batch_timeout_ms / feed.frame_interval_ms))
            : batch;
    s.expected_ms = profile.segment_ms(s.device, s.first_unit, s.last_unit);
    cost.busy_ms[s.device] += s.expected_ms * batch / filled;
    cost.latency_ms += s.expected_ms * batch;
    const double wait = filled < batch ? feed.batch_timeout_ms : feed.frame_interval_ms * (batch - 1);
    if (batch > 1) fill_ms = std::max(fill_ms, wait);
  }
  for (const auto& [pair, bytes] : crossings(graph, route)) {
    const std::string& from = route.segments[pair.first].device;
    const std::string& to = route.segments[pair.second].device;
    const double ms = profile.transfer_ms(from, to, bytes);
    const bool blocks = profile.blocks_sender(from, to);
    cost.busy_ms[blocks ? from : from + "->" + to] += ms;
    if (blocks) route.segments[pair.first].expected_ms += ms;  // the worker waits for it
    cost.link_ms += ms;
    cost.bytes += bytes;
  }
  cost.latency_ms += cost.link_ms + (feed.frame_interval_ms > 0 ? fill_ms : 0);
  return cost;
}

namespace {

/// A device is slowed in the share of the time that the other one is busy, which depends on the interval,
/// which depends on how much it is slowed: a few rounds settle it (the factors are near 1).
double with_contention(const std::map<std::string, double>& alone, const Profile& profile) {
  std::map<std::string, double> busy = alone;
  double interval = 0;
  for (int round = 0; round < 8; ++round) {
    interval = 0;
    for (const auto& [resource, ms] : busy) interval = std::max(interval, ms);
    if (interval <= 0 || profile.contention.empty()) return interval;
    std::map<std::string, double> next = alone;
    for (auto& [resource, ms] : next) {
      double factor = 1;
      for (const auto& [other, other_ms] : busy) {
        if (other != resource)
          factor += (profile.contention_of(resource, other) - 1) * std::min(1.0, other_ms / interval);
      }
      ms *= factor;
    }
    busy = std::move(next);
  }
  return interval;
}

}  // namespace

double interval_ms(const std::vector<Route>& routes, const std::vector<RouteCost>& costs,
                   const Profile& profile) {
  std::map<std::string, double> busy;
  for (std::size_t r = 0; r < routes.size(); ++r) {
    for (const auto& [resource, ms] : costs[r].busy_ms) busy[resource] += routes[r].weight * ms;
  }
  for (const auto& [resource, ms] : busy) {
    if (!(ms <= std::numeric_limits<double>::max())) return ms;  // NaN: max() would lose it
  }
  return with_contention(busy, profile);
}

double best_share(const RouteCost& a, const RouteCost& b) {
  std::set<std::string> resources;
  for (const auto& [name, ms] : a.busy_ms) resources.insert(name);
  for (const auto& [name, ms] : b.busy_ms) resources.insert(name);
  const auto load = [&](double share) {
    double most = 0;
    for (const std::string& r : resources)
      most = std::max(most, share * busy(a, r) + (1 - share) * busy(b, r));
    return most;
  };
  double best = load(1) < load(0) ? 1 : 0;
  for (const std::string& r : resources) {
    for (const std::string& s : resources) {
      const double slope = busy(a, r) - busy(b, r) - busy(a, s) + busy(b, s);
      const double share = slope == 0 ? 0 : (busy(b, s) - busy(b, r)) / slope;
      if (share > 0 && share < 1 && load(share) < load(best)) best = share;
    }
  }
  return best;
}

const char* granularity_name(Granularity granularity) noexcept {
  switch (granularity) {
    case Granularity::block:
      return "block";
    case Granularity::fused:
      return "fused";
    case Granularity::op:
      return "op";
    case Granularity::paper:
      return "paper";
  }
  return "block";
}

}  // namespace splitcnn::inline v0
