// Standby routes: the same plan without one of its devices.
#include <algorithm>

#include "plan/same_way.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/plan.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Who takes over segment s: a float device next to it in the route spares a transfer, the CPU is always there.
std::string substitute(const Route& route, std::size_t s) {
  const std::string& lost = route.segments[s].device;
  if (device_kind(lost) == DeviceKind::dpu) {
    for (const std::size_t neighbour : {s + 1, s - 1}) {
      if (neighbour >= route.segments.size()) continue;
      const std::string& device = route.segments[neighbour].device;
      if (device_kind(device) == DeviceKind::gpu) return device;
    }
  }
  return "cpu";
}

Route without(const Route& route, const std::string& device) {
  Route standby{.weight = 0};
  for (std::size_t s = 0; s < route.segments.size(); ++s) {
    Segment segment = route.segments[s];
    if (segment.device == device) {
      segment.device = substitute(route, s);
      segment.expected_ms = 0;
    }
    Segment* last = standby.segments.empty() ? nullptr : &standby.segments.back();
    if (!last || last->device != segment.device) {
      standby.segments.push_back(std::move(segment));
      continue;
    }
    last->last = segment.last;
    last->last_unit = segment.last_unit;
    last->expected_ms = 0;  // fused segments do not add up
  }
  return standby;
}

}  // namespace

bool same_way(const Route& a, const Route& b) noexcept {
  return std::equal(a.segments.begin(), a.segments.end(), b.segments.begin(), b.segments.end(),
                    [](const Segment& x, const Segment& y) { return x.device == y.device && x.first == y.first && x.last == y.last; });
}

Plan Plan::with_fallback() const {
  std::vector<Route> routes = routes_;
  for (const Route& route : routes_) {
    if (route.weight == 0) continue;
    for (const Segment& segment : route.segments) {
      Route standby = without(route, segment.device);
      const auto known = [&](const Route& r) { return same_way(r, standby); };
      if (std::none_of(routes.begin(), routes.end(), known)) routes.push_back(std::move(standby));
    }
  }
  Plan plan{*this};
  plan.routes_ = std::move(routes);
  return plan;
}

}  // namespace splitcnn::inline v0
