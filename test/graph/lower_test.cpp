// What lowering folds, fuses, absorbs and leaves alone. That results stay the same is tested with the
// executor (test/cpu).
#include "graph/lower.hpp"

#include <cmath>
#include <set>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

using Kind = Activation::Kind;

/// A graph with one image input of 4 channels, weights counted up.
struct Net {
  GraphBuilder b{"net"};
  TensorId x = b.input("x", {1, 4, 6, 6});
  int names = 0;

  TensorId constant(const Shape& shape, float first = 1, float step = 0) {
    std::vector<float> v(static_cast<std::size_t>(shape.elements()));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = first + step * static_cast<float>(i);
    return b.constant("c" + std::to_string(names++), shape, v);
  }
  TensorId conv(TensorId t, std::int64_t out = 4) {
    return b.add({.op = Op::conv, .inputs = {t, constant({out, b.shape(t)[1], 1, 1}, 1, 1)}});
  }
  TensorId batch_norm(TensorId t) {
    const Shape c{b.shape(t)[1]};
    return b.add({.op = Op::batch_norm,
                  .inputs = {t, constant(c, 3), constant(c, 5), constant(c, 7), constant(c, 3)},
                  .alpha = 1});
  }
  TensorId relu(TensorId t) { return b.add({.op = Op::relu, .inputs = {t}}); }
  TensorId identity(TensorId t) { return b.add({.op = Op::identity, .inputs = {t}}); }
  TensorId mul(TensorId t, TensorId u) { return b.add({.op = Op::mul, .inputs = {t, u}}); }
  TensorId add(TensorId t, TensorId u) { return b.add({.op = Op::add, .inputs = {t, u}}); }
  TensorId gemm(TensorId t, std::int64_t out) {
    return b.add({.op = Op::gemm,
                  .inputs = {t, constant({out, b.shape(t)[1]}, 0, 1), constant({out}, 2)},
                  .transpose_b = true,
                  .alpha = 2,
                  .beta = 3});
  }
  Graph finish(TensorId t) {
    b.output(t);
    return std::move(b).build();
  }
};

LoweredSegment lower_all(const Graph& graph, const LowerOptions& options = {}) {
  return lower(graph, 0, static_cast<NodeId>(graph.nodes().size()), options);
}

}  // namespace

TEST_CASE("convolution, batch norm and relu become one op") {
  Net n;
  const Graph graph = n.finish(n.relu(n.batch_norm(n.conv(n.x))));
  const auto ops = lower_all(graph).ops;
  REQUIRE(ops.size() == 1);
  const LoweredOp& op = ops[0];
  CHECK(op.op == Op::conv);
  CHECK(op.node == 0);
  CHECK(op.folded_through == 1);
  CHECK(op.activation.kind == Kind::relu);
  CHECK(op.inputs == std::vector<TensorId>{n.x});
  CHECK(op.outputs == graph.nodes()[2].outputs);
  // gamma / sqrt(3 + 1) = 1.5; bias 5 - 7 * 1.5
  for (std::size_t i = 0; i < 16; ++i) CHECK(op.weights[i] == 1.5f * static_cast<float>(i + 1));
  for (const float b : op.bias) CHECK(b == -5.5f);
}

TEST_CASE("options switch folding and fusion off") {
  Net n;
  const Graph graph = n.finish(n.relu(n.batch_norm(n.conv(n.x))));
  const auto plain = lower_all(graph, {.fold = false, .fuse = false}).ops;
  REQUIRE(plain.size() == 3);
  CHECK(plain[1].op == Op::conv);  // the stand-alone batch norm as a depthwise convolution
  CHECK(plain[1].groups == 4);
  CHECK(plain[1].weights == std::vector<float>(4, 1.5f));
  CHECK(plain[1].bias == std::vector<float>(4, -5.5f));
  CHECK(plain[2].op == Op::relu);
  CHECK(lower_all(graph, {.fold = true, .fuse = false}).ops.size() == 2);
  // Without folding, the batch norm takes the activation.
  const auto fused = lower_all(graph, {.fold = false, .fuse = true}).ops;
  REQUIRE(fused.size() == 2);
  CHECK(fused[1].activation.kind == Kind::relu);
}

