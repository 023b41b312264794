#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "core/input_transform_json.hpp"
#include "core/json_file.hpp"
#include "plan/branching.hpp"
#include "splitcnn/plan.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
namespace fs = std::filesystem;

namespace {

class File {
 public:
  operator const fs::path&() const { return path_; }  // NOLINT: stands for the path
  void put(const std::string& text) const { std::ofstream{path_, std::ios::binary} << text; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream{path_, std::ios::binary}.rdbuf();
    return out.str();
  }

 private:
  TemporaryFolder folder_;
  fs::path path_ = folder_ / "plan.json";
};

Plan full_plan(const Graph& graph) {
  Plan plan{
      graph,
      quantised(graph),
      {route({{"dpu:0", 3}, {"gpu:0", 8}}, 0.75), route({{"gpu:0", 1}, {"dpu:0", 4}, {"cpu", 8}}, 0.25)},
      {.interval_ms = 1.25, .latency_ms = 2.5, .origin = Origin::modelled},
      "cut 3: dpu 1.2 ms, gpu 1.1 ms"};
  plan.input_transform = InputTransform{.resize = Resize::center_crop,
                                        .sampling = Sampling::area,
                                        .order = ColorOrder::bgr,
                                        .short_side = 256,
                                        .border = 7,
                                        .mean = {123.675f, 116.28f, 103.53f},
                                        .scale = {1 / 58.395f, 1 / 57.12f, 1 / 57.375f}};
  plan.labels = {"cat", "d\u00f6g", ""};
  return plan;
}

void check_equal(const Plan& a, const Plan& b) {
  REQUIRE(a.routes().size() == b.routes().size());
  for (std::size_t r = 0; r < a.routes().size(); ++r) {
    CHECK(a.route(r).weight == b.route(r).weight);
    REQUIRE(a.route(r).segments.size() == b.route(r).segments.size());
    for (std::size_t s = 0; s < a.route(r).segments.size(); ++s) {
      const Segment &x = a.route(r).segments[s], &y = b.route(r).segments[s];
      CHECK(x.device == y.device);
      CHECK((x.first == y.first && x.last == y.last));
      CHECK((x.first_unit == y.first_unit && x.last_unit == y.last_unit));
      CHECK(x.expected_ms == y.expected_ms);
    }
  }
  CHECK(a.why() == b.why());
  CHECK(a.expected().interval_ms == b.expected().interval_ms);
  CHECK(a.expected().latency_ms == b.expected().latency_ms);
  CHECK(a.expected().origin == b.expected().origin);
  CHECK(a.input_transform == b.input_transform);
  CHECK(a.labels == b.labels);
}

/// What loading `text` does: ok, or the code of the Error. Anything else thrown fails the test.
Errc outcome(const File& file, const Graph& graph, const std::string& text) {
  file.put(text);
  return code_of([&] { (void)Plan::load(file, graph, quantised(graph)); });
}

/// Every pointer to a value inside, leaves and containers.
void pointers(const nlohmann::json& value, const nlohmann::json::json_pointer& at,
              std::vector<nlohmann::json::json_pointer>& out) {
  out.push_back(at);
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) pointers(inner, at / key, out);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) pointers(value[i], at / i, out);
  }
}

bool expected_failure(Errc code) {
  return code == Errc::bad_file || code == Errc::mismatch || code == Errc::not_calibrated;
}

}  // namespace

TEST_CASE("a plan survives the file", "[plan][json]") {
  const Graph graph = branching_graph();
  const File file;
  const Plan plan = full_plan(graph);
  plan.save(file);
  check_equal(Plan::load(file, branching_graph(), quantised(graph)), plan);
  const Plan bare{graph, {}, {route({{"cpu", 8}})}};
  bare.save(file);
  const Plan again = Plan::load(file, graph);
  check_equal(again, bare);
  CHECK(read_json(file)["version"] == 1);
  const Plan safe = plan.with_fallback();
  safe.save(file);
  check_equal(Plan::load(file, graph, quantised(graph)), safe);
  CHECK(read_json(file)["version"] == 2);  // readers of version 1 would not know standby routes
  CHECK_FALSE(again.input_transform);
  CHECK(again.quant() == nullptr);
  CHECK(code_of([&] { plan.save("/nonexistent/folder/plan.json"); }) == Errc::io);
}

TEST_CASE("plans for another graph or calibration are refused", "[plan][json]") {
  const Graph graph = branching_graph();
  const File file;
  full_plan(graph).save(file);
  GraphBuilder b{"other"};
  b.output(b.add({.op = Op::tanh, .inputs = {b.input("x", {1, 3})}}));
  const Graph other = std::move(b).build();
  CHECK(code_of([&] { (void)Plan::load(file, other); }) == Errc::mismatch);
  CHECK(code_of([&] { (void)Plan::load(file, graph); }) == Errc::not_calibrated);
  std::vector<int> fix_points(graph.tensors().size(), 5);
  CHECK(code_of([&] {
          (void)Plan::load(file, graph, QuantizedGraph{graph, fix_points, {}});
        }) == Errc::mismatch);
  CHECK(code_of([&] { (void)Plan::load(file.operator const fs::path&().string() + ".gone", graph); }) ==
        Errc::io);
}

