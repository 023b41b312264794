#include <fmt/core.h>

#include "splitcnn/plan.hpp"

#include <cmath>
#include <limits>

#include "plan/branching.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

Errc code_of_plan(std::vector<Route> routes, bool calibrated = true, Cost cost = {}) {
  static const Graph graph = branching_graph();
  std::optional<QuantizedGraph> quant;
  if (calibrated) quant = quantised(graph);
  return code_of([&] { Plan plan(graph, quant, std::move(routes), cost); });
}

}  // namespace

TEST_CASE("a split has a head and a tail", "[plan]") {
  const Graph graph = branching_graph();
  const Plan plan{graph,
                  quantised(graph),
                  {route({{"dpu:0", 3}, {"gpu:0", 8}})},
                  {.interval_ms = 2, .latency_ms = 3},
                  "because"};
  CHECK(plan.head().device == "dpu:0");
  CHECK(plan.head().last == 3);
  CHECK(plan.tail().device == "gpu:0");
  CHECK(plan.tail().first == 3);
  CHECK(plan.why() == "because");
  CHECK(plan.expected().latency_ms == 3);
  CHECK(plan.quant() != nullptr);
  CHECK(plan.route(0).segments.size() == 2);
  CHECK(code_of([&] { (void)plan.route(1); }) == Errc::bad_argument);
  const Plan copy = plan;  // a value
  CHECK(copy.head().device == "dpu:0");
  CHECK(&copy.head() != &plan.head());
}

TEST_CASE("what is no plain split has neither", "[plan]") {
  const Graph graph = branching_graph();
  for (const std::vector<Route>& routes :
       {std::vector{route({{"cpu", 8}})}, std::vector{route({{"gpu:0", 2}, {"cpu", 4}, {"gpu:0", 8}})},
        std::vector{route({{"gpu:0", 2}, {"cpu", 8}}, 0.5), route({{"gpu:0", 4}, {"cpu", 8}}, 0.5)}}) {
    const Plan plan{graph, {}, routes};
    CHECK(plan.quant() == nullptr);
    CHECK(code_of([&] { (void)plan.head(); }) == Errc::not_a_split);
    CHECK(code_of([&] { (void)plan.tail(); }) == Errc::not_a_split);
  }
}

TEST_CASE("routes must cover every node once, in order", "[plan]") {
  CHECK(code_of_plan({route({{"dpu:0", 3}, {"gpu:0", 8}})}) == Errc::ok);
  CHECK(code_of_plan({route({{"a", 1}, {"b", 2}, {"c", 3}, {"d", 8}})}) == Errc::ok);
  CHECK(code_of_plan({}) == Errc::bad_argument);
  CHECK(code_of_plan({Route{}}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 7}})}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 9}})}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 3}, {"cpu", 3}, {"cpu", 8}})}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 5}, {"cpu", 3}, {"cpu", 8}})}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"", 8}})}) == Errc::bad_argument);
  Route gap = route({{"cpu", 3}, {"cpu", 8}});
  gap.segments[1].first = 4;
  CHECK(code_of_plan({gap}) == Errc::bad_argument);
  Route overlap = route({{"cpu", 3}, {"cpu", 8}});
  overlap.segments[1].first = 2;
  CHECK(code_of_plan({overlap}) == Errc::bad_argument);
  Route late = route({{"cpu", 8}});
  late.segments[0].first = 1;
  CHECK(code_of_plan({late}) == Errc::bad_argument);
  Route units = route({{"cpu", 8}});
  units.segments[0].first_unit = 9;
  CHECK(code_of_plan({units}) == Errc::bad_argument);
}

TEST_CASE("weights sum to 1 and costs are finite", "[plan]") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const auto with = [](double a, double b) {
    return std::vector{route({{"cpu", 8}}, a), route({{"gpu:0", 8}}, b)};
  };
  CHECK(code_of_plan(with(0.25, 0.75)) == Errc::ok);
  CHECK(code_of_plan(with(1.0 / 3, 2.0 / 3)) == Errc::ok);
  for (const auto& [a, b] :
       {std::pair{0.5, 0.6}, {0.0, 1.0}, {2.0, -1.0}, {nan, 0.5}, {inf, 0.5}, {0.4, 0.4}}) {
    CHECK(code_of_plan(with(a, b)) == Errc::bad_argument);
  }
  CHECK(code_of_plan({route({{"cpu", 8}})}, true, {.interval_ms = nan}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 8}})}, true, {.latency_ms = -1}) == Errc::bad_argument);
  Route slow = route({{"cpu", 8}});
  slow.segments[0].expected_ms = inf;
  CHECK(code_of_plan({slow}) == Errc::bad_argument);
}

