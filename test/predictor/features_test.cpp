// The linear-time description of a graph against the device models of lib/partition, which walk it again and again.
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "predictor/truth.hpp"
#include "splitcnn/partitioner.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

void compare(const Graph& graph) {
  CAPTURE(graph.name());
  const DpuModel dpu = DpuModel::vck190_table1();
  const GpuModel gpu = GpuModel::rtx2080_table1();
  Layers layers;
  describe(graph, splitcnn_training::base_of(dpu), splitcnn_training::base_of(gpu), layers);
  std::vector<double> by_layer[2];
  const std::vector<double> ms[2] = {node_ms(graph, dpu), node_ms(graph, gpu)};
  for (int d = 0; d < 2; ++d) {
    by_layer[d].assign(static_cast<std::size_t>(layers.count), 0);
    for (std::size_t n = 0; n < ms[d].size(); ++n) by_layer[d][static_cast<std::size_t>(layers.layer_of[n])] += ms[d][n] * 1e3;
    for (std::size_t l = 0; l < by_layer[d].size(); ++l) {
      CAPTURE(d, l);
      CHECK(std::abs(layers.base_us[d][l] - by_layer[d][l]) <= 1e-9 + 1e-6 * by_layer[d][l]);
    }
  }
}

}  // namespace

TEST_CASE("layers cost what the device models say") {
  for (const char* name : {"lenet5", "googlenet", "mobilenet_v2", "resnet50", "squeezenet1_1"}) compare(Graph::zoo(name, {.input_size = 0}));
  int compared = 0;
  const std::uint64_t first = splitcnn_test::seed() % 1'000'000;
  for (std::uint64_t seed = first; compared < 20; ++seed) {
    try {
      compare(splitcnn_training::random_cnn(seed, {.most_macs = 1e9, .most_weights = 1e7}).graph);
      ++compared;
    } catch (const Error& e) {
      if (e.code() != Errc::bad_argument) throw;
    }
  }
}

TEST_CASE("cuts of blocks fall between layers, or before a view that costs nothing") {
  for (const char* name : {"resnet18", "mobilenet_v2", "googlenet"}) {
    const Graph graph = Graph::zoo(name);
    Layers layers;
    describe(graph, {}, {}, layers);
    for (const Cut& cut : cuts(graph)) {
      if (cut.node == 0 || cut.node == graph.nodes().size()) continue;
      CAPTURE(name, cut.k);
      const Op next = graph.nodes()[cut.node].op;
      CHECK((layers.layer_of[cut.node] != layers.layer_of[cut.node - 1] || next == Op::reshape || next == Op::identity));
    }
  }
}

TEST_CASE("how full the vectors and tiles of a convolution's channels are") {
  const auto fills = [](const Graph& graph, int wanted) {
    Layers layers;
    describe(graph, {}, {}, layers);
    const auto& names = feature_names();
    const auto at = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) - names.begin(); };
    std::array<float, 4> result{};
    for (int l = 0, seen = 0; l < layers.count; ++l) {
      const float* x = layers.x.data() + static_cast<std::ptrdiff_t>(l) * feature_count;
      if (x[at("conv")] == 0 || seen++ != wanted) continue;
      result = {x[at("in_fill")], x[at("in_fours")], x[at("out_fill")], x[at("out_fill_64")]};
    }
    return result;
  };
  CHECK(fills(Graph::zoo("lenet5"), 0) == std::array{1 / 16.f, 0.f, 6 / 16.f, 6 / 64.f});
  CHECK(fills(Graph::zoo("lenet5"), 1) == std::array{6 / 16.f, 0.f, 1.f, 0.25f});
  CHECK(fills(Graph::zoo("resnet18"), 1) == std::array{1.f, 1.f, 1.f, 1.f});
}

TEST_CASE("random networks repeat by seed and have every family") {
  bool seen[splitcnn_training::family_count] = {};
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    try {
      const auto a = splitcnn_training::random_cnn(seed, {.most_macs = 1e9, .most_weights = 5e6});
      if (seed < 8) CHECK(a.graph.hash() == splitcnn_training::random_cnn(seed, {.most_macs = 1e9, .most_weights = 5e6}).graph.hash());
      seen[a.family] = true;
      CHECK(units(a.graph).size() >= 3);
    } catch (const Error& e) {
      CHECK(e.code() == Errc::bad_argument);
    }
  }
  for (const bool s : seen) CHECK(s);
}
