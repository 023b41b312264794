#include <algorithm>
#include <set>
#include <splitcnn/graph.hpp>

#include "graph/dpu_limits.hpp"
#include "graph/samples.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::Sketch;

namespace {

/// Slow and obvious: try every tensor.
std::vector<TensorId> live_by_force(const Graph& g, NodeId node) {
  std::vector<TensorId> live;
  for (TensorId t = 0; t < g.tensors().size(); ++t) {
    bool written = std::find(g.inputs().begin(), g.inputs().end(), t) != g.inputs().end();
    bool read = false;
    for (NodeId n = 0; n < g.nodes().size(); ++n) {
      const auto& [in, out] = std::pair{g.nodes()[n].inputs, g.nodes()[n].outputs};
      if (n < node && std::find(out.begin(), out.end(), t) != out.end()) written = true;
      if (n >= node && std::find(in.begin(), in.end(), t) != in.end()) read = true;
    }
    if (written && read) live.push_back(t);
  }
  return live;
}

/// What the limits say about the last node of a graph.
DpuLimits last(const Graph& g) { return dpu_limits(g, static_cast<NodeId>(g.nodes().size() - 1)); }

enum class Runs { nowhere, software, board };

void check(const Graph& g, Runs runs, const std::string& word = {}) {
  const DpuLimits limits = last(g);
  const Node& node = g.nodes().back();
  INFO(to_string(node.op) << ": " << limits.reason);
  CHECK(limits.legal == (runs != Runs::nowhere));
  CHECK(limits.board_legal == (runs == Runs::board));
  if (runs == Runs::board) return;
  CHECK(limits.reason.find(node.name) != std::string::npos);
  CHECK(limits.reason.find(to_string(node.op)) != std::string::npos);
  CHECK(limits.reason.find(word) != std::string::npos);
}

Graph conv_with(Window window, std::int64_t in, std::int64_t out, int groups = 1, std::int64_t size = 32) {
  Sketch s{{1, in, size, size}};
  Node node{.op = Op::conv,
            .inputs = {s.input(), s.constant({out, in / groups, window.kernel_h, window.kernel_w})}};
  node.window = window;
  node.groups = groups;
  const TensorId y = s.add(std::move(node));
  return s.build({y});
}

Graph unary(Node node, bool behind_conv = true) {
  Sketch s;
  node.inputs = {behind_conv ? s.conv(s.input(), 8) : s.input()};
  const TensorId y = s.add(std::move(node));
  return s.build({y});
}

Graph pool(Op op, Window window, bool count_include_pad = false, bool ceil_mode = false) {
  Node node{.op = op};
  node.window = window;
  node.count_include_pad = count_include_pad;
  node.ceil_mode = ceil_mode;
  return unary(std::move(node));
}

int last_legal(const std::vector<Cut>& cuts, bool Cut::*kind) {
  int k = -1;
  for (const Cut& c : cuts) {
    if (c.*kind) k = c.k;
  }
  return k;
}

}  // namespace

TEST_CASE("cuts are the boundaries between units") {
  const Graph g = Graph::zoo("resnet18");
  const auto all_units = units(g);
  const auto all_cuts = cuts(g);
  REQUIRE(all_cuts.size() == all_units.size() + 1);
  CHECK(all_cuts[0].after == "input");
  CHECK(all_cuts[0].tensors == std::vector<TensorId>{g.inputs()[0]});
  CHECK(all_cuts[0].legal);
  CHECK(all_cuts[0].board_legal);
  for (std::size_t k = 1; k < all_cuts.size(); ++k) {
    CHECK(all_cuts[k].k == static_cast<int>(k));
    CHECK(all_cuts[k].node == all_units[k - 1].last);
    CHECK(all_cuts[k].after == all_units[k - 1].name);
    CHECK(all_cuts[k].tensors.size() == (k + 1 < all_cuts.size() ? 1u : 0u));
  }
}

TEST_CASE("what crosses a cut is what a brute-force search finds") {
  const auto first = splitcnn_test::seed();
  for (std::uint64_t i = 0; i < 400; ++i) {
    INFO("seed " << first + i);
    const Graph g = splitcnn_test::random_dag(first + i);
    for (const Granularity granularity : {Granularity::block, Granularity::fused, Granularity::op}) {
      for (const Cut& cut : cuts(g, granularity)) {
        INFO("node " << cut.node);
        REQUIRE(cut.tensors == live_by_force(g, cut.node));
      }
    }
  }
}

