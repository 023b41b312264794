// Which cuts are measured where a forecast is unsure.
#include "predictor/measure_few.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

struct Curves {
  std::vector<double> head{0}, tail{0};
};

Curves random_curves(std::mt19937_64& random, int units) {
  std::uniform_real_distribution<double> some{0.05, 1};
  Curves c;
  for (int k = 0; k < units; ++k) {
    c.head.push_back(c.head.back() + some(random));
    c.tail.insert(c.tail.begin(), c.tail.front() + some(random));
  }
  return c;
}

double interval(const Curves& c, std::size_t k) { return std::max(c.head[k], c.tail[k]); }

std::size_t best_of(const Curves& c) {
  std::size_t best = 0;
  for (std::size_t k = 1; k < c.head.size(); ++k)
    if (interval(c, k) < interval(c, best)) best = k;
  return best;
}

}  // namespace

TEST_CASE("curves that are off by a factor each: the second measurement is the best cut") {
  std::mt19937_64 random{splitcnn_test::seed()};
  std::uniform_real_distribution<double> factor{0.5, 2};
  for (int round = 0; round < 300; ++round) {
    const Curves predicted = random_curves(random, 40);
    Curves truth = predicted;
    const double head = factor(random), tail = factor(random);
    for (double& ms : truth.head) ms *= head;
    for (double& ms : truth.tail) ms *= tail;
    std::vector<int> asked;
    const auto rows = measure_few(predicted.head, predicted.tail, std::vector<bool>(41, true), 3, [&](int k) {
      asked.push_back(k);
      return StageTimes{truth.head[static_cast<std::size_t>(k)], truth.tail[static_cast<std::size_t>(k)]};
    });
    CAPTURE(round);
    REQUIRE_FALSE(rows.empty());
    CHECK(asked.front() == static_cast<int>(best_of(predicted)));
    CHECK(asked.size() <= 2);  // then the corrected curves are the truth
    CHECK(rows.front().k == static_cast<int>(best_of(truth)));
    CHECK(rows.size() == asked.size());
  }
}

TEST_CASE("curves that are off more the deeper they go: three measurements come nearer than one") {
  std::mt19937_64 random{splitcnn_test::seed()};
  double one = 0, three = 0;
  for (int round = 0; round < 100; ++round) {
    const Curves predicted = random_curves(random, 40);
    Curves truth = predicted;
    for (std::size_t k = 0; k < truth.head.size(); ++k) truth.head[k] *= 0.6 + 0.03 * static_cast<double>(k);
    const auto regret = [&](int most) {
      const auto rows = measure_few(predicted.head, predicted.tail, std::vector<bool>(41, true), most, [&](int k) {
        return StageTimes{truth.head[static_cast<std::size_t>(k)], truth.tail[static_cast<std::size_t>(k)]};
      });
      return interval(truth, static_cast<std::size_t>(rows.front().k)) / interval(truth, best_of(truth)) - 1;
    };
    one += regret(1), three += regret(3);
  }
  CHECK(one > 0);
  CHECK(three < 0.2 * one);
}

TEST_CASE("cuts that are not legal are not measured, and cuts that cannot run are not answers") {
  const Curves c{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}};
  std::vector<bool> legal(5, true);
  legal[2] = false;
  std::vector<int> asked;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto rows = measure_few(c.head, c.tail, legal, 3, [&](int k) {
    asked.push_back(k);
    return k == 1 ? StageTimes{nan, 3} : StageTimes{c.head[static_cast<std::size_t>(k)], c.tail[static_cast<std::size_t>(k)]};
  });
  CHECK(asked == std::vector{1, 3});
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].k == 3);
  CHECK(measure_few(c.head, c.tail, std::vector<bool>(5, false), 3, [](int) { return StageTimes{}; }).empty());
}