TEST_CASE("what somebody else reads, or leaves the segment, is not fused away") {
  {
    Net n;
    const TensorId c = n.conv(n.x), bn = n.batch_norm(c);
    const auto ops = lower_all(n.finish(n.add(bn, c))).ops;
    REQUIRE(ops.size() == 3);  // two readers of the convolution
    CHECK(ops[0].outputs == std::vector<TensorId>{c});
  }
  {
    Net n;
    const TensorId c = n.conv(n.x);
    n.b.output(c);
    CHECK(lower_all(n.finish(n.relu(c))).ops.size() == 2);  // an output of the graph
  }
  {
    Net n;
    const TensorId c = n.conv(n.x), bn = n.batch_norm(c), r = n.relu(bn);
    const Graph graph = n.finish(r);
    const auto head = lower(graph, 0, 2), cut = lower(graph, 0, 1), tail = lower(graph, 1, 3);
    REQUIRE(head.ops.size() == 1);
    CHECK(head.ops[0].folded_through == 1);
    CHECK(head.ops[0].outputs == std::vector<TensorId>{bn});
    CHECK(cut.ops[0].folded_through == 0);
    CHECK(cut.ops[0].outputs == std::vector<TensorId>{c});
    REQUIRE(tail.ops.size() == 1);
    CHECK(tail.ops[0].groups == 4);
    CHECK(tail.ops[0].activation.kind == Kind::relu);
    CHECK(tail.boundary.inputs == std::vector<TensorId>{c});
  }
}

TEST_CASE("several affine nodes fold into one, rounded once; nothing folds behind an activation") {
  Net n;
  TensorId t = n.conv(n.x);
  t = n.mul(t, n.constant({4, 1, 1}, 1, 1));
  t = n.b.add({.op = Op::sub, .inputs = {n.constant({}, 10), t}});
  t = n.b.add({.op = Op::div, .inputs = {t, n.constant({1, 1, 1, 1}, 4)}});
  t = n.relu(t);
  t = n.mul(t, n.constant({1}, 2));
  const auto ops = lower_all(n.finish(t)).ops;
  REQUIRE(ops.size() == 2);
  CHECK(ops[0].folded_through == 3);
  CHECK(ops[0].weights[5] == -6.0f * 2 / 4);
  CHECK(ops[0].bias == std::vector<float>(4, 2.5f));
  CHECK(ops[1].op == Op::conv);
  CHECK(ops[1].node == 5);
}

TEST_CASE("constants that vary along other axes, enlarge the tensor or divide by zero are left alone") {
  const auto alone = [](Op op, const Shape& shape, float value, bool first) {
    Net n;
    const TensorId c = n.conv(n.x), k = n.constant(shape, value);
    Node node{.op = op, .inputs = first ? std::vector<TensorId>{k, c} : std::vector<TensorId>{c, k}};
    return lower_all(n.finish(n.b.add(node))).ops.size() == 2;
  };
  CHECK(alone(Op::add, {6}, 1, false));
  CHECK(alone(Op::mul, {6, 6}, 1, false));
  CHECK(alone(Op::mul, {4, 6, 1}, 1, false));
  CHECK(alone(Op::add, {3, 1, 1, 1}, 1, false));
  CHECK(alone(Op::add, {1, 1, 4, 1, 1}, 1, false));
  CHECK(alone(Op::div, {4, 1, 1}, 0, false));
  CHECK(alone(Op::div, {4, 1, 1}, 2, true));
  CHECK_FALSE(alone(Op::add, {4, 1, 1}, 1, true));
  CHECK_FALSE(alone(Op::div, {1}, 2, false));
}