TEST_CASE("a head that is legal stays legal when shortened") {
  const auto first = splitcnn_test::seed();
  for (std::uint64_t i = 0; i < 200; ++i) {
    INFO("seed " << first + i);
    const auto all = cuts(splitcnn_test::random_dag(first + i), Granularity::op);
    for (std::size_t k = 0; k < all.size(); ++k) {
      if (k > 0 && all[k].legal) CHECK(all[k - 1].legal);
      if (all[k].board_legal) CHECK(all[k].legal);
      CHECK(all[k].reason.empty() == all[k].board_legal);
    }
  }
}

TEST_CASE("the DPU's convolutions") {
  check(conv_with({.kernel_h = 3, .kernel_w = 3}, 16, 32), Runs::board);
  check(conv_with({.kernel_h = 7,
                   .kernel_w = 7,
                   .stride_h = 2,
                   .stride_w = 2,
                   .pad_top = 3,
                   .pad_left = 3,
                   .pad_bottom = 3,
                   .pad_right = 3},
                  3, 64),
        Runs::board);
  check(conv_with({.kernel_h = 9, .kernel_w = 9}, 3, 8), Runs::software, "81");
  check(conv_with({.kernel_h = 1, .kernel_w = 17}, 3, 8), Runs::software, "17");
  check(conv_with({.kernel_h = 1, .kernel_w = 16}, 3, 8), Runs::board);
  check(conv_with({.stride_h = 8, .stride_w = 8}, 3, 8), Runs::board);
  check(conv_with({.stride_h = 9, .stride_w = 9}, 3, 8), Runs::software, "stride");
  check(conv_with({}, 4096, 4, 1, 1), Runs::board);
  check(conv_with({}, 4097, 4, 1, 1), Runs::software, "4097");
  check(conv_with({}, 4, 4097, 1, 1), Runs::software, "output channels");
  check(conv_with({.dilation_h = 2, .dilation_w = 2}, 16, 16), Runs::board);
  check(conv_with(
            {.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .dilation_h = 2, .dilation_w = 2},
            16, 16),
        Runs::software, "dilates");
  check(conv_with({.kernel_h = 3, .kernel_w = 3, .dilation_h = 2, .dilation_w = 2}, 2049, 1, 1, 8),
        Runs::software, "dilation");
  check(conv_with({.kernel_h = 8, .kernel_w = 8}, 512, 1, 1, 8), Runs::board);
  check(conv_with({.kernel_h = 8, .kernel_w = 8}, 513, 1, 1, 8), Runs::software, "32768");
  check(conv_with({.kernel_h = 3, .kernel_w = 3, .pad_top = 2, .pad_bottom = 3}, 3, 8), Runs::software,
        "vertical padding");
  check(conv_with({.kernel_h = 3, .kernel_w = 3}, 16, 32, 4), Runs::software, "4 groups");
  check(conv_with({.kernel_h = 3, .kernel_w = 3}, 16, 16, 16), Runs::board);
  check(conv_with({.kernel_h = 3, .kernel_w = 3}, 16, 32, 16), Runs::board);
  check(
      conv_with({.kernel_h = 3, .kernel_w = 3, .pad_top = 16, .pad_left = 1, .pad_bottom = 1, .pad_right = 1},
                16, 16, 16),
      Runs::software, "padding");
  check(conv_with({.kernel_h = 16, .kernel_w = 16}, 513, 1, 1, 16), Runs::nowhere, "131328 products");
  Sketch s;
  const TensorId weights = s.reshape(s.op(Op::identity, s.input()), {1, 8, 16, 16});
  Node node{.op = Op::conv, .inputs = {s.input(), weights}};
  node.window = {.kernel_h = 16, .kernel_w = 16};
  const TensorId y = s.add(std::move(node));
  check(s.build({y}), Runs::nowhere, "weights");
}

