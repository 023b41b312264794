#include <algorithm>
#include <map>
#include <set>
#include <splitcnn/graph.hpp>

#include "graph/samples.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::Sketch;

namespace {

constexpr Granularity all[] = {Granularity::block, Granularity::fused, Granularity::op, Granularity::paper};

/// One string per unit: the operators in it.
std::vector<std::string> contents(const Graph& g, Granularity granularity = Granularity::block) {
  std::vector<std::string> result;
  for (const Unit& u : units(g, granularity)) {
    std::string ops;
    for (NodeId n = u.first; n < u.last; ++n)
      ops += (ops.empty() ? "" : " ") + std::string{to_string(g.nodes()[n].op)};
    result.push_back(ops);
  }
  return result;
}

using Names = std::vector<std::string>;

Names names(const Graph& g, Granularity granularity) {
  Names result;
  for (const Unit& u : units(g, granularity)) result.push_back(u.name);
  return result;
}

void check_covers(const Graph& g, Granularity granularity) {
  NodeId next = 0;
  std::set<std::string> taken;
  for (const Unit& u : units(g, granularity)) {
    REQUIRE(u.first == next);
    REQUIRE(u.last > u.first);
    CHECK_FALSE(u.name.empty());
    CHECK(taken.insert(u.name).second);
    next = u.last;
  }
  CHECK(next == g.nodes().size());
}

}  // namespace

TEST_CASE("paper granularity gives the paper's boundaries") {
  const std::map<std::string, std::size_t> boundaries{
      {"resnet18", 16}, {"resnet50", 24},     {"resnet101", 41}, {"resnet152", 58},
      {"vgg16", 41},    {"mobilenet_v2", 24}, {"lenet5", 13}};
  for (const auto& [name, count] : boundaries) {
    INFO(name);
    CHECK(cuts(Graph::zoo(name), Granularity::paper).size() == count);
  }
  CHECK(names(Graph::zoo("resnet18"), Granularity::paper) ==
        Names{"conv1", "bn1", "relu", "maxpool", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0",
              "layer3.1", "layer4.0", "layer4.1", "avgpool", "flatten", "fc"});
}

TEST_CASE("paper granularity of an import is a good guess") {
  // Exact wherever torchvision's modules are single nodes or blocks.
  for (const char* name : {"lenet5", "resnet18", "resnet50", "vgg16"}) {
    INFO(name);
    const Graph g = Graph::zoo(name);
    CHECK(names(splitcnn_test::without_modules(g), Granularity::paper) == names(g, Granularity::paper));
  }
  // MobileNetV2: its two plain conv-bn-relu modules count as three each.
  CHECK(cuts(splitcnn_test::without_modules(Graph::zoo("mobilenet_v2")), Granularity::paper).size() ==
        24 + 4);
}

TEST_CASE("units cover every node of the zoo exactly once") {
  for (const std::string& name : Graph::zoo_names()) {
    if (name == "vgg16" || name == "alexnet") continue;  // plain, and large
    const Graph g = Graph::zoo(name);
    const Graph import = splitcnn_test::without_modules(g);
    for (const Granularity granularity : all) {
      INFO(name << " granularity " << static_cast<int>(granularity));
      check_covers(g, granularity);
      check_covers(import, granularity);
    }
    CHECK(units(g, Granularity::op).size() == g.nodes().size());
    CHECK(units(g).size() == units(import).size());
  }
}

TEST_CASE("block granularity keeps the blocks of the zoo whole") {
  CHECK(names(Graph::zoo("resnet50"), Granularity::block).size() ==
        21);  // conv1, maxpool, 16 blocks, avgpool, flatten, fc
  const Names mobile = names(Graph::zoo("mobilenet_v2"), Granularity::block);
  REQUIRE(mobile.size() == 22);
  for (std::size_t i = 0; i <= 18; ++i) CHECK(mobile[i] == "features." + std::to_string(i));
  const Names google = names(Graph::zoo("googlenet"), Granularity::block);
  CHECK(std::count_if(google.begin(), google.end(),
                      [](const std::string& n) { return n.starts_with("inception"); }) == 9);
  CHECK(google.size() == 19);
  CHECK(units(Graph::zoo("mobilenet_v1")).size() ==
        30);  // 27 convolutions, avgpool, flatten, fc: no block in it
  CHECK(units(Graph::zoo("squeezenet1_1")).size() == 23);  // the squeeze layer lies before the fork
}