TEST_CASE("a plan file with one value changed is an Error or a valid plan", "[plan][json]") {
  const Graph graph = branching_graph();
  const File file;
  full_plan(graph).save(file);
  const nlohmann::json good = nlohmann::json::parse(file.text());
  std::vector<nlohmann::json::json_pointer> all;
  pointers(good, nlohmann::json::json_pointer{}, all);
  const std::vector<nlohmann::json> values{nullptr,
                                           true,
                                           false,
                                           0,
                                           -1,
                                           1,
                                           2,
                                           3,
                                           8,
                                           9,
                                           0.5,
                                           -0.0,
                                           1e300,
                                           UINT64_MAX,
                                           INT64_MIN,
                                           1ull << 32,
                                           "",
                                           "x",
                                           "dpu:0",
                                           "cpu",
                                           "measured",
                                           "\xf0\x9f\x98\x80",
                                           nlohmann::json::array(),
                                           nlohmann::json::object(),
                                           {1, 2, 3},
                                           {{"a", 1}}};
  std::size_t loaded = 0, refused = 0;
  for (const auto& at : all) {
    for (const nlohmann::json& value : values) {
      nlohmann::json bad = good;
      bad[at] = value;
      const Errc code = outcome(file, graph, bad.dump());
      INFO(at.to_string() << " = " << value.dump());
      REQUIRE((code == Errc::ok || expected_failure(code)));
      ++(code == Errc::ok ? loaded : refused);
    }
    if (at.empty()) continue;
    nlohmann::json bad = good;
    nlohmann::json& parent = bad[at.parent_pointer()];
    if (parent.is_array())
      parent.erase(std::stoul(at.back()));
    else
      parent.erase(at.back());
    const Errc code = outcome(file, graph, bad.dump());
    INFO("without " << at.to_string());
    REQUIRE((code == Errc::ok || expected_failure(code)));
    ++(code == Errc::ok ? loaded : refused);
  }
  std::printf("%zu mutations: %zu refused, %zu still valid plans\n", loaded + refused, refused, loaded);
  CHECK(refused > loaded);
}

TEST_CASE("mutations that must be refused", "[plan][json]") {
  const Graph graph = branching_graph();
  const File file;
  full_plan(graph).save(file);
  const nlohmann::json good = nlohmann::json::parse(file.text());
  const auto code = [&](const char* at, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer{at}] = value;
    return outcome(file, graph, bad.dump());
  };
  CHECK(outcome(file, graph, good.dump()) == Errc::ok);
  CHECK(code("/format", "splitcnn-profile") == Errc::bad_file);
  CHECK(code("/version", 3) == Errc::bad_file);
  CHECK(code("/graph/hash", "0123456789abcdef") == Errc::mismatch);
  CHECK(code("/calibration", "0123456789abcdef") == Errc::mismatch);
  CHECK(code("/calibration", nullptr) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/last", 9) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/last", 7) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/last", -1) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/last", 8.0) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/last", (1ull << 32) + 8) == Errc::bad_file);
  CHECK(code("/routes/0/segments/1/first", 2) == Errc::bad_file);
  CHECK(code("/routes/0/segments/0/device", "") == Errc::bad_file);
  CHECK(code("/routes/0/weight", 0.8) == Errc::bad_file);
  CHECK(code("/routes", nlohmann::json::array()) == Errc::bad_file);
  CHECK(code("/expected/origin", "guessed") == Errc::bad_file);
  CHECK(code("/expected/interval_ms", -1) == Errc::bad_file);
  CHECK(code("/labels", "cat") == Errc::bad_file);
  CHECK(code("/labels/0", 3) == Errc::bad_file);
  CHECK(code("/input_transform/resize", "squash") == Errc::bad_file);
  CHECK(code("/input_transform/mean/1", 1e300) == Errc::bad_file);
  CHECK(code("/input_transform/border", 256) == Errc::bad_file);
  CHECK(code("/input_transform/short_side", -1) == Errc::bad_file);
}

TEST_CASE("damaged bytes of a plan file are an Error or a valid plan", "[plan][json]") {
  const Graph graph = branching_graph();
  const File file;
  full_plan(graph).save(file);
  const std::string good = file.text();
  for (std::size_t n = 0; n + 2 < good.size(); n += 7)
    CHECK(expected_failure(outcome(file, graph, good.substr(0, n))));
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 1500; ++i) {
    std::string bad = good;
    for (std::size_t k = 0; k <= random() % 3; ++k) bad[random() % bad.size()] = static_cast<char>(random());
    const Errc code = outcome(file, graph, bad);
    REQUIRE((code == Errc::ok || expected_failure(code)));
  }
}

TEST_CASE("an input transform survives JSON for every choice and any floats", "[json]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const Resize resize : {Resize::none, Resize::stretch, Resize::center_crop, Resize::letterbox}) {
    for (const Sampling sampling : {Sampling::bilinear, Sampling::area}) {
      for (const ColorOrder order : {ColorOrder::rgb, ColorOrder::bgr}) {
        for (int i = 0; i < 500; ++i) {
          const auto number = [&] {
            return static_cast<float>(static_cast<double>(random() % 1000000007) /
                                      static_cast<double>(random() % 999983 + 1));
          };
          const InputTransform t{resize,
                                 sampling,
                                 order,
                                 static_cast<int>(random() % 16385),
                                 static_cast<std::uint8_t>(random()),
                                 {number(), number(), number()},
                                 {number(), -number(), number()}};
          const nlohmann::json text = nlohmann::json::parse(input_transform_to_json(t).dump());
          REQUIRE(input_transform_from_json(text, "test") == t);
        }
      }
    }
  }
  CHECK(input_transform_from_json({{"resize", "stretch"}}, "test") == InputTransform{});
  CHECK(input_transform_to_json({.mean = {127.5f, 0.1f, 0}}).dump().find("0.1,") != std::string::npos);
  CHECK(code_of([] { (void)input_transform_from_json(nlohmann::json::array(), "test"); }) == Errc::bad_file);
}