TEST_CASE("the DPU's activations") {
  check(unary({.op = Op::relu}), Runs::board);
  check(unary({.op = Op::relu}, false), Runs::software, "alone");
  check(unary({.op = Op::clip, .alpha = 0, .beta = 6}), Runs::board);
  check(unary({.op = Op::clip, .alpha = -1, .beta = 6}), Runs::nowhere, "-1");
  check(unary({.op = Op::leaky_relu, .alpha = 0.1015625f}), Runs::board);
  check(unary({.op = Op::leaky_relu, .alpha = 0.1f}), Runs::nowhere, "26/256");
  check(unary({.op = Op::hard_sigmoid, .alpha = 1.0f / 6, .beta = 0.5f}), Runs::board);
  check(unary({.op = Op::hard_sigmoid, .alpha = 0.2f, .beta = 0.5f}), Runs::nowhere, "0.2");
  check(unary({.op = Op::hard_swish}), Runs::board);
  for (const Op op : {Op::sigmoid, Op::tanh, Op::exp, Op::sqrt}) check(unary({.op = op}), Runs::nowhere);
  check(unary({.op = Op::softmax, .axes = {1}}), Runs::nowhere);
  check(unary({.op = Op::transpose, .axes = {0, 2, 3, 1}}), Runs::nowhere);
  Sketch s;
  check(s.build({s.op(Op::hard_swish, s.depthwise(s.input()))}), Runs::software, "ordinary");
  Sketch t;
  const TensorId sum = t.binary(Op::add, t.conv(t.input(), 8), t.input());
  check(t.build({t.add({.op = Op::clip, .inputs = {sum}, .alpha = 0, .beta = 6})}), Runs::software, "relu");
}

TEST_CASE("the DPU's pools and means") {
  const Window three{.kernel_h = 3,
                     .kernel_w = 3,
                     .stride_h = 2,
                     .stride_w = 2,
                     .pad_top = 1,
                     .pad_left = 1,
                     .pad_bottom = 1,
                     .pad_right = 1};
  check(pool(Op::max_pool, three), Runs::board);
  check(pool(Op::average_pool, three, true), Runs::board);
  check(pool(Op::average_pool, three, false), Runs::nowhere, "padding");
  check(pool(Op::average_pool, {.kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2}), Runs::board);
  check(pool(Op::average_pool, {.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2}, false, true),
        Runs::nowhere, "ceil_mode");
  check(pool(Op::max_pool, {.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2}, false, true),
        Runs::board);
  check(pool(Op::max_pool, {.kernel_h = 3, .kernel_w = 3, .dilation_h = 2, .dilation_w = 2}), Runs::nowhere,
        "dilat");
  check(unary({.op = Op::global_average_pool}), Runs::board);
  const auto mean = [](std::vector<std::int64_t> axes, const Shape& shape) {
    Sketch s;
    const TensorId y = s.add({.op = Op::reduce_mean, .inputs = {s.input()}, .axes = std::move(axes)}, shape);
    return s.build({y});
  };
  check(mean({2, 3}, {1, 8, 1, 1}), Runs::board);
  check(mean({2, 3}, {1, 8}), Runs::board);
  check(mean({1}, {1, 1, 16, 16}), Runs::nowhere, "height and width");
}

TEST_CASE("the DPU's sums, products and channel-wise scales") {
  for (const Op op : {Op::add, Op::mul}) {
    Sketch s;
    check(s.build({s.binary(op, s.input(), s.conv(s.input(), 8))}), Runs::board);
    Sketch t;
    check(t.build({t.binary(op, t.input(), t.conv(t.input(), 1))}), Runs::nowhere, "broadcast");
  }
  for (const Op op : {Op::sub, Op::div}) {
    Sketch s;
    check(s.build({s.binary(op, s.input(), s.conv(s.input(), 8))}), Runs::nowhere, "add and mul");
  }
  for (const Op op : {Op::add, Op::sub, Op::mul, Op::div}) {
    Sketch folded;
    check(folded.build({folded.binary(op, folded.conv(folded.input(), 8), folded.constant({8, 1, 1}, 2))}),
          Runs::board);
    Sketch alone;
    check(alone.build({alone.binary(op, alone.input(), alone.constant({8, 1, 1}, 2))}), Runs::software,
          "folded");
    Sketch pixels;
    check(pixels.build({pixels.binary(op, pixels.input(), pixels.constant({16}, 2))}), Runs::nowhere,
          "per channel");
  }
  Sketch chain;
  check(
      chain.build({chain.batch_norm(chain.batch_norm(chain.op(Op::identity, chain.conv(chain.input(), 8))))}),
      Runs::board);
  Sketch shared;  // somebody else needs the convolution's own result: it cannot be folded away
  const TensorId x = shared.conv(shared.input(), 8);
  const TensorId y = shared.op(Op::relu, x);
  check(shared.build({y, shared.batch_norm(x)}), Runs::software, "folded");
  Sketch first;
  check(first.build({first.batch_norm(first.input())}), Runs::software, "folded");
}

