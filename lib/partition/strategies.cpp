#include "partition/strategies.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "partition/numbers.hpp"
#include "partition/search.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

double element_bytes(std::string_view device) {
  const DeviceKind kind = device_kind(device);
  return kind == DeviceKind::dpu ? 1 : kind == DeviceKind::gpu ? 2 : 4;
}

double mebibytes(const Graph& graph, const Segment& s, const DeviceProfile& device) {
  double weights = 0, maps = 0;
  for (NodeId n = s.first; n < s.last; ++n) {
    const Node& node = graph.nodes()[n];
    double here = 0;
    for (const TensorId t : node.inputs) {
      (graph.tensor(t).constant ? weights : here) += static_cast<double>(graph.tensor(t).shape.elements());
    }
    for (const TensorId t : node.outputs) here += static_cast<double>(graph.tensor(t).shape.elements());
    maps = std::max(maps, here);
  }
  return element_bytes(s.device) * (weights + static_cast<double>(device.batch) * maps) / (1024 * 1024);
}

double agreement_of(const Route& route, const Profile& profile) {
  double agreement = 1;
  for (std::size_t i = 0; i < route.segments.size(); ++i) {
    const Segment& s = route.segments[i];
    if (device_kind(s.device) != DeviceKind::dpu) continue;
    const auto k = static_cast<std::size_t>(s.last_unit);
    // Only heads were measured: a DPU in the middle of a network is another question.
    agreement = i == 0 && k < profile.agreement.size() ? profile.agreement[k] : nan;
  }
  return agreement;
}

double interval_of(const RouteFacts& a, const RouteFacts& b, double share, const Profile& profile) {
  std::vector<Route> weights(2);  // interval_ms reads nothing but the weights
  weights[0].weight = share;
  weights[1].weight = 1 - share;
  return interval_ms(weights, {a.cost, b.cost}, profile);
}

}  // namespace

RouteFacts facts_of(const Partitioner& parts, const Profile& profile, Route route, std::string name, Strategy strategy, const Feed& feed) {
  RouteFacts facts{.strategy = strategy, .route = std::move(route), .name = std::move(name)};
  facts.cost = route_cost(parts.graph(), facts.route, profile, feed);
  for (const Segment& s : facts.route.segments) {
    const DeviceProfile& device = profile.device(s.device);
    facts.energy_mj += device.watts * s.expected_ms;
    facts.memory_mib += mebibytes(parts.graph(), s, device);
  }
  facts.agreement = agreement_of(facts.route, profile);
  return facts;
}

std::vector<RouteFacts> splits_of(const Partitioner& parts, const Profile& profile, const std::string& a, const std::string& b,
                                  const Feed& feed) {
  std::vector<RouteFacts> all;
  const auto add = [&](const Plan& plan, std::string name) {
    RouteFacts facts = facts_of(parts, profile, plan.route(0), std::move(name), Strategy::split, feed);
    if (std::isfinite(facts.cost.latency_ms)) all.push_back(std::move(facts));
  };
  const int last = static_cast<int>(parts.units().size());
  for (const auto& [head, tail] : {std::pair{a, b}, std::pair{b, a}}) {
    if (head == b && a == b) break;
    if (device_kind(head) != DeviceKind::dpu || parts.cuts()[1].legal) {
      add(parts.all_on(head, rest_device(profile, tail)), fmt::format("all on {}", head));
    }
    if (device_kind(tail) == DeviceKind::dpu) continue;  // a DPU behind another device needs every later node legal: switch_layers
    for (int k = 1; k < last; ++k) {
      if (device_kind(head) == DeviceKind::dpu && !parts.cuts()[static_cast<std::size_t>(k)].legal) continue;
      add(parts.split_at(k, head, tail), fmt::format("{} to cut {}, then {}", head, k, tail));
    }
  }
  return all;
}

Sharing best_sharing(const RouteFacts& a, const RouteFacts& b, const Profile& profile) {
  Sharing best{best_share(a.cost, b.cost)};
  best.interval_ms = interval_of(a, b, best.share, profile);
  if (profile.contention.empty()) return best;
  // Contention bends the lines of best_share a little: look around its answer.
  for (double step = 0.05; step > 1e-4; step /= 2) {
    for (const double share : {best.share - step, best.share + step}) {
      if (share <= 0 || share >= 1) continue;
      const double ms = interval_of(a, b, share, profile);
      if (ms < best.interval_ms) best = {share, ms};
    }
  }
  return best;
}

}  // namespace splitcnn::inline v0
