// mix() and switch_layers() against the other plans by the same profile.
#include <cmath>

#include "partition/lenet.hpp"
#include "partition/random_profile.hpp"
#include "splitcnn/device_model.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::lenet;
using splitcnn_test::random_profile;

TEST_CASE("a mix is never slower than the best single route or the interleave") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 200; ++i) {
    const Profile profile = random_profile(random, lenet());
    INFO("case " << i);
    const Plan mix = lenet().mix(profile);
    const double single = lenet().search(profile).expected().interval_ms;
    REQUIRE(mix.expected().interval_ms <= single * (1 + 1e-9));
    REQUIRE(mix.expected().interval_ms <= lenet().interleave(profile).expected().interval_ms * (1 + 1e-9));
    REQUIRE(lenet().cost(mix, profile).interval_ms == Approx(mix.expected().interval_ms));
    REQUIRE(mix.routes().size() <= 2);
  }
}

TEST_CASE("switching by latency is never slower than any single cut, greedy never better than optimal") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 200; ++i) {
    Profile profile = random_profile(random, lenet());
    // Prefixes and suffixes that are sums of units: then single cuts are among the chain's assignments.
    for (DeviceProfile& d : profile.devices) {
      d.batch = 1;
      d.fixed_ms = 0;
      double sum = 0;
      for (double& ms : d.prefix_ms) ms = sum, sum += std::uniform_real_distribution{0.1, 3.0}(random);
      for (std::size_t k = 0; k < d.suffix_ms.size(); ++k) d.suffix_ms[k] = d.prefix_ms.back() - d.prefix_ms[k];
    }
    INFO("case " << i);
    const double switched = lenet().switch_layers(profile).expected().latency_ms;
    const double greedy = lenet().switch_layers(profile, {.method = SwitchMethod::greedy}).expected().latency_ms;
    REQUIRE(greedy >= switched * (1 - 1e-9));
    REQUIRE(switched <= lenet().search(profile, {.objective = Objective::latency}).expected().latency_ms * (1 + 1e-9));
    const double by_interval = lenet().switch_layers(profile, {.objective = Objective::interval}).expected().interval_ms;
    REQUIRE(by_interval > 0);
  }
}

TEST_CASE("past the paper: a mix beats its split on six networks, by the models") {
  struct Paper {
    const char* model;
    int index;
  };
  for (const bool zoo : {false, true}) {
    double over_paper = 1, over_single = 1;
    for (const Paper& row : {Paper{"resnet18", 10}, Paper{"resnet50", 14}, Paper{"resnet101", 27}, Paper{"resnet152", 39}, Paper{"vgg16", 12},
                             Paper{"mobilenet_v2", 16}}) {
      const Graph graph = Graph::zoo(row.model);
      const QuantizedGraph fake{graph, std::vector<int>(graph.tensors().size(), 4), {}, true};  // only costs are asked
      const Partitioner parts{fake, Granularity::paper};
      const Profile profile = zoo ? model(parts, DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo())
                                  : model(parts, DpuModel::vck190_table1(), GpuModel::rtx2080_table1(), LinkModel::pcie_table1());
      const double mixed = parts.mix(profile).expected().interval_ms, single = parts.search(profile).expected().interval_ms;
      const double paper = parts.candidates(profile)[static_cast<std::size_t>(row.index - 1)].cost.interval_ms;
      std::printf("modelled (%s) %-12s mix %.3f ms, best single %.3f ms (%.3fx), the paper's cut %.3f ms (%.3fx)\n", zoo ? "zoo" : "table1",
                  row.model, mixed, single, single / mixed, paper, paper / mixed);
      over_paper *= paper / mixed;
      over_single *= single / mixed;
    }
    std::printf("modelled (%s) geomean over the paper's cut %.3fx, over the best single cut %.3fx\n", zoo ? "zoo" : "table1",
                std::pow(over_paper, 1.0 / 6), std::pow(over_single, 1.0 / 6));
    CHECK(std::pow(over_single, 1.0 / 6) >= 1.12);
    if (!zoo) CHECK(std::pow(over_paper, 1.0 / 6) >= 1.18);
  }
}