TEST_CASE("the DPU's copies") {
  Sketch a;
  check(a.build({a.concat({a.input(), a.conv(a.input(), 3)})}), Runs::board);
  Sketch b;
  check(b.build({b.concat({b.input(), b.conv(b.input(), 8)}, 2)}), Runs::software, "axis 2");
  Sketch c{{1, 8}};
  check(c.build({c.concat({c.input(), c.gemm(c.input(), 8)})}), Runs::nowhere, "images");
  check(unary({.op = Op::slice, .begins = {0, 0, 0, 0}, .ends = {1, 8, 16, 16}, .steps = {1, 1, 2, 2}}),
        Runs::software, "slice");
  check(unary({.op = Op::pad, .begins = {0, 0, 0, 0}, .ends = {0, 0, 0, 0}}), Runs::board);
  check(unary({.op = Op::pad, .begins = {0, 4, 0, 0}, .ends = {0, 4, 0, 0}}), Runs::software, "pad");
  check(unary({.op = Op::pad, .alpha = 1, .begins = {0, 4, 0, 0}, .ends = {0, 4, 0, 0}}), Runs::nowhere, "0");
  const auto resize = [](Coordinates coordinates, bool floor, float scale,
                         ResizeMode mode = ResizeMode::nearest) {
    Node node{.op = Op::resize, .scales = {1, 1, scale, scale}};
    node.coordinates = coordinates;
    node.nearest_floor = floor;
    node.resize_mode = mode;
    Sketch s;
    node.inputs = {s.input()};
    const auto size = static_cast<std::int64_t>(16 * scale);
    const TensorId y = s.add(std::move(node), Shape{1, 8, size, size});
    return s.build({y});
  };
  check(resize(Coordinates::asymmetric, true, 2), Runs::board);
  check(resize(Coordinates::asymmetric, true, 3), Runs::board);
  check(resize(Coordinates::asymmetric, false, 2), Runs::board);
  check(resize(Coordinates::asymmetric, false, 3), Runs::nowhere, "coordinates");
  check(resize(Coordinates::half_pixel, false, 2), Runs::board);
  check(resize(Coordinates::half_pixel, false, 3), Runs::board);
  check(resize(Coordinates::half_pixel, true, 2), Runs::nowhere, "coordinates");
  check(resize(Coordinates::align_corners, true, 2), Runs::nowhere, "coordinates");
  check(resize(Coordinates::asymmetric, true, 1.5f), Runs::nowhere, "coordinates");
  check(resize(Coordinates::half_pixel, true, 2, ResizeMode::linear), Runs::nowhere, "interpolates");
}

TEST_CASE("the DPU's dense layers and what flattens for them") {
  Sketch s{{1, 8, 7, 7}};
  const Graph g = s.build({s.gemm(s.op(Op::identity, s.flatten(s.conv(s.input(), 8))), 10, "dense")});
  const auto all = cuts(g, Granularity::op);
  REQUIRE(all.size() == 5);
  for (const Cut& c : all) CHECK(c.legal);
  CHECK(all[1].board_legal);
  for (const std::size_t k : {2u, 3u}) {
    CHECK_FALSE(all[k].board_legal);
    CHECK(all[k].reason.find("flatten") != std::string::npos);
    CHECK(all[k].reason.find("dense") != std::string::npos);
  }
  CHECK(all[4].board_legal);

  Sketch one;  // N,C,1,1: nothing moves
  const auto free_flatten =
      cuts(one.build({one.flatten(one.op(Op::global_average_pool, one.input()))}), Granularity::op);
  CHECK(free_flatten.back().board_legal);
  Sketch end;
  check(end.build({end.flatten(end.input())}), Runs::software, "reorders");

  Sketch large{{1, 9216}};  // no map behind it: 9216 channels
  check(large.build({large.gemm(large.input(), 10)}), Runs::software, "9216");
  Sketch map{{1, 512, 7, 7}};
  check(map.build({map.gemm(map.flatten(map.input()), 64)}), Runs::board);
  Sketch rows{{1, 4, 8}};
  check(rows.build({rows.binary(Op::matmul, rows.input(), rows.constant({8, 8}))}), Runs::nowhere, "rank 2");
  Sketch product{{1, 8}};
  const TensorId b = product.reshape(product.op(Op::identity, product.input()), {8, 1});
  check(product.build({product.binary(Op::matmul, product.input(), b)}), Runs::nowhere, "constant");
}