TEST_CASE("fused granularity") {
  Sketch s;
  TensorId x = s.op(Op::relu, s.batch_norm(s.conv(s.input(), 8, 3)));
  const TensorId y = s.batch_norm(s.conv(x, 8));
  x = s.op(Op::relu, s.binary(Op::add, x, y));
  x = s.op(Op::identity, s.op(Op::global_average_pool, x));
  const Graph g = s.build({s.gemm(s.flatten(x), 10)});
  CHECK(contents(g, Granularity::fused) == Names{"conv batch_norm relu", "conv batch_norm", "add", "relu",
                                                 "global_average_pool", "identity", "reshape", "gemm"});
  CHECK(contents(g) == Names{"conv batch_norm relu", "conv batch_norm add relu",
                             "global_average_pool identity", "reshape", "gemm"});
}

TEST_CASE("a unit takes affine nodes and one activation, nothing that others read") {
  SECTION("constants per channel, through an identity") {
    Sketch s;
    TensorId x = s.conv(s.input(), 8);
    x = s.binary(Op::add, x, s.constant({8, 1, 1}));
    x = s.op(Op::identity, s.binary(Op::mul, x, s.constant({1})));
    x = s.op(Op::relu, s.op(Op::relu, x));
    CHECK(contents(s.build({x})) == Names{"conv add mul identity relu", "relu"});
  }
  SECTION("a constant per pixel is no affine node") {
    Sketch s;
    const TensorId x = s.binary(Op::add, s.conv(s.input(), 8), s.constant({1, 8, 16, 16}));
    CHECK(contents(s.build({x})) == Names{"conv", "add"});
  }
  SECTION("a graph output in between ends the unit") {
    Sketch s;
    const TensorId x = s.conv(s.input(), 8);
    CHECK(contents(s.build({x, s.op(Op::relu, x)})) == Names{"conv", "relu"});
  }
  SECTION("dense layers") {
    Sketch s;
    TensorId x = s.flatten(s.input());
    x = s.binary(Op::matmul, x, s.constant({2048, 10}));
    x = s.op(Op::relu, s.binary(Op::add, x, s.constant({1, 10})));
    CHECK(contents(s.build({x})) == Names{"reshape", "matmul add relu"});
  }
}

TEST_CASE("blocks") {
  SECTION("inverted residual without a skip, with and without expansion") {
    Sketch s;
    TensorId x = s.op(Op::relu, s.conv(s.input(), 8, 3));
    x = s.conv(s.op(Op::relu, s.depthwise(x)), 4);
    x = s.op(Op::relu, s.conv(x, 24));
    x = s.conv(s.op(Op::relu, s.depthwise(x)), 6);
    x = s.op(Op::relu, s.conv(x, 36));
    CHECK(contents(s.build({x})) ==
          Names{"conv relu", "conv relu conv", "conv relu conv relu conv", "conv relu"});
  }
  SECTION("with squeeze and excite") {
    Sketch s;
    TensorId x = s.op(Op::hard_swish, s.conv(s.input(), 16));
    x = s.op(Op::hard_swish, s.depthwise(x));
    TensorId w = s.op(Op::relu, s.conv(s.op(Op::global_average_pool, x), 4));
    w = s.add({.op = Op::hard_sigmoid, .inputs = {s.conv(w, 16)}, .alpha = 1.0f / 6, .beta = 0.5f});
    x = s.conv(s.binary(Op::mul, x, w), 8);
    CHECK(contents(s.build({s.op(Op::relu, s.conv(x, 8))})).size() == 2);
  }
  SECTION("a depthwise-separable layer with two activations is two units") {
    Sketch s;
    TensorId x = s.op(Op::relu, s.depthwise(s.input()));
    x = s.op(Op::relu, s.conv(x, 16));
    CHECK(contents(s.build({x})) == Names{"conv relu", "conv relu"});
  }
  SECTION("x * sigmoid(x) is the convolution's activation") {
    Sketch s;
    TensorId x = s.batch_norm(s.conv(s.input(), 8));
    x = s.binary(Op::mul, x, s.op(Op::sigmoid, x));
    CHECK(contents(s.build({s.conv(x, 8)})) == Names{"conv batch_norm sigmoid mul", "conv"});
  }
  SECTION("split, shuffle, concat") {
    Sketch s;
    const auto halves =
        s.builder().add_multi({.op = Op::split, .inputs = {s.conv(s.input(), 8)}, .axes = {1}}, {},
                              {{1, 4, 16, 16}, {1, 4, 16, 16}});
    const TensorId x = s.concat({halves[0], s.conv(halves[1], 4)});
    CHECK(contents(s.build({s.conv(x, 8)})) == Names{"conv", "split conv concat", "conv"});
  }
  SECTION("a backbone that ends in a residual block") {
    Sketch s;
    const TensorId x = s.op(Op::relu, s.conv(s.input(), 8));
    CHECK(contents(s.build({s.op(Op::relu, s.binary(Op::add, x, s.conv(x, 8)))})) ==
          Names{"conv relu", "conv add relu"});
  }
  SECTION("the network's input forks") {
    Sketch s;
    const TensorId x = s.concat({s.conv(s.input(), 8), s.conv(s.input(), 8, 3)});
    CHECK(contents(s.build({s.conv(x, 8)})) == Names{"conv conv concat", "conv"});
  }
  SECTION("one node reading a tensor twice is no fork") {
    Sketch s;
    const TensorId x = s.conv(s.input(), 8);
    CHECK(contents(s.build({s.binary(Op::add, x, x)})) == Names{"conv", "add"});
  }
}

