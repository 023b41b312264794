// Must show: the passes equal the float graph on the zoo and on the data models, through FP16 storage on the host.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gpu/tail_cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

/// What a classifier that was never trained lacks: the largest score far enough from the second to mean something in FP16.
double top_gap(std::vector<float> v) {
  std::nth_element(v.begin(), v.begin() + 1, v.end(), std::greater<>{});
  double largest = 0;
  for (const float x : v) largest = std::max(largest, std::fabs(static_cast<double>(x)));
  return (static_cast<double>(v[0]) - static_cast<double>(v[1])) / largest;
}

void compare(const std::string& name, const Graph& graph, Values in) {
  INFO(name);
  Values full = in, f16 = in;
  run_all(graph, full);
  run_all(graph, f16, {.f16_storage = true});
  Tail tail{graph};
  REQUIRE(gpu::check_tail(tail.program) == "");
  tail.run(in);
  for (const TensorId t : graph.outputs()) {
    const double l2 = relative_l2(in.at(t), full.at(t)), cpu = relative_l2(in.at(t), f16.at(t));
    const bool same = top1(in.at(t)) == top1(full.at(t));
    std::printf("%-22s rel-L2 %.1e to float, %.1e to FP16 storage on the CPU, top-1 %s, arena %.1f MB, weights %.1f MB, %zu ops\n", name.c_str(),
                l2, cpu, same ? "equal" : "DIFFERENT", static_cast<double>(tail.program.arena_bytes) / 1e6,
                static_cast<double>(tail.program.weights.size()) / 1e6, tail.program.ops.size());
    CHECK(l2 <= 2e-3);
    CHECK(cpu <= 2e-3);
    CHECK((same || top_gap(full.at(t)) < 4e-3));
  }
}

std::vector<float> read_floats(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::vector<float> values(std::filesystem::file_size(path) / sizeof(float));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

}  // namespace

TEST_CASE("all zoo networks as tails equal the float graph") {
  Random random{seed()};
  for (const std::string& name : Graph::zoo_names()) {
    const bool small = name == "lenet5";
    const Graph graph = Graph::zoo(name, {.input_size = small ? 0 : 64, .classes = small ? 0 : 100});
    compare(name, graph, random_inputs(graph, random));
  }
}

TEST_CASE("all zoo networks at their own size", "[long]") {
  Random random{seed()};
  for (const std::string& name : Graph::zoo_names()) {
    const Graph graph = Graph::zoo(name);
    compare(name, graph, random_inputs(graph, random));
  }
}

TEST_CASE("the data models as tails equal the float graph and ONNX Runtime") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const std::filesystem::path folder = test_data();
  const auto index = nlohmann::json::parse(std::ifstream{folder / "golden" / "index.json"});
  std::size_t models = 0;
  for (const auto& [name, entry] : index.items()) {
    INFO(name);
    ++models;
    const Graph graph = Graph::load(folder / "models" / (name + ".onnx"));
    const auto frames = entry["input"]["shape"][0].get<std::size_t>();
    const auto input = read_floats(folder / "golden" / entry["input"]["file"].get<std::string>());
    Tail tail{graph, gpu::TailOptions{}, false};  // the model's own layout, as the golden files have it
    REQUIRE(gpu::check_tail(tail.program) == "");
    std::vector<std::vector<float>> expected;
    for (const TensorId t : tail.edge.outputs) {
      for (const auto& output : entry["outputs"]) {
        if (output["name"] == graph.tensor(t).name) expected.push_back(read_floats(folder / "golden" / output["file"].get<std::string>()));
      }
    }
    REQUIRE(expected.size() == tail.edge.outputs.size());
    std::vector<std::vector<float>> all(expected.size());
    for (std::size_t f = 0; f < frames; ++f) {
      const std::size_t n = input.size() / frames;
      Values values{{tail.edge.inputs[0], {input.begin() + static_cast<std::ptrdiff_t>(f * n), input.begin() + static_cast<std::ptrdiff_t>((f + 1) * n)}}};
      tail.run(values);
      for (std::size_t o = 0; o < all.size(); ++o) {
        const auto& got = values.at(tail.edge.outputs[o]);
        const std::span<const float> want{expected[o].data() + f * got.size(), got.size()};
        if (name.find("ultraface") == std::string::npos) CHECK(top1(got) == top1(want));  // a detector has no top class
        all[o].insert(all[o].end(), got.begin(), got.end());
      }
    }
    for (std::size_t o = 0; o < all.size(); ++o) {
      const double l2 = relative_l2(all[o], expected[o]);
      std::printf("%-22s output %zu, %zu frames: rel-L2 %.1e to ONNX Runtime\n", name.c_str(), o, frames, l2);
      CHECK(l2 <= 2e-3);
    }
  }
  CHECK(models == 4);
}