TEST_CASE("identities disappear, or are copies where their tensor leaves") {
  {
    Net n;
    const TensorId y = n.relu(n.identity(n.identity(n.conv(n.identity(n.x)))));
    const auto ops = lower_all(n.finish(y)).ops;
    REQUIRE(ops.size() == 1);
    CHECK(ops[0].inputs == std::vector<TensorId>{n.x});
    CHECK(ops[0].outputs == std::vector<TensorId>{y});
  }
  {
    Net n;  // the input itself, under another name
    const TensorId copy = n.identity(n.x);
    n.b.output(copy);
    const auto ops = lower_all(n.finish(n.relu(n.x))).ops;
    REQUIRE(ops.size() == 2);
    CHECK(ops[0].op == Op::identity);
    CHECK(ops[0].outputs == std::vector<TensorId>{copy});
  }
  {
    Net n;  // two outputs of one value
    const TensorId c = n.conv(n.x), copy = n.identity(c);
    n.b.output(copy);
    const auto ops = lower_all(n.finish(c)).ops;
    REQUIRE(ops.size() == 2);
    CHECK(ops[1].op == Op::identity);
  }
}

TEST_CASE("every output of every segment is written by an op") {
  Net n;
  const TensorId c = n.conv(n.x), i = n.identity(c), r = n.relu(i), s = n.add(n.identity(r), i);
  n.b.output(i);
  const Graph graph = n.finish(n.relu(n.batch_norm(s)));
  const auto last = static_cast<NodeId>(graph.nodes().size());
  for (NodeId from = 0; from < last; ++from) {
    for (NodeId to = from + 1; to <= last; ++to) {
      const LoweredSegment segment = lower(graph, from, to);
      std::set<TensorId> known{segment.boundary.inputs.begin(), segment.boundary.inputs.end()};
      for (const LoweredOp& op : segment.ops) {
        for (const TensorId t : op.inputs) CHECK((known.count(t) == 1 || graph.tensor(t).constant));
        known.insert(op.outputs.begin(), op.outputs.end());
      }
      for (const TensorId t : segment.boundary.outputs) CHECK(known.count(t) == 1);
    }
  }
}

TEST_CASE("a dense layer is a convolution; a flatten only it reads is absorbed") {
  Net n;
  const TensorId flat = n.b.add({.op = Op::reshape, .inputs = {n.relu(n.x)}}, {}, Shape{1, 144});
  const TensorId y = n.gemm(n.identity(flat), 3);
  const Graph graph = n.finish(n.relu(y));
  const auto ops = lower_all(graph).ops;
  REQUIRE(ops.size() == 2);
  const LoweredOp& op = ops[1];
  CHECK(op.dense);
  CHECK(op.dense_rows == 1);
  CHECK(op.window == Window{.kernel_h = 6, .kernel_w = 6});
  CHECK(op.in_channels == 4);
  CHECK(op.out_channels == 3);
  CHECK(op.activation.kind == Kind::relu);
  CHECK(op.bias == std::vector<float>(3, 6.0f));
  // Channel 2 of pixel (1, 3) of output 1: element 144 + 2 * 36 + 9 of the flattened order, times alpha.
  CHECK(op.weights[144 + 9 * 4 + 2] == 2.0f * (144 + 2 * 36 + 9));

  // Behind a cut the flattened tensor comes in as it is.
  const auto tail = lower(graph, 2, 5);
  REQUIRE(tail.ops.size() == 1);
  CHECK(tail.ops[0].window == Window{});
  CHECK(tail.ops[0].in_channels == 144);
  CHECK(tail.ops[0].weights[144 + 81] == 2.0f * (144 + 81));
  CHECK(lower(graph, 0, 2).ops.size() == 2);
}

