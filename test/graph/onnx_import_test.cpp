// What importing makes of good models: real ones, one per operator and opset, and unusual but valid files.
#include <fmt/core.h>

#include <map>

#include "core/json_file.hpp"
#include "graph/onnx_files.hpp"
#include "graph/onnx_writer.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

std::map<std::string, int> count_ops(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const Node& node : graph.nodes()) ++counts[to_string(node.op)];
  return counts;
}

using Counts = std::map<std::string, int>;

void check_file(const std::string& file, const Counts& expected, const Shape& input,
                const std::vector<Shape>& outputs) {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const Graph graph = Graph::load(test_data() + "/" + file);
  INFO(file);
  CHECK(count_ops(graph) == expected);
  REQUIRE(graph.inputs().size() == 1);
  CHECK(graph.tensor(graph.inputs()[0]).shape == input);
  REQUIRE(graph.outputs().size() == outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    CHECK(graph.tensor(graph.outputs()[i]).shape == outputs[i]);
}

OnnxModel relu_model() {
  OnnxModel m;
  m.nodes = {node("Relu", {"x"}, {"y"})};
  return m;
}

}  // namespace

TEST_CASE("real models import with the nodes they are made of") {
  // Nothing of the shape arithmetic is left: no gather, no pads or slices beyond those on images.
  check_file("models/mnist_cnn.onnx",
             {{"conv", 2}, {"add", 3}, {"relu", 2}, {"max_pool", 2}, {"reshape", 1}, {"matmul", 1}},
             {1, 1, 28, 28}, {{1, 10}});
  check_file("models/cifar10_resnet20.onnx",
             {{"conv", 19},
              {"add", 9},
              {"relu", 19},
              {"pad", 3},
              {"slice", 4},
              {"average_pool", 1},
              {"reshape", 1},
              {"gemm", 1}},
             {1, 3, 32, 32}, {{1, 10}});
  check_file("models/mobilenet_v2_1.0_224.onnx",
             {{"conv", 53}, {"clip", 35}, {"add", 10}, {"average_pool", 1}, {"reshape", 1}, {"softmax", 1}},
             {1, 3, 224, 224}, {{1, 1001}});
  check_file("models/ultraface_rfb_320.onnx",
             {{"conv", 52},
              {"batch_norm", 35},
              {"relu", 37},
              {"concat", 5},
              {"add", 3},
              {"mul", 4},
              {"div", 2},
              {"sub", 1},
              {"exp", 1},
              {"reshape", 8},
              {"transpose", 8},
              {"slice", 6},
              {"softmax", 1}},
             {1, 3, 240, 320}, {{1, 4420, 2}, {1, 4420, 4}});
  check_file("topologies/resnet50_topology.onnx",
             {{"conv", 53},
              {"batch_norm", 53},
              {"relu", 49},
              {"add", 16},
              {"max_pool", 1},
              {"average_pool", 1},
              {"reshape", 1},
              {"gemm", 1},
              {"softmax", 1}},
             {1, 3, 224, 224}, {{1, 1000}});
  check_file("topologies/squeezenet_topology.onnx",
             {{"conv", 26},
              {"relu", 26},
              {"concat", 8},
              {"max_pool", 3},
              {"identity", 1},
              {"global_average_pool", 1},
              {"softmax", 1}},
             {1, 3, 224, 224}, {{1, 1000, 1, 1}});
}

TEST_CASE("a dynamic batch takes the value asked for") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const Graph graph = Graph::load(test_data() + "/models/cifar10_resnet20.onnx", {.batch = 4});
  CHECK(graph.tensor(graph.inputs()[0]).shape == Shape{4, 3, 32, 32});
  CHECK(graph.tensor(graph.outputs()[0]).shape == Shape{4, 10});
}

TEST_CASE("every operator of every opset imports with the shapes ONNX Runtime has") {
  const auto index = read_json(small_data() + "/ops/index.json");
  REQUIRE(index.size() > 300);
  TemporaryFolder folder;
  for (const auto& [name, item] : index.items()) {
    INFO(name);
    const Graph graph = Graph::load(small_data() + "/ops/" + name + ".onnx");
    REQUIRE(graph.outputs().size() == item["outputs"].size());
    for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
      const GraphTensor& t = graph.tensor(graph.outputs()[i]);
      CHECK(t.name == item["outputs"][i]["name"].get<std::string>());
      CHECK(std::vector<std::int64_t>(t.shape.begin(), t.shape.end()) ==
            item["outputs"][i]["shape"].get<std::vector<std::int64_t>>());
    }
    graph.save(folder / "copy.onnx");
    CHECK(Graph::load(folder / "copy.onnx").hash() == graph.hash());
  }
}

