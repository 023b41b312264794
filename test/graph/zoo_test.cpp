#include <cmath>
#include <map>
#include <numeric>
#include <splitcnn/graph.hpp>

#include "graph/zoo_net.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// What PyTorch counts: running statistics are buffers, not parameters.
std::int64_t parameters(const Graph& g) {
  std::int64_t sum = 0;
  for (const GraphTensor& t : g.tensors()) {
    if (t.constant && t.name.find(".running_") == std::string::npos) sum += t.shape.elements();
  }
  return sum;
}

std::int64_t macs(const Graph& g) {
  std::int64_t sum = 0;
  for (NodeId n = 0; n < g.nodes().size(); ++n) sum += g.macs(n);
  return sum;
}

template <class F>
std::string message_of(Errc code, F&& f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("zoo networks have the published numbers of parameters and multiplications") {
  struct Published {
    std::int64_t parameters;
    double gmac;
  };
  const std::map<std::string, Published> published{
      {"lenet5", {61'706, 0.000417}},       {"alexnet", {61'100'840, 0.714}},
      {"googlenet", {6'624'904, 1.498}},    {"squeezenet1_1", {1'235'496, 0.349}},
      {"mobilenet_v1", {4'231'976, 0.569}}, {"mobilenet_v2", {3'504'872, 0.301}},
      {"vgg16", {138'357'544, 15.470}},     {"resnet18", {11'689'512, 1.814}},
      {"resnet50", {25'557'032, 4.089}},    {"resnet101", {44'549'160, 7.801}},
      {"resnet152", {60'192'808, 11.514}},  {"densenet121", {7'978'856, 2.834}}};
  REQUIRE(Graph::zoo_names().size() == published.size());
  for (const std::string& name : Graph::zoo_names()) {
    INFO(name);
    const Graph g = Graph::zoo(name);
    CHECK(g.name() == name);
    CHECK(parameters(g) == published.at(name).parameters);
    CHECK(static_cast<double>(macs(g)) / 1e9 == Approx(published.at(name).gmac).epsilon(0.002));
    REQUIRE(g.inputs().size() == 1);
    REQUIRE(g.outputs().size() == 1);
    const bool digits = name == "lenet5";
    CHECK(g.tensor(g.inputs()[0]).shape == (digits ? Shape{1, 1, 32, 32} : Shape{1, 3, 224, 224}));
    CHECK(g.tensor(g.outputs()[0]).shape == Shape{1, digits ? 10 : 1000});
    for (const Node& n : g.nodes()) CHECK_FALSE(n.module.empty());
  }
}

TEST_CASE("zoo networks use torchvision's names") {
  const Graph g = Graph::zoo("resnet18");
  for (const char* weight : {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight",
                             "layer2.0.downsample.0.weight", "layer4.1.bn2.bias", "fc.weight", "fc.bias"}) {
    INFO(weight);
    CHECK(g.find_tensor(weight));
  }
  CHECK(g.nodes()[4].module == "layer1.0");
  CHECK(Graph::zoo("mobilenet_v2").find_tensor("features.18.1.running_mean"));
  CHECK(Graph::zoo("googlenet").find_tensor("inception4b.branch3.1.conv.weight"));
  const Graph dense = Graph::zoo("densenet121");
  CHECK(dense.tensor(*dense.find_tensor("features.denseblock4.denselayer16.conv1.weight")).shape == Shape{128, 992, 1, 1});
  CHECK(dense.tensor(*dense.find_tensor("features.transition3.conv.weight")).shape == Shape{512, 1024, 1, 1});
  CHECK(dense.tensor(*dense.find_tensor("features.norm5.weight")).shape == Shape{1024});
}

TEST_CASE("zoo options choose size, classes and seed") {
  for (const std::string& name : Graph::zoo_names()) {
    INFO(name);
    const std::int64_t size = name == "alexnet" ? 96 : 64;
    const Graph g = Graph::zoo(name, {.input_size = size, .classes = 7});
    CHECK(g.tensor(g.inputs()[0]).shape[2] == size);
    CHECK(g.tensor(g.outputs()[0]).shape == Shape{1, 7});
  }
  const auto hash = [](std::uint64_t seed) { return Graph::zoo("lenet5", {.seed = seed}).hash(); };
  CHECK(hash(1) == hash(1));
  CHECK(hash(1) != hash(2));
  const Graph large =
      Graph::zoo("vgg16", {.input_size = 448, .classes = 3});  // 14x14 maps are averaged down to 7x7
  CHECK(large.tensor(*large.find_tensor("flatten")).shape == Shape{1, 25088});
}

TEST_CASE("zoo networks exist at the smallest size they name and refuse smaller ones") {
  const std::map<std::string, std::int64_t> smallest{
      {"lenet5", 16}, {"alexnet", 63}, {"googlenet", 31}, {"squeezenet1_1", 25}, {"vgg16", 32}, {"densenet121", 29}};
  for (const auto& [name, size] : smallest) {
    INFO(name);
    CHECK_NOTHROW(Graph::zoo(name, {.input_size = size, .classes = 2}));
    CHECK(message_of(Errc::bad_argument, [&] {
            (void)Graph::zoo(name, {.input_size = size - 1});
          }).find("input_size") != std::string::npos);
  }
  for (const char* name : {"mobilenet_v1", "mobilenet_v2", "resnet18", "resnet50"})
    CHECK_NOTHROW(Graph::zoo(name, {.input_size = 1}));
  CHECK(message_of(Errc::bad_argument, [] { (void)Graph::zoo("resnet50", {.input_size = -1}); }).find("-1") !=
        std::string::npos);
  CHECK(message_of(Errc::bad_argument, [] {
          (void)Graph::zoo("resnet50", {.classes = -1});
        }).find("classes") != std::string::npos);
  const std::string unknown = message_of(Errc::bad_argument, [] { (void)Graph::zoo("resnet19"); });
  CHECK(unknown.find("resnet19") != std::string::npos);
  CHECK(unknown.find("resnet152") != std::string::npos);
}

TEST_CASE("zoo weights are the same everywhere and bell-shaped") {
  const std::vector<float> w = zoo_noise(1, "conv1.weight", 100'000, 0, 0.5);
  // Computed once; another machine or compiler must get these very bits.
  const std::vector<float> head{w.begin(), w.begin() + 4};
  CHECK(head == std::vector<float>{-0x1.64ce2p-2f, 0x1.83fb7ap-4f, 0x1.1c0efap-2f, -0x1.c2562ep-3f});
  const double mean = std::accumulate(w.begin(), w.end(), 0.0) / 1e5;
  double square = 0, fourth = 0;
  for (const float v : w) {
    square += double{v} * v / 1e5;
    fourth += std::pow(double{v}, 4) / 1e5;
  }
  CHECK(std::abs(mean) < 0.01);
  CHECK(std::sqrt(square) == Approx(0.5).epsilon(0.01));
  CHECK(fourth / (square * square) ==
        Approx(2.7).epsilon(0.03));  // the kurtosis of a sum of four uniform values
  CHECK(zoo_noise(1, "conv2.weight", 4, 0, 0.5) != head);
  CHECK(zoo_noise(2, "conv1.weight", 4, 0, 0.5) != head);
  CHECK(zoo_noise(1, "conv1.weight", 4, 0, 0.5) == head);  // a value does not depend on how many there are
}
