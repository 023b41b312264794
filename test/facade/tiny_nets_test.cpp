// The three tiny networks of test/data: float against ONNX Runtime's outputs, and every cut of a split
// against float.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace sc = splitcnn;

namespace {

std::vector<float> read_floats(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  INFO(path);
  REQUIRE(!bytes.empty());
  REQUIRE(bytes.size() % 4 == 0);
  std::vector<float> values(bytes.size() / 4);
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(values.data()));
  return values;
}

struct Tiny {
  explicit Tiny(const std::string& name)
      : graph{sc::Graph::load(splitcnn_test::small_data() + "/" + name + ".onnx")},
        input{read_floats(splitcnn_test::small_data() + "/" + name + ".in.f32")} {
    for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
      outputs.push_back(
          read_floats(splitcnn_test::small_data() + "/" + name + ".out" + std::to_string(i) + ".f32"));
    }
  }
  sc::Graph graph;
  std::vector<float> input;
  std::vector<std::vector<float>> outputs;
};

/// max|a-b| / max|b| over the worst output.
double error_of(sc::Pipeline& pipe, const Tiny& net) {
  const sc::Result result = pipe.infer(net.input);
  INFO(result.status().message);
  REQUIRE(result.ok());
  REQUIRE(result.outputs() == net.outputs.size());
  double worst = 0;
  for (std::size_t i = 0; i < net.outputs.size(); ++i) {
    const auto got = result.floats(i);
    const std::vector<float>& want = net.outputs[i];
    REQUIRE(got.size() == want.size());
    double difference = 0, scale = 0;
    for (std::size_t j = 0; j < want.size(); ++j) {
      REQUIRE(std::isfinite(got[j]));
      difference = std::max(difference, std::abs(static_cast<double>(got[j]) - want[j]));
      scale = std::max(scale, std::abs(static_cast<double>(want[j])));
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

const char* const names[] = {"tiny_branching", "tiny_depthwise", "tiny_two_outputs"};

}  // namespace

TEST_CASE("tiny networks in float give what ONNX Runtime gives") {
  for (const std::string name : names) {
    DYNAMIC_SECTION(name) {
      const Tiny net{name};
      sc::Pipeline pipe{sc::Partitioner{net.graph}.all_on("cpu"), sc::Devices::open("cpu")};
      CHECK(error_of(pipe, net) <= 1e-5);
    }
  }
}

TEST_CASE("tiny networks in FP16 storage stay within its precision") {
  for (const std::string name : names) {
    DYNAMIC_SECTION(name) {
      const Tiny net{name};
      sc::Pipeline pipe{sc::Partitioner{net.graph}.all_on("gpu:0"), sc::Devices::open("gpu:0")};
      CHECK(error_of(pipe, net) <= 5e-3);
    }
  }
}

TEST_CASE("tiny networks survive being cut anywhere the DPU allows") {
  for (const std::string name : names) {
    DYNAMIC_SECTION(name) {
      const Tiny net{name};
      sc::Tensor frame{{.name = "image", .shape = net.graph.tensor(net.graph.inputs()[0]).shape}};
      std::copy(net.input.begin(), net.input.end(), frame.as<float>().begin());
      const sc::Partitioner parts{sc::Quantizer{}.calibrate(net.graph, {&frame, 1}), sc::Granularity::op};
      int legal = 0;
      for (const sc::Cut& cut : parts.cuts()) {
        if (!cut.legal) continue;
        ++legal;
        sc::Pipeline pipe{parts.split_at(cut.k), sc::Devices::open("dpu:0,gpu:0")};
        const double error = error_of(pipe, net);
        INFO(name << " cut " << cut.k << " after " << cut.after);
        std::printf("%-17s cut %2d after %-16s error %.4f\n", name.c_str(), cut.k, cut.after.c_str(), error);
        CHECK(error <= 0.05);
      }
      CHECK(legal >= 5);
    }
  }
}