TEST_CASE("a flatten that others read, or of several images, stays") {
  Net n;
  const TensorId flat = n.b.add({.op = Op::reshape, .inputs = {n.x}}, {}, Shape{1, 144});
  n.b.output(flat);
  const auto ops = lower_all(n.finish(n.gemm(flat, 3))).ops;
  REQUIRE(ops.size() == 2);
  CHECK(ops[0].op == Op::reshape);
  CHECK(ops[1].window == Window{});

  GraphBuilder b{"batch"};
  const TensorId x = b.input("x", {2, 3, 2, 2});
  const TensorId w = b.constant("w", {12, 5}, std::vector<float>(60, 1));
  const TensorId y =
      b.add({.op = Op::matmul, .inputs = {b.add({.op = Op::reshape, .inputs = {x}}, {}, Shape{2, 12}), w}});
  b.output(y);
  const auto rows = lower_all(std::move(b).build()).ops;
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].dense);
  CHECK(rows[1].dense_rows == 2);
}

TEST_CASE("gemm with anything but constant weights and a bias per column stays a gemm") {
  const auto stays = [](auto change) {
    GraphBuilder b{"gemm"};
    const TensorId x = b.input("x", {2, 3}), w = b.constant("w", {3, 2}, std::vector<float>(6, 1)),
                   c = b.constant("c", {2, 1}, {1, 2});
    Node node{.op = Op::gemm, .inputs = {x, w}, .alpha = 1, .beta = 1};
    change(node, x, w, c, b);
    b.output(b.add(node));
    return lower_all(std::move(b).build()).ops[0].op == Op::gemm;
  };
  CHECK_FALSE(stays([](Node&, TensorId, TensorId, TensorId, GraphBuilder&) {}));
  CHECK(stays([](Node& n, TensorId, TensorId, TensorId c, GraphBuilder&) { n.inputs.push_back(c); }));
  CHECK(stays([](Node& n, TensorId x, TensorId w, TensorId, GraphBuilder&) { n.inputs = {w, x}; }));
  CHECK(stays([](Node& n, TensorId, TensorId, TensorId, GraphBuilder& b) {
    n.inputs[1] = b.input("v", {3, 2});
  }));
  CHECK(stays([](Node& n, TensorId, TensorId, TensorId, GraphBuilder& b) {
    n.inputs[0] = b.input("t", {3, 2});
    n.transpose_a = true;
  }));
}

TEST_CASE("fold_chain lists what any segment may fold") {
  Net n;
  TensorId t = n.conv(n.x);
  t = n.batch_norm(t);
  t = n.identity(t);
  t = n.mul(t, n.constant({4, 1, 1}, 2));
  t = n.relu(t);
  t = n.mul(t, n.constant({1}, 2));
  t = n.add(t, n.constant({4, 1, 1}, 2));
  const Graph graph = n.finish(n.b.add({.op = Op::tanh, .inputs = {t}}));
  CHECK(fold_chain(graph, 0) == std::vector<NodeId>{1, 3});
  CHECK(fold_chain(graph, 1) == std::vector<NodeId>{3});
  CHECK(fold_chain(graph, 4).empty());
  CHECK(fold_chain(graph, 5) == std::vector<NodeId>{6});
  const auto last = static_cast<NodeId>(graph.nodes().size());
  for (NodeId from = 0; from < last; ++from) {
    for (NodeId to = from + 1; to <= last; ++to) {
      for (const LoweredOp& op : lower(graph, from, to).ops) {
        if (op.op != Op::conv || op.folded_through == op.node) continue;
        const auto chain = fold_chain(graph, op.node);
        CHECK(std::find(chain.begin(), chain.end(), op.folded_through) != chain.end());
      }
    }
  }
}

TEST_CASE("lowering refuses what it cannot express") {
  Net n;
  const Graph graph = n.finish(n.relu(n.x));
  CHECK_THROWS_AS(lower(graph, 0, 2), Error);
  CHECK_THROWS_AS(lower(graph, 1, 1), Error);
  GraphBuilder b{"weights"};
  const TensorId x = b.input("x", {1, 1, 3, 3}), w = b.input("w", {1, 1, 1, 1});
  b.output(b.add({.op = Op::conv, .name = "dynamic", .inputs = {x, w}}));
  try {
    lower_all(std::move(b).build());
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::unsupported);
    CHECK(std::string{e.what()}.find("dynamic") != std::string::npos);
  }
}
