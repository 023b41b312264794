#include "partition/switching.hpp"

#include <random>
#include <splitcnn/error.hpp>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

SwitchProblem uniform_switch(std::vector<double> unit_ms, std::size_t devices, double switch_ms) {
  SwitchProblem p{.devices = devices, .units = unit_ms.size() / devices, .unit_ms = std::move(unit_ms)};
  p.switch_ms.assign(p.units * devices * devices, switch_ms);
  for (std::size_t i = 0; i < p.units; ++i) {
    for (std::size_t d = 0; d < devices; ++d) p.switch_ms[(i * devices + d) * devices + d] = 0;
  }
  return p;
}

/// AlexNet on the Khadas VIM3, ms per layer, CPU then GPU (Aghapour et al., DSD 2022, Table I).
SwitchProblem alexnet(double switch_ms) {
  return uniform_switch({11.56, 15.05, 5.15, 4.48, 3.41, 38.51, 17.02, 4.19,  //
                         9.69, 14.37, 8.62, 5.33, 4.15, 35.89, 10.06, 3.44},
                        2, switch_ms);
}

SwitchProblem random_problem(std::mt19937_64& random, std::size_t max_units, std::size_t max_devices) {
  SwitchProblem p;
  p.units = std::uniform_int_distribution<std::size_t>{1, max_units}(random);
  p.devices = std::uniform_int_distribution<std::size_t>{1, max_devices}(random);
  std::uniform_real_distribution<double> ms{0.1, 10};
  const double scale = std::uniform_real_distribution<double>{0, 1}(random);
  for (std::size_t i = 0; i < p.units * p.devices; ++i) {
    const bool impossible = i >= p.units && random() % 12 == 0;  // device 0 can run everything
    p.unit_ms.push_back(impossible ? std::numeric_limits<double>::infinity() : ms(random));
  }
  for (std::size_t i = 0; i < p.units * p.devices * p.devices; ++i) {
    const std::size_t from = i / p.devices % p.devices, to = i % p.devices;
    p.switch_ms.push_back(from == to ? 0 : scale * ms(random));
  }
  return p;
}

/// Every assignment there is, by recursion; the least of both costs.
struct BruteForce {
  const SwitchProblem& problem;
  double latency = std::numeric_limits<double>::infinity();
  double interval = std::numeric_limits<double>::infinity();
  std::vector<double> load = std::vector<double>(problem.devices, 0.0);

  void visit(std::size_t unit = 0, std::size_t before = 0) {
    if (unit == problem.units) {
      double sum = 0, most = 0;
      for (const double ms : load) sum += ms, most = std::max(most, ms);
      latency = std::min(latency, sum);
      interval = std::min(interval, most);
      return;
    }
    for (std::size_t d = 0; d < problem.devices; ++d) {
      const double old = load[d];
      load[d] += problem.time(d, unit) + (unit == 0 ? 0 : problem.overhead(unit, before, d));
      visit(unit + 1, d);
      load[d] = old;
    }
  }
};

}  // namespace

TEST_CASE("AlexNet of the layer-switching paper") {
  const Assignment free = optimal_latency(alexnet(0));
  CHECK(to_order_string(free, "BG") == "GGBBBGGG");
  CHECK(free.latency_ms == Approx(86.49).margin(1e-9));
  CHECK(free.switches() == 2);
  CHECK(to_order_string(optimal_latency(alexnet(2.52)), "BG") == "GGBBBGGG");
  const Assignment flipped = optimal_latency(alexnet(2.54));
  CHECK(to_order_string(flipped, "BG") == "GGGGGGGG");
  CHECK(flipped.latency_ms == Approx(91.55).margin(1e-9));
  CHECK(to_order_string(greedy_latency(alexnet(0)), "BG") == "GGBBBGGG");
}

namespace {

void compare_with_brute_force(int cases, std::size_t max_units) {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < cases; ++i) {
    const SwitchProblem p = random_problem(random, max_units, 4);
    INFO("case " << i << ": " << p.units << " units, " << p.devices << " devices");
    BruteForce all{p};
    all.visit();
    REQUIRE(optimal_latency(p).latency_ms == Approx(all.latency));
    REQUIRE(greedy_latency(p).latency_ms >= all.latency * (1 - 1e-12));
    REQUIRE(optimal_interval(p).interval_ms == Approx(all.interval));
  }
}

}  // namespace

TEST_CASE("dynamic programming equals brute force, greedy is never better") {
  compare_with_brute_force(3'000, 7);
}

TEST_CASE("dynamic programming equals brute force on 10,000 chains of up to 12 units", "[long]") {
  compare_with_brute_force(10'000, 12);
}

TEST_CASE("a unit no device can run gives no assignment") {
  const double inf = std::numeric_limits<double>::infinity();
  const SwitchProblem p = uniform_switch({1, inf, 1, inf}, 2, 0);
  CHECK(optimal_latency(p).device.empty());
  CHECK(greedy_latency(p).device.empty());
  CHECK(optimal_interval(p).device.empty());
}

TEST_CASE("order strings go both ways and wrong ones are refused") {
  CHECK(parse_order_string("GBG", "BG", 3) == std::vector<std::size_t>{1, 0, 1});
  CHECK(parse_order_string("G", "BG", 3) == std::vector<std::size_t>{1, 1, 1});
  CHECK(to_order_string(evaluate(alexnet(0), parse_order_string("GGBBBGGG", "BG", 8)), "BG") == "GGBBBGGG");
  CHECK_THROWS_AS(parse_order_string("GG", "BG", 3), Error);
  CHECK_THROWS_AS(parse_order_string("GGX", "BG", 3), Error);
}
