// When shares change and when they do not: the decisions alone, on a clock of the test's. What a running
// pipeline makes of them is in test/partition/drift_test.cpp.
#include "pipeline/replan.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

const ReplanOptions options{};

/// Devices 0 and 1; routes: all on 0, a split, all on 1.
const RouteLoads three{{10, 0}, {6, 6}, {0, 12}};

struct Clocked {
  Replanner replanner;
  std::vector<double> shares;
  Clock::time_point now = Clock::time_point{} + std::chrono::hours{1};
  std::vector<bool> works = std::vector<bool>(3, true);
  int changes = 0;

  /// A window in which the devices in use take `a` and `b` times what was expected.
  bool window(double a, double b) {
    now += std::chrono::duration_cast<Clock::duration>(options.window);
    const double used[] = {load(0), load(1)};
    const Replanner::Seen seen[] = {{100 * used[0], 100 * used[0] * a}, {100 * used[1], 100 * used[1] * b}};
    const auto next = replanner.window(seen, works, shares, now);
    if (next) shares = *next, ++changes;
    return next.has_value();
  }
  [[nodiscard]] double load(std::size_t device) const {
    double sum = 0;
    for (std::size_t r = 0; r < 3; ++r) sum += shares[r] * three[r][device];
    return sum;
  }
};

Clocked clocked(std::vector<double> shares) { return {Replanner{options, three}, std::move(shares)}; }

}  // namespace

TEST_CASE("the best shares are no worse than any pair on a fine grid") {
  std::mt19937 random{splitcnn_test::seed()};
  std::uniform_real_distribution<double> ms{0, 10};
  for (int n = 0; n < 300; ++n) {
    const std::size_t routes = 1 + random() % 5, devices = 1 + random() % 3;
    RouteLoads loads(routes, std::vector<double>(devices));
    for (auto& route : loads)
      std::generate(route.begin(), route.end(), [&] { return random() % 4 == 0 ? 0.0 : ms(random); });
    std::vector<bool> works(routes);
    for (std::size_t r = 0; r < routes; ++r) works[r] = random() % 5 != 0;
    const std::vector<double> best = best_shares(loads, works);
    const bool any = std::find(works.begin(), works.end(), true) != works.end();
    double sum = 0;
    for (std::size_t r = 0; r < routes; ++r) {
      sum += best[r];
      CHECK((best[r] == 0 || works[r]));
    }
    CHECK(sum == Approx(any ? 1 : 0));
    for (std::size_t a = 0; a < routes; ++a) {
      for (std::size_t b = 0; b < routes; ++b) {
        for (int step = 0; works[a] && works[b] && step <= 50; ++step) {
          std::vector<double> shares(routes);
          shares[a] += step / 50.0, shares[b] += 1 - step / 50.0;
          CHECK(busiest(loads, best) <= busiest(loads, shares) + 1e-9);
        }
      }
    }
  }
}

TEST_CASE("shares follow a device that becomes slower, and follow it back") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});  // the best of `three`
  for (int n = 0; n < 20; ++n) CHECK_FALSE(c.window(1.05, 0.97));
  CHECK_FALSE(c.window(2, 1));  // one odd window is no drift
  CHECK(c.window(2, 1));
  CHECK(busiest({{20, 0}, {12, 6}, {0, 12}}, c.shares) == Approx(7.5));
  CHECK(c.replanner.drift()[0] == Approx(2));
  for (int n = 0; n < 20; ++n) CHECK_FALSE(c.window(2, 1));
  CHECK_FALSE(c.window(1, 1));
  CHECK(c.window(1, 1));
  CHECK(busiest(three, c.shares) == Approx(5.4545454));
}

TEST_CASE("a single odd window changes nothing, however odd") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});
  for (int n = 0; n < 20; ++n) {
    CHECK_FALSE(c.window(50, 1));
    CHECK_FALSE(c.window(1, 1));
  }
}

TEST_CASE("both devices slower by the same factor is no reason to change") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});
  for (int n = 0; n < 20; ++n) CHECK_FALSE(c.window(1.6, 1.6));
  CHECK(c.replanner.drift()[1] == Approx(1.6));
}

TEST_CASE("shares are held for a while after a change") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});
  c.window(2, 1);
  REQUIRE(c.window(2, 1));
  int windows = 0;
  while (!c.window(1, 2)) ++windows;
  CHECK((windows + 1) * options.window >= options.hold);
  CHECK(windows < 10);
}

TEST_CASE("a device left altogether is tried again, with growing patience") {
  Clocked c = clocked({1, 0, 0});
  c.window(100, 1);
  REQUIRE(c.window(100, 1));
  REQUIRE(c.load(0) < 1);  // almost nothing
  c.shares = {0, 0, 1};    // as a user might set them: nothing at all
  std::vector<Clock::time_point> trials;
  for (int n = 0; n < 2000 && trials.size() < 3; ++n) {
    if (c.window(100, 1) && c.load(0) > 1) {
      trials.push_back(c.now);
      while (!c.window(100, 1)) {
      }
      c.shares = {0, 0, 1};
    }
  }
  REQUIRE(trials.size() == 3);
  CHECK(trials[2] - trials[1] > 1.5 * (trials[1] - trials[0]));
}

TEST_CASE("a route that stops working loses its share at once and gets it back") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});
  REQUIRE_FALSE(c.window(1, 1));
  c.works = {true, true, false};
  CHECK(c.window(1, 1));
  CHECK(c.shares[2] == 0);
  c.works = {true, true, true};
  bool changed = false;
  for (int n = 0; n < 5; ++n) changed |= c.window(1, 1);
  CHECK(changed);
  CHECK(busiest(three, c.shares) == Approx(5.4545454));
}

TEST_CASE("when nothing works the shares stay") {
  Clocked c = clocked({0.5454545, 0, 0.4545455});
  c.works = {false, false, false};
  for (int n = 0; n < 5; ++n) CHECK_FALSE(c.window(1, 1));
}
