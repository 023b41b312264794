// The float executor against ONNX Runtime: one model per operator, attribute variant and opset
// (test/data/ops).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/convert.hpp"
#include "core/json_file.hpp"
#include "cpu/executor.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

std::vector<float> all_values() {
  std::ifstream in{small_data() + "/ops/values.f32", std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

/// Where a named tensor of a case lies in the values.
std::span<const float> find(const nlohmann::json& list, const std::string& name,
                            std::span<const float> values) {
  for (const auto& item : list) {
    if (item["name"] != name) continue;
    std::size_t n = 1;
    for (const auto& d : item["shape"]) n *= d.get<std::size_t>();
    return values.subspan(item["offset"].get<std::size_t>(), n);
  }
  return {};
}

void reorder(const Shape& shape, std::span<const float> from, bool from_storage, std::span<float> to) {
  REQUIRE(from.size() == to.size());
  convert(shape, {.channels_last = from_storage}, reinterpret_cast<const std::byte*>(from.data()),
          {.channels_last = !from_storage}, reinterpret_cast<std::byte*>(to.data()));
}

/// The largest difference over the largest value, as the golden comparison counts.
double difference(std::span<const float> a, std::span<const float> b) {
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst,
                     std::isnan(a[i]) != std::isnan(b[i]) ? HUGE_VAL : std::abs(double{a[i]} - double{b[i]}));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return worst / largest;
}

void check_case(const std::string& name, const nlohmann::json& item, std::span<const float> values,
                const CpuExecutorOptions& options) {
  const Graph graph = Graph::load(small_data() + "/ops/" + name + ".onnx");
  CpuExecutor run{graph, 0, static_cast<NodeId>(graph.nodes().size()), options};
  for (std::size_t i = 0; i < run.input_ids().size(); ++i) {
    const GraphTensor& t = graph.tensor(run.input_ids()[i]);
    reorder(t.shape, find(item["inputs"], t.name, values), false, run.input(i));
  }
  run.run();
  for (std::size_t i = 0; i < run.output_ids().size(); ++i) {
    const GraphTensor& t = graph.tensor(run.output_ids()[i]);
    const auto expected = find(item["outputs"], t.name, values);
    std::vector<float> got(run.output(i).size());
    reorder(t.shape, run.output(i), true, got);
    INFO(t.name);
    CHECK(difference(got, expected) <= 1e-5);
  }
}

void check_all(const CpuExecutorOptions& options) {
  const std::vector<float> values = all_values();
  const auto index = read_json(small_data() + "/ops/index.json");
  REQUIRE(index.size() > 300);
  for (const auto& [name, item] : index.items()) {
    INFO(name);
    try {
      check_case(name, item, values, options);
    } catch (const Error& e) {
      FAIL_CHECK(e.what());
    }
  }
}

}  // namespace

TEST_CASE("every operator of every opset computes what ONNX Runtime computes") { check_all({}); }
TEST_CASE("the reference loops compute what ONNX Runtime computes") { check_all({.reference = true}); }