TEST_CASE("names are the model's own and unique") {
  OnnxModel m;
  m.nodes = {node("Relu", {"x"}, {"a"}, {}, "act"), node("Tanh", {"a"}, {"b"}, {}, "act"),
             node("Exp", {"b"}, {"y"})};
  const Graph graph = parse(m.bytes());
  REQUIRE(graph.nodes().size() == 3);
  CHECK(graph.name() == "g");
  CHECK(graph.nodes()[0].name == "act");
  CHECK(graph.nodes()[1].name != "act");
  CHECK(graph.nodes()[2].name == "exp_2");
  CHECK(graph.find_tensor("a").has_value());
  CHECK(graph.find_tensor("b").has_value());
}

TEST_CASE("nodes may come in any order and unused ones are dropped") {
  OnnxModel m;
  m.nodes = {node("Exp", {"b"}, {"y"}), node("NoSuchOperator", {"a"}, {"unused"}), node("Tanh", {"a"}, {"b"}),
             node("Relu", {"x"}, {"a"})};
  const Graph graph = parse(m.bytes());
  CHECK(count_ops(graph) == Counts{{"exp", 1}, {"tanh", 1}, {"relu", 1}});
  CHECK(graph.nodes()[0].op == Op::relu);
  CHECK(graph.nodes()[2].op == Op::exp);
}

TEST_CASE("initialisers that are listed as inputs are weights") {
  OnnxModel m;
  m.ir = 3;
  m.opset = 8;
  m.inputs.push_back(value_info("c", {3, 1, 1}));
  m.initializers = {floats("c", {3, 1, 1}, {1, 2, 3})};
  m.nodes = {node("Add", {"x", "c"}, {"y"})};
  const Graph graph = parse(m.bytes());
  CHECK(graph.inputs().size() == 1);
  const auto c = graph.find_tensor("c");
  REQUIRE(c.has_value());
  CHECK(graph.constant(*c)[2] == 3.0f);
}

TEST_CASE("weights that nodes share are stored once") {
  OnnxModel m;
  m.initializers = {floats("c", {1}, {2})};
  m.nodes = {node("Mul", {"c", "c"}, {"cc"}), node("Add", {"x", "c"}, {"a"}), node("Mul", {"a", "c"}, {"b"}),
             node("Sub", {"b", "cc"}, {"y"})};
  const Graph graph = parse(m.bytes());
  CHECK(graph.nodes().size() == 3);
  CHECK(graph.constant(*graph.find_tensor("c"))[0] == 2.0f);
  CHECK(graph.constant(*graph.find_tensor("cc"))[0] == 4.0f);
  CHECK(graph.consumers(*graph.find_tensor("c")).size() == 2);
}

TEST_CASE("attributes become fields") {
  OnnxModel m;
  m.initializers = {floats("w", {2, 3, 1, 2}, std::vector<float>(12, 1))};
  m.nodes = {node("Conv", {"x", "w"}, {"y"},
                  {list_attribute("strides", {2, 1}), list_attribute("dilations", {1, 3}),
                   list_attribute("pads", {0, 1, 2, 3})},
                  "c")};
  const Node& conv = parse(m.bytes()).nodes()[0];
  CHECK(conv.window == Window{.kernel_h = 1,
                              .kernel_w = 2,
                              .stride_h = 2,
                              .dilation_w = 3,
                              .pad_left = 1,
                              .pad_bottom = 2,
                              .pad_right = 3});
}

TEST_CASE("SAME padding is resolved for the given input") {
  OnnxModel m;
  m.initializers = {floats("w", {2, 3, 3, 3}, std::vector<float>(54, 1))};
  m.nodes = {node("Conv", {"x", "w"}, {"y"},
                  {attribute("auto_pad", "SAME_UPPER"), list_attribute("strides", {2, 2})})};
  const Graph upper = parse(m.bytes());
  CHECK(upper.nodes()[0].window.pad_top == 0);
  CHECK(upper.nodes()[0].window.pad_bottom == 1);
  CHECK(upper.tensor(upper.outputs()[0]).shape == Shape{1, 2, 4, 4});
}

TEST_CASE("external weights are read from the model's folder") {
  TemporaryFolder folder;
  std::filesystem::create_directory(folder / "weights");
  const std::vector<float> values{9, 9, 1, 2, 3};
  folder.write("weights/data.bin",
               {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  OnnxModel m;
  m.initializers = {
      external("c", {3, 1, 1}, {{"location", "weights/data.bin"}, {"offset", "8"}, {"length", "12"}})};
  m.nodes = {node("Add", {"x", "c"}, {"y"})};
  const Graph graph = Graph::load(folder.write("m.onnx", m.bytes()));
  const auto c = graph.constant(*graph.find_tensor("c"));
  CHECK(std::vector<float>(c.begin(), c.end()) == std::vector<float>{1, 2, 3});
}

TEST_CASE("the batch dimension may also be left at zero") {
  OnnxModel m = relu_model();
  m.inputs = {value_info("x", {0, 3, 8, 8})};
  CHECK(parse(m.bytes(), {.batch = 2}).tensor(0).shape == Shape{2, 3, 8, 8});
}