TEST_CASE("standby routes: behind the others, not counted as a split, made by with_fallback()", "[plan]") {
  CHECK(code_of_plan({route({{"cpu", 8}}), route({{"gpu:0", 8}}, 0)}) == Errc::ok);
  CHECK(code_of_plan({route({{"cpu", 8}}, 0)}) == Errc::bad_argument);
  CHECK(code_of_plan({route({{"cpu", 8}}, 0.5), route({{"gpu:0", 8}}, 0), route({{"gpu:1", 8}}, 0.5)}) == Errc::bad_argument);
  CHECK(code_of_plan(std::vector(65, route({{"cpu", 8}}, 1.0 / 65))) == Errc::bad_argument);

  const auto devices = [](const Plan& plan) {
    std::vector<std::string> all;
    for (const Route& r : plan.routes()) {
      std::string way = r.weight == 0 ? "standby" : "main";
      for (const Segment& s : r.segments) way += fmt::format(" {}[{},{})", s.device, s.first, s.last);
      all.push_back(way);
    }
    return all;
  };
  const Graph graph = branching_graph();
  const auto fallback = [&](Route r) { return Plan{graph, quantised(graph), {std::move(r)}}.with_fallback(); };
  const Plan split = fallback(route({{"dpu:0", 4}, {"gpu:0", 8}}));
  CHECK(devices(split) == std::vector<std::string>{"main dpu:0[0,4) gpu:0[4,8)", "standby gpu:0[0,8)", "standby dpu:0[0,4) cpu[4,8)"});
  CHECK(split.route(1).segments[0].last_unit == 8);
  CHECK(split.tail().device == "gpu:0");
  CHECK(devices(split.with_fallback()) == devices(split));
  CHECK(devices(fallback(route({{"cpu", 8}}))) == std::vector<std::string>{"main cpu[0,8)"});
  CHECK(devices(fallback(route({{"dpu:0", 3}, {"cpu", 8}}))) == std::vector<std::string>{"main dpu:0[0,3) cpu[3,8)", "standby cpu[0,8)"});
  CHECK(devices(fallback(route({{"gpu:0", 2}, {"dpu:0", 4}, {"gpu:0", 8}}))) ==
        std::vector<std::string>{"main gpu:0[0,2) dpu:0[2,4) gpu:0[4,8)", "standby cpu[0,2) dpu:0[2,4) cpu[4,8)", "standby gpu:0[0,8)"});
}

TEST_CASE("a DPU segment needs calibration and the error says how to get it", "[plan]") {
  const Graph graph = branching_graph();
  std::string message;
  CHECK(code_of(
            [&] {
              Plan plan(graph, {}, {route({{"gpu:0", 2}, {"dpu:1", 8}})});
            },
            &message) == Errc::not_calibrated);
  CHECK(message.find("splitcnn calibrate MODEL --frames DIR") != std::string::npos);
  CHECK(message.find("dpu:1") != std::string::npos);
  CHECK(code_of_plan({route({{"gpu:0", 2}, {"cpu", 8}})}, false) == Errc::ok);
}

TEST_CASE("a calibration of another graph is refused, of an equal one accepted", "[plan]") {
  const Graph graph = branching_graph();
  GraphBuilder b{"other"};
  b.output(b.add({.op = Op::tanh, .inputs = {b.input("x", {1, 3})}}));
  const Graph other = std::move(b).build();
  CHECK(code_of([&] { Plan plan(graph, quantised(other), {route({{"cpu", 8}})}); }) == Errc::mismatch);
  CHECK(code_of([&] { Plan plan(graph, quantised(branching_graph()), {route({{"cpu", 8}})}); }) == Errc::ok);
}

TEST_CASE("every origin has a name", "[plan]") {
  CHECK(std::string{to_string(Origin::none)} == "none");
  CHECK(std::string{to_string(Origin::measured)} == "measured");
  CHECK(std::string{to_string(Origin::modelled)} == "modelled");
  CHECK(std::string{to_string(Origin::predicted)} == "predicted");
}
