#include <splitcnn/graph.hpp>

#include <random>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// x -> conv -> bn -> relu -> add(x2) -> relu2, x2 a second reader of the conv input.
Graph residual() {
  GraphBuilder b{"residual"};
  const TensorId x = b.input("x", {1, 2, 4, 4});
  const TensorId w = b.constant("w", {2, 2, 3, 3}, std::vector<float>(36, 0.5f));
  const TensorId one = b.constant("one", {2}, {1, 1});
  const TensorId zero = b.constant("zero", {2}, {0, 0});
  Node conv{.op = Op::conv, .name = "conv", .inputs = {x, w}};
  conv.window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  TensorId y = b.add(conv);
  y = b.add({.op = Op::batch_norm, .inputs = {y, one, zero, zero, one}, .alpha = 1e-5f});
  y = b.add({.op = Op::relu, .inputs = {y}}, "mid");
  y = b.add({.op = Op::add, .inputs = {y, x}});
  b.output(b.add({.op = Op::relu, .inputs = {y}}, "out"));
  return std::move(b).build();
}

Errc code_of(const auto& f) {
  try {
    f();
  } catch (const Error& e) {
    UNSCOPED_INFO(e.what());
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("a built graph answers who writes and reads a tensor") {
  const Graph g = residual();
  REQUIRE(g.nodes().size() == 5);
  const TensorId x = *g.find_tensor("x");
  CHECK_FALSE(g.producer(x));
  CHECK(std::vector<NodeId>(g.consumers(x).begin(), g.consumers(x).end()) == std::vector<NodeId>{0, 3});
  CHECK(g.producer(*g.find_tensor("mid")) == NodeId{2});
  CHECK(g.nodes()[1].name == "batch_norm_1");
  CHECK(g.constant(*g.find_tensor("w")).size() == 36);
  CHECK(g.constant(x).empty());
  CHECK_FALSE(g.find_tensor("nobody"));
  CHECK(g.macs(0) == 2 * 4 * 4 * 2 * 9);
  CHECK(g.macs(2) == 0);
}

TEST_CASE("boundary lists what enters and leaves a range") {
  const Graph g = residual();
  const TensorId x = *g.find_tensor("x"), mid = *g.find_tensor("mid"), out = *g.find_tensor("out");
  const Boundary head = boundary(g, 0, 3), tail = boundary(g, 3, 5);
  CHECK(head.inputs == std::vector{x});
  CHECK(head.outputs == std::vector{mid});
  CHECK(tail.inputs == std::vector{x, mid});  // x passes the head and is read behind it
  CHECK(tail.outputs == std::vector{out});
}

TEST_CASE("extract makes a graph of a range and the whole range is the graph again") {
  const Graph g = residual();
  const Graph tail = g.extract(3, 5);
  CHECK(tail.inputs().size() == 2);
  CHECK(tail.tensor(tail.outputs()[0]).name == "out");
  CHECK(g.extract(0, 5).hash() == g.hash());
  CHECK(code_of([&] { (void)g.extract(2, 2); }) == Errc::bad_argument);
  CHECK(code_of([&] { (void)g.extract(0, 6); }) == Errc::bad_argument);
}

TEST_CASE("the hash sees weights, attributes and topology, and nothing else") {
  const auto make = [](float weight, int pad, bool unused_constant) {
    GraphBuilder b{"g"};
    if (unused_constant) b.constant("unused", {1}, {3});
    const TensorId x = b.input("x", {1, 1, 5, 5});
    const TensorId w = b.constant("w", {1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, weight});
    Node conv{.op = Op::conv, .inputs = {x, w}};
    conv.window = {.kernel_h = 3, .kernel_w = 3, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad};
    b.output(b.add(conv, "y"));
    return std::move(b).build().hash();
  };
  CHECK(make(9, 1, false) == make(9, 1, false));
  CHECK(make(9, 1, false) == make(9, 1, true));
  CHECK(make(9, 1, false) != make(8, 1, false));
  CHECK(make(9, 1, false) != make(9, 0, false));
  CHECK(make(9, 1, false).size() == 16);
}

TEST_CASE("the builder refuses what does not fit and names the node") {
  GraphBuilder b{"bad"};
  const TensorId x = b.input("x", {1, 3, 8, 8});
  const TensorId w = b.constant("w", {4, 2, 3, 3}, std::vector<float>(72));
  Node conv{.op = Op::conv, .name = "stem", .inputs = {x, w}};
  conv.window = {.kernel_h = 3, .kernel_w = 3};
  try {
    b.add(conv);
    FAIL("accepted weights for two channels on three");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::bad_model);
    CHECK(std::string{e.what()}.find("stem") != std::string::npos);
  }
  CHECK(code_of([&] { b.constant("short", {2, 2}, {1, 2, 3}); }) == Errc::bad_model);
  CHECK(code_of([&] { b.input("x", {1}); }) == Errc::bad_model);  // name taken
  CHECK(code_of([&] { b.add({.op = Op::relu, .inputs = {99}}); }) == Errc::bad_model);
  CHECK(code_of([&] { b.add({.op = Op::reshape, .inputs = {x}}, "", Shape{1, 7}); }) == Errc::bad_model);
  CHECK(code_of([&] { b.output(x); }) == Errc::bad_model);
  CHECK(code_of([&] { (void)std::move(b).build(); }) == Errc::bad_model);  // no output
}

TEST_CASE("nodes of one name are told apart") {
  GraphBuilder b{"twins"};
  TensorId x = b.input("x", {1, 4});
  x = b.add({.op = Op::relu, .name = "act", .inputs = {x}});
  b.output(b.add({.op = Op::tanh, .name = "act", .inputs = {x}}));
  const Graph g = std::move(b).build();
  CHECK(g.nodes()[0].name != g.nodes()[1].name);
  CHECK(g.tensor(g.nodes()[0].outputs[0]).name != g.tensor(g.nodes()[1].outputs[0]).name);
}

TEST_CASE("only four-dimensional tensors are stored channels last") {
  CHECK(storage_shape({1, 3, 5, 7}) == Shape{1, 5, 7, 3});
  CHECK(storage_shape({1, 3, 5}) == Shape{1, 3, 5});
  CHECK(storage_shape({}) == Shape{});
}
