// Graph::save: what is written imports again as the same graph.
#include <random>

#include "graph/onnx_files.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

void check_round_trip(const Graph& graph, const TemporaryFolder& folder) {
  graph.save(folder / "copy.onnx");
  const Graph copy = Graph::load(folder / "copy.onnx");
  CHECK(copy.hash() == graph.hash());
  CHECK(copy.name() == graph.name());
  REQUIRE(copy.nodes().size() == graph.nodes().size());
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node &a = graph.nodes()[i], &b = copy.nodes()[i];
    const bool same = a.name == b.name && a.module == b.module && a.op == b.op && a.ceil_mode == b.ceil_mode;
    if (!same) FAIL_CHECK("node " << a.name << " became " << b.name);
  }
}

}  // namespace

TEST_CASE("saved models load as the same graph") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  TemporaryFolder folder;
  for (const char* file :
       {"models/mnist_cnn", "models/cifar10_resnet20", "models/mobilenet_v2_1.0_224",
        "models/ultraface_rfb_320", "topologies/resnet50_topology", "topologies/squeezenet_topology"}) {
    INFO(file);
    check_round_trip(Graph::load(test_data() + "/" + file + ".onnx"), folder);
  }
}

TEST_CASE("saved zoo networks keep their modules") {
  TemporaryFolder folder;
  for (const char* name : {"lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18"}) {
    INFO(name);
    const Graph graph = Graph::zoo(name);
    CHECK_FALSE(graph.nodes()[0].module.empty());
    check_round_trip(graph, folder);
  }
}

TEST_CASE("any segment can be saved") {
  TemporaryFolder folder;
  const Graph graph = Graph::load(small_data() + "/tiny_branching.onnx");
  const auto nodes = static_cast<NodeId>(graph.nodes().size());
  for (NodeId first = 0; first < nodes; ++first) {
    for (NodeId last = first + 1; last <= nodes; ++last) check_round_trip(graph.extract(first, last), folder);
  }
}

TEST_CASE("every field of every operator survives") {
  GraphBuilder b{"fields"};
  TensorId x = b.input("x", {1, 4, 9, 7});
  x = b.add(
      {.op = Op::max_pool,
       .inputs = {x},
       .window = {.kernel_h = 2, .kernel_w = 3, .stride_h = 2, .dilation_w = 2, .pad_top = 1, .pad_right = 1},
       .ceil_mode = true});
  x = b.add({.op = Op::average_pool,
             .inputs = {x},
             .window = {.kernel_h = 2, .dilation_h = 2, .pad_bottom = 1},
             .count_include_pad = true});
  x = b.add({.op = Op::hard_swish, .inputs = {x}, .module = "features.3"});
  x = b.add({.op = Op::clip, .inputs = {x}, .alpha = -std::numeric_limits<float>::infinity(), .beta = 6});
  x = b.add({.op = Op::lrn, .inputs = {x}, .alpha = 0.1f, .beta = 0.5f, .bias = 2, .size = 3});
  x = b.add({.op = Op::slice,
             .inputs = {x},
             .begins = {0, 3, 0, 1},
             .ends = {1, -1, 4, 4},
             .steps = {1, -2, 1, 1}});
  x = b.add({.op = Op::resize,
             .inputs = {x},
             .nearest_floor = false,
             .coordinates = Coordinates::asymmetric,
             .scales = {1, 1, 1.5f, 2}});
  x = b.add({.op = Op::pad, .inputs = {x}, .alpha = -1, .begins = {0, 0, 1, 2}, .ends = {0, 1, 0, 3}});
  x = b.add({.op = Op::gather, .inputs = {x}, .axes = {2}, .begins = {1, 0, 1, 2}}, "g",
            Shape{1, 3, 2, 2, b.shape(x)[3]});
  x = b.add({.op = Op::reduce_mean, .inputs = {x}, .axes = {2, 4}}, "m", Shape{1, 3, 2});
  x = b.add({.op = Op::log_softmax, .inputs = {x}, .axes = {1}});
  const auto parts =
      b.add_multi({.op = Op::split, .inputs = {x}, .axes = {1}}, {"s0", "s1"}, {{1, 1, 2}, {1, 2, 2}});
  b.output(parts[1]);
  b.output(parts[0]);
  TemporaryFolder folder;
  check_round_trip(std::move(b).build(), folder);
}

TEST_CASE("a file that cannot be written is an io error and leaves nothing behind") {
  const Graph graph = Graph::load(small_data() + "/tiny_depthwise.onnx");
  TemporaryFolder folder;
  try {
    graph.save(folder / "missing/folder.onnx");
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::io);
  }
  std::filesystem::create_directory(folder / "taken.onnx");
  CHECK_THROWS_AS(graph.save(folder / "taken.onnx"), Error);
  CHECK_FALSE(std::filesystem::exists(folder / "taken.onnx.part"));
}
