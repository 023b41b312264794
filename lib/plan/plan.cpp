#include "splitcnn/plan.hpp"

#include <fmt/core.h>

#include <cmath>
#include <utility>

#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

[[noreturn]] void refuse(std::size_t route, std::size_t segment, const std::string& what) {
  throw Error{Errc::bad_argument, fmt::format("plan, route {}, segment {}: {}", route, segment, what)};
}

bool is_cost(double ms) noexcept { return std::isfinite(ms) && ms >= 0; }

/// Every node exactly once, in order.
void check_cover(const Graph& graph, const Route& route, std::size_t r) {
  NodeId next = 0;
  for (std::size_t s = 0; s < route.segments.size(); ++s) {
    const Segment& segment = route.segments[s];
    if (segment.device.empty()) refuse(r, s, "has no device; name one, for example \"cpu\"");
    if (segment.first != next) {
      refuse(
          r, s,
          fmt::format("starts at node {}, but node {} comes next; segments cover every node once, in order",
                      segment.first, next));
    }
    if (segment.last <= segment.first)
      refuse(r, s, fmt::format("is empty: nodes [{}, {})", segment.first, segment.last));
    if (segment.last > graph.nodes().size()) {
      refuse(r, s, fmt::format("ends at node {} of a graph with {}", segment.last, graph.nodes().size()));
    }
    if (segment.first_unit < 0 || segment.last_unit < segment.first_unit) {
      refuse(r, s, fmt::format("has units [{}, {})", segment.first_unit, segment.last_unit));
    }
    if (!is_cost(segment.expected_ms)) refuse(r, s, "expected_ms is not a finite number of at least 0");
    next = segment.last;
  }
  if (next != graph.nodes().size()) {
    throw Error{Errc::bad_argument,
                fmt::format("plan, route {}: covers {} of {} nodes; add a segment for the rest", r, next,
                            graph.nodes().size())};
  }
}

void check_weights(const std::vector<Route>& routes) {
  double sum = 0;
  bool standby = false;
  for (std::size_t r = 0; r < routes.size(); ++r) {
    const double weight = routes[r].weight;
    if (!std::isfinite(weight) || weight < 0) {
      throw Error{Errc::bad_argument, fmt::format("plan, route {}: weight {} is not at least 0", r, weight)};
    }
    if (standby && weight > 0) {
      throw Error{Errc::bad_argument,
                  fmt::format("plan, route {}: stands behind a standby route (weight 0); put those last", r)};
    }
    standby = weight == 0;
    sum += weight;
  }
  if (std::fabs(sum - 1) > 1e-6)
    throw Error{Errc::bad_argument, fmt::format("plan: weights of the routes sum to {} instead of 1", sum)};
}

void check_calibrated(const Graph& graph, const std::vector<Route>& routes) {
  for (const Route& route : routes) {
    for (const Segment& segment : route.segments) {
      if (device_kind(segment.device) != DeviceKind::dpu) continue;
      throw Error{
          Errc::not_calibrated,
          fmt::format("'{}': nodes [{}, {}) are to run on {} in INT8, but the model is not calibrated; run "
                      "`splitcnn calibrate MODEL --frames DIR`",
                      graph.name(), segment.first, segment.last, segment.device)};
    }
  }
}

/// Copies of one graph share their nodes; hashing weights is only needed for graphs loaded twice.
bool same_graph(const Graph& a, const Graph& b) {
  return a.nodes().data() == b.nodes().data() || a.hash() == b.hash();
}

constexpr std::size_t max_routes = 64;

bool is_split(const std::vector<Route>& routes) {
  return routes[0].segments.size() == 2 && (routes.size() == 1 || routes[1].weight == 0);
}

[[noreturn]] void not_a_split(std::span<const Route> routes) {
  throw Error{Errc::not_a_split,
              fmt::format("plan: has {} route{} and {} segment{} in the first, so no single head and tail; "
                          "walk routes() instead",
                          routes.size(), routes.size() == 1 ? "" : "s", routes[0].segments.size(),
                          routes[0].segments.size() == 1 ? "" : "s")};
}

}  // namespace

const char* to_string(Origin origin) noexcept {
  switch (origin) {
    case Origin::none:
      return "none";
    case Origin::measured:
      return "measured";
    case Origin::modelled:
      return "modelled";
    case Origin::predicted:
      return "predicted";
  }
  return "unknown";
}

Plan::Plan(Graph graph, std::optional<QuantizedGraph> quant, std::vector<Route> routes, Cost expected,
           std::string why)
    : graph_{std::move(graph)},
      quant_{std::move(quant)},
      routes_{std::move(routes)},
      expected_{expected},
      why_{std::move(why)} {
  if (routes_.empty()) throw Error{Errc::bad_argument, "plan: has no route; give it at least one"};
  if (routes_.size() > max_routes) {
    throw Error{Errc::bad_argument, fmt::format("plan: has {} routes; at most {} are supported", routes_.size(), max_routes)};
  }
  for (std::size_t r = 0; r < routes_.size(); ++r) check_cover(graph_, routes_[r], r);
  check_weights(routes_);
  if (!is_cost(expected_.interval_ms) || !is_cost(expected_.latency_ms)) {
    throw Error{Errc::bad_argument, "plan: the expected cost is not finite and at least 0"};
  }
  if (!quant_) {
    check_calibrated(graph_, routes_);
  } else if (!same_graph(graph_, quant_->graph())) {
    throw Error{
        Errc::mismatch,
        fmt::format("plan: the calibration is of '{}' ({}), the plan of '{}' ({}); calibrate this graph",
                    quant_->graph().name(), quant_->graph().hash(), graph_.name(), graph_.hash())};
  }
}

const Route& Plan::route(std::size_t i) const {
  if (i >= routes_.size())
    throw Error{Errc::bad_argument, fmt::format("plan: has no route {}; it has {}", i, routes_.size())};
  return routes_[i];
}

const Segment& Plan::head() const {
  if (!is_split(routes_)) not_a_split(routes_);
  return routes_[0].segments[0];
}

const Segment& Plan::tail() const {
  if (!is_split(routes_)) not_a_split(routes_);
  return routes_[0].segments[1];
}

}  // namespace splitcnn::inline v0
