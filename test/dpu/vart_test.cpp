// The real VART and XIR with the vendor's CPU reference runner (mode "ref"), where they are installed:
// exported heads give the bytes of the software DPU; whatever would make VART end the process is an Error
// first.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "dpu/remote/link.hpp"
#include "dpu/vart/runner.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
namespace fs = std::filesystem;

namespace {

/// The worker with VART, or empty: then the reason why not.
std::string no_vart() {
  const auto result = dpu::run_command({SPLITCNN_REAL_WORKER, "--version"});
  return result.ok && result.errors.find("no VART") == std::string::npos
             ? ""
             : "splitcnn-dpu-worker is built without VART";
}

DpuStageOptions reference(const fs::path& xmodel) {
  DpuStageOptions options{.backend = DpuBackend::vart};
  options.worker.program = SPLITCNN_REAL_WORKER;
  options.worker.xmodel = xmodel;
  options.worker.mode = "ref";
  options.worker.deadline = Millis{120'000};
  options.worker.start_deadline = Millis{120'000};
  options.worker.fallback = DpuFallback::none;  // nothing else may answer
  return options;
}

Plan head_plan(const QuantizedGraph& quant, NodeId at) {
  const auto last = static_cast<NodeId>(quant.graph().nodes().size());
  Route route{{{.device = "dpu:0", .first = 0, .last = at}}};
  if (at != last) route.segments.push_back({.device = "cpu", .first = at, .last = last});
  return Plan{quant.graph(), quant, {route}};
}

/// Three legal cuts: early, in the middle, the last.
std::vector<NodeId> three_cuts(const Graph& graph) {
  std::vector<NodeId> legal;
  for (const Cut& c : cuts(graph)) {
    if (c.k > 0 && c.legal && c.board_legal) legal.push_back(c.node);
  }
  REQUIRE(legal.size() >= 3);
  return {legal.front(), legal[legal.size() / 2], legal.back()};
}

/// Frames of noise through the reference runner and the software DPU: every byte of every boundary tensor.
void compare(const QuantizedGraph& quant, NodeId at, int frames) {
  const splitcnn_test::TemporaryFolder folder;
  const fs::path file = folder / "head.xmodel";
  save_xmodel(quant, 0, at, file, SPLITCNN_REAL_WORKER);
  const Plan plan = head_plan(quant, at);
  const Segment& head = plan.route(0).segments[0];
  DpuStage real{plan, head, reference(file)}, software{plan, head};
  std::mt19937_64 random{splitcnn_test::seed()};
  std::normal_distribution<float> normal;
  for (int f = 0; f < frames; ++f) {
    std::vector<Tensor> in, out, expected;
    std::vector<TensorView> in_views, out_views, expected_views;
    for (const TensorSpec& s : real.inputs()) {
      in.emplace_back(s);
      for (float& v : in.back().as<float>()) v = normal(random);
    }
    for (const TensorSpec& s : real.outputs()) out.emplace_back(s), expected.emplace_back(s);
    for (Tensor& t : in) in_views.push_back(t.view());
    for (Tensor& t : out) out_views.push_back(t.view());
    for (Tensor& t : expected) expected_views.push_back(t.view());
    const Status status = real.wait(real.submit({1, in_views, out_views}), Clock::time_point::max());
    INFO(status.message);
    REQUIRE(status.ok());
    REQUIRE(software.wait(software.submit({1, in_views, expected_views}), Clock::time_point::max()).ok());
    for (std::size_t o = 0; o < out.size(); ++o)
      CHECK(std::equal(out[o].bytes().begin(), out[o].bytes().end(), expected[o].bytes().begin()));
  }
  CHECK(real.worker_stats().worker_frames == static_cast<std::uint64_t>(frames));
}

QuantizedGraph zoo(const char* name, std::int64_t size = 0) {
  return Quantizer{}.calibrate_synthetic(Graph::zoo(name, {.input_size = size}), 1);
}

void compare_model(const std::string& name, int frames) {
  const fs::path model = fs::path{splitcnn_test::test_data()} / "models" / (name + ".onnx");
  const Graph graph = Graph::load(model);
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  for (const NodeId at : three_cuts(graph)) {
    CAPTURE(name, at);
    compare(quant, at, frames);
  }
}

std::vector<char> bytes_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
void write(const fs::path& file, std::span<const char> bytes) {
  std::ofstream{file, std::ios::binary}.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The same length, so that the messages around it stay right.
void replace(std::vector<char>& bytes, const std::string& from, const std::string& to) {
  REQUIRE(from.size() == to.size());
  auto at = bytes.begin();
  int count = 0;
  while ((at = std::search(at, bytes.end(), from.begin(), from.end())) != bytes.end()) {
    at = std::copy(to.begin(), to.end(), at);
    ++count;
  }
  REQUIRE(count > 0);
}

}  // namespace

TEST_CASE("exported heads run through VART's reference runner with the bytes of the software DPU", "[dpu]") {
  if (const auto why = no_vart(); !why.empty()) SPLITCNN_SKIP("vart", why);
  const QuantizedGraph lenet = zoo("lenet5");
  for (const NodeId at : three_cuts(lenet.graph())) compare(lenet, at, 3);
  const QuantizedGraph mobile = zoo("mobilenet_v2", 32), res = zoo("resnet18", 32);
  for (const NodeId at : three_cuts(mobile.graph())) compare(mobile, at, 1);
  for (const NodeId at : three_cuts(res.graph())) compare(res, at, 1);
}

TEST_CASE("real networks through VART's reference runner", "[dpu][long]") {
  if (const auto why = no_vart(); !why.empty()) SPLITCNN_SKIP("vart", why);
  const QuantizedGraph resnet18 = zoo("resnet18");
  for (const NodeId at : three_cuts(resnet18.graph())) compare(resnet18, at, 1);
  if (splitcnn_test::test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  compare_model("mnist_cnn", 20);
  compare_model("cifar10_resnet20", 5);
  compare_model("mobilenet_v2_1.0_224", 1);
}

TEST_CASE("what makes VART end the process is an Error with the cause, and the application lives", "[dpu]") {
  if (const auto why = no_vart(); !why.empty()) SPLITCNN_SKIP("vart", why);
  const splitcnn_test::TemporaryFolder folder;
  const QuantizedGraph quant = zoo("lenet5");
  const NodeId at = three_cuts(quant.graph())[1];
  const fs::path good = folder / "good.xmodel", bad = folder / "bad.xmodel";
  save_xmodel(quant, 0, at, good, SPLITCNN_REAL_WORKER);
  const Plan plan = head_plan(quant, at);
  const std::vector<char> whole = bytes_of(good);
  struct Case {
    Errc code;
    const char* words;
    std::function<void(DpuWorkerOptions&, std::vector<char>&)> change;
  };
  const Case all[] = {
      {Errc::io, "is not a file",
       [&](DpuWorkerOptions& w, std::vector<char>&) { w.xmodel = folder / "missing.xmodel"; }},
      {Errc::bad_model, "ends too early",
       [](DpuWorkerOptions&, std::vector<char>& b) { b.resize(b.size() / 2); }},
      {Errc::bad_model, "damaged or no xmodel",
       [](DpuWorkerOptions&, std::vector<char>& b) { b.assign(1000, 'x'); }},
      {Errc::bad_model, "no operations", [](DpuWorkerOptions&, std::vector<char>& b) { b.clear(); }},
      {Errc::unsupported, "names no runner",
       [](DpuWorkerOptions&, std::vector<char>& b) { replace(b, "runner", "runnee"); }},
      {Errc::unsupported, "has no mode 'dream'; it has ref, run",
       [](DpuWorkerOptions& w, std::vector<char>&) { w.mode = "dream"; }},
      {Errc::no_device, "cannot be opened",
       [](DpuWorkerOptions&, std::vector<char>& b) {
         replace(b, "libvart-cpu-runner.so", "libvart-cpu-rummer.so");
       }},
      {Errc::unsupported, "no fix point",
       [](DpuWorkerOptions&, std::vector<char>& b) { replace(b, "fix_point", "fix_paint"); }},
      {Errc::unsupported, "no DPU subgraph",
       [](DpuWorkerOptions&, std::vector<char>& b) { replace(b, "DPU", "CPU"); }},
      {Errc::mismatch, "DPU subgraphs", [](DpuWorkerOptions& w, std::vector<char>&) { w.subgraph = 3; }},
      {Errc::unsupported, "constants were taken out",
       [](DpuWorkerOptions&, std::vector<char>& b) {
         replace(b,
                 "\x04"
                 "data\x12",
                 "\x04"
                 "dato\x12");
       }},
  };
  for (const Case& c : all) {
    CAPTURE(c.words);
    auto options = reference(bad);
    std::vector<char> bytes = whole;
    c.change(options.worker, bytes);
    write(bad, bytes);
    try {
      const DpuStage stage{plan, plan.route(0).segments[0], options};
      FAIL("it was accepted");
    } catch (const Error& e) {
      CHECK(to_string(e.code()) == std::string{to_string(c.code)});
      CHECK_THAT(e.what(), Catch::Matchers::Contains(c.words));
    }
  }
  // Another cut's model, by its manifest and by its shapes. And the good one still runs.
  const Plan other = head_plan(quant, three_cuts(quant.graph())[0]);
  const auto load = [&](const Plan& p, const fs::path& file) {
    const DpuStage stage{p, p.route(0).segments[0], reference(file)};
  };
  CHECK_THROWS_WITH(load(other, good), Catch::Matchers::Contains("holds nodes 0 to"));
  const Plan calibrated_otherwise = head_plan(Quantizer{}.calibrate_synthetic(quant.graph(), 3), at);
  CHECK_THROWS_WITH(load(calibrated_otherwise, good), Catch::Matchers::Contains("another calibration"));
  fs::remove(good.string() + ".json");
  CHECK_THROWS_AS(load(other, good), Error);
  DpuStage stage{plan, plan.route(0).segments[0], reference(good)};
  CHECK(stage.worker_stats().state == DpuWorkerState::serving);
}

TEST_CASE(
    "models of the vendor's compiler are inspected, run in mode ref where their constants are kept, and "
    "refused where not",
    "[dpu][long]") {
  if (const auto why = no_vart(); !why.empty()) SPLITCNN_SKIP("vart", why);
  const char* folder = std::getenv(
      "SPLITCNN_TEST_XMODELS");  // for example the compiled models of Xilinx/Vitis-AI's custom operator demo
  if (!folder) SPLITCNN_SKIP("data", "SPLITCNN_TEST_XMODELS is not set");
  int ran = 0, refused = 0;
  for (const auto& entry : fs::directory_iterator{folder}) {
    if (entry.path().extension() != ".xmodel") continue;
    const std::string file = entry.path().string();
    CAPTURE(file);
    const auto subgraphs = dpu::inspect_model(file);
    REQUIRE_FALSE(subgraphs.empty());
    std::uint32_t number = 0;
    for (const dpu::SubgraphInfo& s : subgraphs) {
      if (s.device != "DPU") continue;
      CHECK_FALSE(s.fingerprint.empty());
      const dpu::LinkOptions options{.program = SPLITCNN_REAL_WORKER,
                                     .models = {{file, "ref", number++}},
                                     .start_time = std::chrono::minutes{2}};
      if (!s.weights) {
        ++refused;
        CHECK_THROWS_WITH(dpu::WorkerLink{options}, Catch::Matchers::Contains("constants were taken out"));
        continue;
      }
      dpu::WorkerLink link{options};
      const dpu::ModelInfo& info = link.loaded().models[0];
      CHECK(info.inputs.size() == s.inputs.size());
      CHECK(info.outputs.size() == s.outputs.size());
      for (std::size_t i = 0; i < info.inputs.size(); ++i)
        std::fill_n(link.tensor(0, i), info.inputs[i].bytes(), std::byte{3});
      dpu::Done done;
      std::string text;
      REQUIRE(link.post({.ticket = 1, .frames = 1}, Clock::time_point::max()));
      REQUIRE(link.collect(done, text, Clock::now() + std::chrono::minutes{5}) ==
              dpu::WorkerLink::Collected::done);
      CHECK(done.code == Errc::ok);
      std::printf("%s: subgraph %u '%s': %zu inputs (fix point %d), %zu outputs (fix point %d), ran\n",
                  entry.path().filename().c_str(), number - 1, info.name.c_str(), info.inputs.size(),
                  info.inputs[0].fix_point, info.outputs.size(), info.outputs[0].fix_point);
      ++ran;
    }
  }
  std::printf("%d subgraphs ran, %d refused\n", ran, refused);
  CHECK(ran + refused > 0);
}
