// Real models against the outputs of ONNX Runtime.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/convert.hpp"
#include "cpu/cases.hpp"
#include "splitcnn/cpu_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

std::vector<float> read_floats(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::vector<float> values(std::filesystem::file_size(path) / sizeof(float));
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

struct Golden {
  std::string name;
  Graph graph;
  std::size_t frames = 0;
  std::vector<float> input;
  std::vector<std::vector<float>> outputs;  // in the order of graph.outputs()

  std::span<const float> frame(std::span<const float> all, std::size_t f) const {
    return all.subspan(f * (all.size() / frames), all.size() / frames);
  }
};

std::vector<Golden> goldens() {
  const std::filesystem::path folder = test_data();
  const auto index = nlohmann::json::parse(std::ifstream{folder / "golden" / "index.json"});
  std::vector<Golden> all;
  for (const auto& [name, entry] : index.items()) {
    Golden g{.name = name, .graph = Graph::load(folder / "models" / (name + ".onnx"))};
    g.frames = entry["input"]["shape"][0].get<std::size_t>();
    g.input = read_floats(folder / "golden" / entry["input"]["file"].get<std::string>());
    for (const TensorId t : g.graph.outputs()) {
      for (const auto& output : entry["outputs"]) {
        if (output["name"] == g.graph.tensor(t).name)
          g.outputs.push_back(read_floats(folder / "golden" / output["file"].get<std::string>()));
      }
    }
    REQUIRE(g.outputs.size() == g.graph.outputs().size());
    all.push_back(std::move(g));
  }
  return all;
}

constexpr Representation model_layout{.channels_last = false};

/// Runs all frames; output values in the model's own layout, by graph output.
std::vector<std::vector<float>> run(const Golden& g, const CpuExecutorOptions& options) {
  CpuExecutor executor{g.graph, 0, static_cast<NodeId>(g.graph.nodes().size()), options};
  std::vector<std::vector<float>> results(g.outputs.size());
  for (std::size_t f = 0; f < g.frames; ++f) {
    convert(g.graph.tensor(g.graph.inputs()[0]).shape, model_layout,
            reinterpret_cast<const std::byte*>(g.frame(g.input, f).data()), {},
            reinterpret_cast<std::byte*>(executor.input(0).data()));
    executor.run();
    for (std::size_t o = 0; o < results.size(); ++o) {
      const TensorId id = g.graph.outputs()[o];
      const auto at =
          static_cast<std::size_t>(std::find(executor.output_ids().begin(), executor.output_ids().end(), id) -
                                   executor.output_ids().begin());
      std::vector<float> values(executor.output(at).size());
      convert(g.graph.tensor(id).shape, {}, reinterpret_cast<const std::byte*>(executor.output(at).data()),
              model_layout, reinterpret_cast<std::byte*>(values.data()));
      results[o].insert(results[o].end(), values.begin(), values.end());
    }
  }
  return results;
}

double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

Plan one_segment(const Graph& graph) {
  Route route;
  route.segments.push_back({.device = "cpu",
                            .first = 0,
                            .last = static_cast<NodeId>(graph.nodes().size()),
                            .first_unit = 0,
                            .last_unit = 1});
  return {graph, std::nullopt, {route}};
}

}  // namespace

TEST_CASE("golden models: executor, unfused, f16 storage, two threads") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  for (const Golden& g : goldens()) {
    const auto f32 = run(g, {}), unfused = run(g, {.keep_all = true}), f16 = run(g, {.f16_storage = true}),
               two = run(g, {.threads = 2});
    for (std::size_t o = 0; o < g.outputs.size(); ++o) {
      INFO(g.name << " output " << o);
      std::printf("%-22s output %zu: error %.1e, f16 storage relative L2 %.1e\n", g.name.c_str(), o,
                  error(f32[o], g.outputs[o]), relative_l2(f16[o], f32[o]));
      CHECK(error(f32[o], g.outputs[o]) <= 1e-4);
      CHECK(error(unfused[o], g.outputs[o]) <= 1e-4);
      CHECK(error(two[o], g.outputs[o]) <= 1e-4);
      CHECK(relative_l2(f16[o], f32[o]) <= 2e-3);
    }
  }
}

TEST_CASE("golden models through CpuStage, all frames as one batch") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  for (Golden& g : goldens()) {
    const Plan plan = one_segment(g.graph);
    CpuStage stage{plan, plan.route(0).segments[0]};
    stage.prepare();
    std::vector<TensorView> in, out;
    std::vector<std::vector<float>> results;
    for (const TensorSpec& s : stage.outputs())
      results.emplace_back(static_cast<std::size_t>(s.shape.elements()) * g.frames);
    for (std::size_t f = 0; f < g.frames; ++f) {
      in.push_back({const_cast<std::byte*>(reinterpret_cast<const std::byte*>(g.frame(g.input, f).data())),
                    &stage.inputs()[0]});
      for (std::size_t o = 0; o < results.size(); ++o) {
        out.push_back({reinterpret_cast<std::byte*>(results[o].data() + f * (results[o].size() / g.frames)),
                       &stage.outputs()[o]});
      }
    }
    REQUIRE(stage.wait(stage.submit({g.frames, in, out}), Clock::time_point::max()).ok());
    for (std::size_t o = 0; o < results.size(); ++o) {
      INFO(g.name << " output " << stage.outputs()[o].name);
      const auto& names = g.graph.outputs();
      for (std::size_t k = 0; k < names.size(); ++k) {
        if (g.graph.tensor(names[k]).name == stage.outputs()[o].name)
          CHECK(error(results[o], g.outputs[k]) <= 1e-4);
      }
    }
  }
}
