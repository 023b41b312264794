// Exported heads in ONNX Runtime: layer by layer within one step of the DPU, whole networks with the same class. Needs a Python with
// onnxruntime; without one the models are only written.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "core/convert.hpp"
#include "dpu/soft/executor.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;

namespace {

namespace fs = std::filesystem;

/// Exported segments with what goes in and comes out of the DPU, for qdq_check.py.
class Cases {
 public:
  explicit Cases(const fs::path& folder) : folder_{folder} {}

  void add(const QuantizedGraph& quant, NodeId first, NodeId last, bool whole, std::mt19937_64& random) {
    const Graph& graph = quant.graph();
    const std::string model = std::to_string(count_++) + ".onnx";
    save_qdq(quant, first, last, folder_ / model);
    DpuExecutor run{quant, first, last};
    nlohmann::json one{{"name", graph.name() + " " + graph.nodes()[first].name}, {"model", model}, {"whole", whole}, {"inputs", nlohmann::json::array()}, {"outputs", nlohmann::json::array()}};
    for (std::size_t i = 0; i < run.input_ids().size(); ++i) {
      const bool positive = first > 0 && comes_from_relu(graph, run.input_ids()[i]);
      for (auto& b : run.input(i)) b = static_cast<std::int8_t>(positive ? random() % 128 : random() % 256);
      one["inputs"].push_back(write(graph, run.input_ids()[i], run.input(i), run.input_fix_point(i)));
    }
    run.run();
    for (std::size_t o = 0; o < run.output_ids().size(); ++o) {
      one["outputs"].push_back(write(graph, run.output_ids()[o], run.output(o), run.output_fix_point(o)));
    }
    list_.push_back(one);
  }

  void finish() { std::ofstream{folder_ / "manifest.json"} << list_.dump(); }

 private:
  static bool comes_from_relu(const Graph& graph, TensorId id) {
    const auto writer = graph.producer(id);
    return writer && (graph.nodes()[*writer].op == Op::relu || graph.nodes()[*writer].op == Op::clip);
  }

  nlohmann::json write(const Graph& graph, TensorId id, std::span<const std::int8_t> bytes, int fix_point) {
    const GraphTensor& t = graph.tensor(id);
    std::vector<float> values(bytes.size());
    convert(t.shape, {.dtype = DType::i8, .fix_point = fix_point}, reinterpret_cast<const std::byte*>(bytes.data()), {.channels_last = false},
            reinterpret_cast<std::byte*>(values.data()));
    const std::string file = std::to_string(files_++) + ".f32";
    std::ofstream{folder_ / file, std::ios::binary}.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * 4));
    return {{"name", t.name}, {"file", file}, {"fix_point", fix_point}, {"shape", std::vector<std::int64_t>{t.shape.begin(), t.shape.end()}}};
  }

  fs::path folder_;
  nlohmann::json list_ = nlohmann::json::array();
  int count_ = 0, files_ = 0;
};

nlohmann::json check(const fs::path& folder) {
  const std::string command = "python3 '" SPLITCNN_QDQ_CHECK "' '" + folder.string() + "' 2>&1";
  std::string text;
  std::FILE* pipe = popen(command.c_str(), "r");
  for (int c = pipe ? std::fgetc(pipe) : EOF; c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
  const int status = pipe ? pclose(pipe) : -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return {{"missing", "there is no python3"}};  // the shell's word for "not found"
  nlohmann::json result = nlohmann::json::parse(text, nullptr, false);
  if (!result.is_object()) result = {{"failed", text}};
  return result;
}

NodeId last_legal(const Graph& graph) {
  NodeId end = 0;
  for (const Cut& cut : cuts(graph, Granularity::op)) end = cut.legal ? std::max(end, cut.node) : end;
  return end;
}

}  // namespace

TEST_CASE("exported layers give the DPU's bytes in ONNX Runtime, up to ties", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const splitcnn_test::TemporaryFolder folder;
  Cases cases{folder.path()};
  for (const auto& [name, size] : {std::pair{"lenet5", 32}, {"mobilenet_v2", 32}, {"squeezenet1_1", 40}, {"resnet18", 32}, {"googlenet", 32}}) {
    const Graph graph = Graph::zoo(name, {.input_size = size});
    const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 2);
    const NodeId end = last_legal(graph);
    for (const Unit& unit : units(graph, Granularity::fused)) {
      if (unit.last <= end) cases.add(quant, unit.first, unit.last, false, random);
    }
    cases.add(quant, 0, end, true, random);
  }
  cases.finish();
  const nlohmann::json result = check(folder.path());
  if (result.contains("missing")) SPLITCNN_SKIP("onnxruntime", "needs a python3 with onnxruntime: " + result["missing"].get<std::string>());
  INFO(result.dump());
  std::printf("%s\n", result.dump().c_str());
  REQUIRE(result.contains("models"));
  CHECK(result["worst_lsb"].get<double>() <= 1.01);
  CHECK(result["same_top1"] == result["frames"]);
}

TEST_CASE("an exported head is a file or an error that says why", "[dpu]") {
  const splitcnn_test::TemporaryFolder folder;
  const Graph graph = Graph::zoo("lenet5");
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  save_qdq(quant, 0, last_legal(graph), folder / "head.onnx");
  CHECK(fs::file_size(folder / "head.onnx") > 1000);
  CHECK_FALSE(fs::exists(folder / "head.onnx.part"));
  try {
    save_qdq(quant, 0, last_legal(graph), folder / "no" / "such" / "folder.onnx");
    FAIL("wrote into a folder that does not exist");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::io);
  }
}