TEST_CASE("zoo networks are legal as far as they should be") {
  for (const char* name :
       {"resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2", "googlenet", "squeezenet1_1", "lenet5"}) {
    INFO(name);
    const auto all = cuts(Graph::zoo(name));
    CHECK(last_legal(all, &Cut::legal) == static_cast<int>(all.size()) - 1);
    CHECK(last_legal(all, &Cut::board_legal) == static_cast<int>(all.size()) - 1);
  }
  const auto alexnet = cuts(Graph::zoo("alexnet", {.input_size = 96}));
  CHECK(last_legal(alexnet, &Cut::legal) == static_cast<int>(alexnet.size()) - 1);
  CHECK(last_legal(alexnet, &Cut::board_legal) == 0);  // 11x11 kernels
}

TEST_CASE("trained models are legal as far as they should be") {
  const std::string data = splitcnn_test::test_data();
  if (data.empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  SECTION("mnist_cnn") {
    const auto all = cuts(Graph::load(data + "/models/mnist_cnn.onnx"));
    for (const Cut& c : all) {
      INFO(c.k << " " << c.reason);
      CHECK(c.legal);
    }
    CHECK(all.back().board_legal);
  }
  SECTION("cifar10_resnet20") {
    const Graph g = Graph::load(data + "/models/cifar10_resnet20.onnx");
    const auto all = cuts(g, Granularity::op);
    bool sliced = false;
    for (const Cut& c : all) {
      INFO(c.k << " after " << c.after << ": " << c.reason);
      CHECK(c.legal);
      if (c.node > 0 && g.nodes()[c.node - 1].op == Op::slice) sliced = true;
      CHECK(c.board_legal == !sliced);
      if (sliced) CHECK(c.reason.find("slice") != std::string::npos);
    }
    CHECK(sliced);
    CHECK(cuts(g).size() == 1 + 1 + 9 + 3);  // conv, nine blocks, pool, flatten, dense
  }
  SECTION("mobilenet_v2") {
    const Graph g = Graph::load(data + "/models/mobilenet_v2_1.0_224.onnx");
    const auto all = cuts(g);
    CHECK(all.size() == 1 + 1 + 17 + 1 + 4);  // conv, blocks, conv, pool, conv, flatten, softmax
    for (const Cut& c : all) {
      INFO(c.k << " after " << c.after << ": " << c.reason);
      CHECK(c.legal == (c.k + 1 < static_cast<int>(all.size())));
      CHECK(c.board_legal == c.legal);
    }
    CHECK(all.back().reason.find("softmax") != std::string::npos);
  }
  SECTION("ultraface") {
    const Graph g = Graph::load(data + "/models/ultraface_rfb_320.onnx");
    const auto all = cuts(g);
    CHECK(all.size() > 40);  // four scales with two heads each do not collapse into one unit
    std::size_t most = 0;
    for (const Cut& c : all) most = std::max(most, c.tensors.size());
    CHECK(most >= 8);
    const int k = last_legal(all, &Cut::legal);
    CHECK(k == last_legal(all, &Cut::board_legal));
    // The whole backbone up to the first scale, then the first head until its transpose.
    REQUIRE(k > 0);
    CHECK(g.nodes()[all[static_cast<std::size_t>(k)].node].op == Op::transpose);
    CHECK(all[static_cast<std::size_t>(k)].tensors.size() == 2);
    CHECK(all[static_cast<std::size_t>(k + 1)].reason.find("transpose") != std::string::npos);
  }
}
