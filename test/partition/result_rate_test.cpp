#include "partition/result_rate.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"

using namespace splitcnn;

TEST_CASE("the interval between results of a steady stream is exact") {
  std::vector<double> ms;
  for (int i = 0; i < 40; ++i) ms.push_back(1e6 + 2.5 * i);
  CHECK(std::abs(interval_of(ms) - 2.5) < 1e-9);
  CHECK(interval_of({}) == 0);
  CHECK(interval_of(std::span{ms}.first(1)) == 0);
  CHECK(std::abs(interval_of(std::span{ms}.first(2)) - 2.5) < 1e-9);
}

TEST_CASE("results in bursts: wherever in a burst the clock starts, the interval is within 2 %") {
  for (const int burst : {2, 6, 20}) {
    double worst = 0, worst_of_ends = 0;
    for (int offset = 0; offset < burst; ++offset) {
      for (int extra = 0; extra < burst; ++extra) {
        std::vector<double> ms;
        for (int i = offset; i < offset + 8 * burst + extra; ++i) ms.push_back(i / burst * burst * 3.0);
        worst = std::max(worst, std::abs(interval_of(ms) / 3 - 1));
        const double ends = (ms.back() - ms.front()) / static_cast<double>(ms.size() - 1);
        worst_of_ends = std::max(worst_of_ends, std::abs(ends / 3 - 1));
      }
    }
    CAPTURE(burst);
    CHECK(worst < 0.02);
    if (burst > 2) CHECK(worst_of_ends > 0.08);
  }
}