TEST_CASE("long parallel paths stay divided") {
  SECTION("a detector with several scales and two outputs") {
    Sketch s;
    TensorId x = s.input();
    std::vector<TensorId> classes, boxes;
    for (int scale = 0; scale < 4; ++scale) {
      for (int i = 0; i < 3; ++i) x = s.op(Op::relu, s.conv(x, 8, 3));
      classes.push_back(s.flatten(s.conv(x, 2)));
      boxes.push_back(s.reshape(s.conv(x, 4), {1, 1024}));
    }
    const TensorId scores = s.concat(classes), corners = s.concat(boxes);
    const Graph g = s.build({scores, corners});
    CHECK(units(g).size() == 4 * (3 + 4) + 2);
    std::size_t most = 0;
    for (const Cut& c : cuts(g)) most = std::max(most, c.tensors.size());
    CHECK(most == 8);
  }
  SECTION("the same with everything joined at the end") {
    Sketch s;
    TensorId x = s.input();
    std::vector<TensorId> heads;
    for (int scale = 0; scale < 4; ++scale) {
      for (int i = 0; i < 4; ++i) x = s.op(Op::relu, s.conv(x, 8, 3));
      heads.push_back(s.conv(x, 2));
    }
    CHECK(units(s.build({s.concat(heads)})).size() >= 10);
  }
  SECTION("a U-Net's inner skip is a block, its outer ones are not") {
    Sketch s;
    TensorId x = s.input();
    std::vector<TensorId> skips;
    for (int level = 0; level < 4; ++level) {
      for (int i = 0; i < 2; ++i) x = s.op(Op::relu, s.conv(x, 8, 3));
      skips.push_back(x);
    }
    for (int level = 3; level >= 0; --level) {
      x = s.concat({s.op(Op::relu, s.conv(x, 8, 3)), skips[static_cast<std::size_t>(level)]});
      x = s.op(Op::relu, s.conv(x, 8, 3));
    }
    CHECK(units(s.build({x})).size() > 8);
  }
}

TEST_CASE("units cover random graphs exactly once") {
  const auto first = splitcnn_test::seed();
  for (std::uint64_t i = 0; i < 500; ++i) {
    INFO("seed " << first + i);
    const Graph g = splitcnn_test::random_dag(first + i);
    for (const Granularity granularity : all) check_covers(g, granularity);
    // Coarser granularities never cut where finer ones do not.
    for (const Granularity coarse : {Granularity::block, Granularity::paper})
      CHECK(units(g, coarse).size() <= units(g, Granularity::op).size());
  }
}
