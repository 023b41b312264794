// DpuStage: conversions at its edges, batches, threads, errors.
#include <cmath>
#include <random>
#include <thread>

#include "core/convert.hpp"
#include "dpu/soft/executor.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

Plan split(const QuantizedGraph& quant, NodeId at) {
  const auto last = static_cast<NodeId>(quant.graph().nodes().size());
  return Plan{quant.graph(), quant, {Route{{{.device = "dpu:0", .first = 0, .last = at}, {.device = "cpu", .first = at, .last = last}}}}};
}

NodeId middle(const Graph& graph) {
  const auto all = cuts(graph);
  return all[all.size() / 2].node;
}

std::vector<Tensor> tensors(std::span<const TensorSpec> specs) {
  std::vector<Tensor> list;
  for (const TensorSpec& s : specs) list.emplace_back(s);
  return list;
}

Status run(Stage& stage, std::span<Tensor> in, std::span<Tensor> out, std::size_t frames) {
  std::vector<TensorView> inputs, outputs;
  for (Tensor& t : in) inputs.push_back(t.view());
  for (Tensor& t : out) outputs.push_back(t.view());
  const Ticket ticket = stage.submit({.frames = frames, .inputs = inputs, .outputs = outputs});
  return stage.wait(ticket, Clock::time_point::max());
}

}  // namespace

TEST_CASE("a head converts its float input and hands on int8", "[dpu]") {
  const Graph graph = Graph::zoo("lenet5");
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 2);
  const Plan plan = split(quant, middle(graph));
  DpuStage fast{plan, plan.head()}, oracle{plan, plan.head(), {.backend = DpuBackend::scalar}};
  CHECK(fast.device() == "dpu:0");
  REQUIRE(fast.inputs().size() == 1);
  CHECK(fast.inputs()[0].dtype == DType::f32);
  CHECK(fast.inputs()[0].shape == graph.tensor(graph.inputs()[0]).shape);
  REQUIRE(fast.outputs().size() == 1);
  CHECK(fast.outputs()[0].dtype == DType::i8);

  auto in = tensors(fast.inputs()), out = tensors(fast.outputs()), expected = tensors(fast.outputs());
  std::mt19937_64 random{splitcnn_test::seed()};
  std::normal_distribution<float> normal;
  for (float& v : in[0].as<float>()) v = normal(random);
  fast.prepare();
  REQUIRE(run(fast, in, out, 1).ok());
  REQUIRE(run(oracle, in, expected, 1).ok());
  CHECK(std::equal(out[0].bytes().begin(), out[0].bytes().end(), expected[0].bytes().begin()));

  DpuExecutor direct{quant, 0, middle(graph)};
  convert(in[0].spec().shape, {.channels_last = false}, in[0].bytes().data(), {.dtype = DType::i8, .fix_point = direct.input_fix_point(0)},
          reinterpret_cast<std::byte*>(direct.input(0).data()));
  direct.run();
  CHECK(std::equal(direct.output(0).begin(), direct.output(0).end(), out[0].as<std::int8_t>().begin()));
  CHECK(fast.outputs()[0].fix_point == direct.output_fix_point(0));
}

TEST_CASE("a whole network on the DPU gives float results", "[dpu]") {
  const Graph graph = Graph::zoo("mobilenet_v2", {.input_size = 32});
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 2);
  const auto last = static_cast<NodeId>(graph.nodes().size());
  const Plan plan{graph, quant, {Route{{{.device = "dpu:0", .first = 0, .last = last}}}}};
  DpuStage stage{plan, plan.route(0).segments[0]};
  CHECK(stage.outputs()[0].dtype == DType::f32);
  auto in = tensors(stage.inputs()), out = tensors(stage.outputs());
  for (float& v : in[0].as<float>()) v = 0.5f;
  REQUIRE(run(stage, in, out, 1).ok());
  const float unit = std::ldexp(1.0f, -quant.fix_point(graph.outputs()[0]));
  for (const float v : out[0].as<float>()) CHECK(v / unit == std::round(v / unit));
}

TEST_CASE("several frames in a batch, from another thread", "[dpu]") {
  const Graph graph = Graph::zoo("lenet5");
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  const Plan plan = split(quant, middle(graph));
  DpuStage stage{plan, plan.head(), {.threads = 2}};
  std::vector<Tensor> in, out, single = tensors(stage.outputs());
  std::mt19937_64 random{1};
  for (int f = 0; f < 3; ++f) {
    in.emplace_back(stage.inputs()[0]);
    out.emplace_back(stage.outputs()[0]);
    for (float& v : in.back().as<float>()) v = static_cast<float>(random() % 100) / 50 - 1;
  }
  std::thread worker{[&] {
    stage.prepare();
    CHECK(run(stage, in, out, 3).ok());
  }};
  worker.join();
  for (std::size_t f = 0; f < 3; ++f) {
    REQUIRE(run(stage, std::span{in}.subspan(f, 1), single, 1).ok());
    CHECK(std::equal(single[0].bytes().begin(), single[0].bytes().end(), out[f].bytes().begin()));
  }
  CHECK(run(stage, std::span{in}.first(1), out, 3).code == Errc::mismatch);
}

TEST_CASE("what a DPU cannot run is refused by name", "[dpu]") {
  GraphBuilder b{"soft"};
  const TensorId x = b.input("x", {1, 4, 8, 8});
  b.output(b.add({.op = Op::sigmoid, .name = "curve", .inputs = {x}}));
  const Graph graph = std::move(b).build();
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  try {
    DpuExecutor run{quant, 0, 1};
    FAIL("a sigmoid was accepted");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::unsupported);
    CHECK(std::string{e.what()}.find("curve") != std::string::npos);
  }
}
