// CpuStage and the CPU stand-in of GpuStage at the edges of segments.
#include "splitcnn/cpu_stage.hpp"

#include <mutex>
#include <thread>

#include "core/half.hpp"
#include "cpu/cases.hpp"
#include "splitcnn/gpu_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

/// One input, a branch that crosses every cut, two outputs.
Graph branching(Random& random) {
  Maker m{random};
  const TensorId x = m.input({1, 3, 8, 8});
  const auto conv = [&](TensorId t, std::int64_t out) {
    return m.add(
        {.op = Op::conv,
         .inputs = {t, m.constant({out, m.shape(t)[1], 3, 3}, -0.3f, 0.3f), m.constant({out})},
         .window = {
             .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}});
  };
  const TensorId a = m.add({.op = Op::relu, .inputs = {conv(x, 8)}});
  const TensorId b = m.add({.op = Op::relu, .inputs = {conv(a, 8)}});
  m.builder.output(b);
  const TensorId c = m.add({.op = Op::add, .inputs = {a, conv(b, 8)}});
  const TensorId pooled =
      m.add({.op = Op::global_average_pool, .inputs = {m.add({.op = Op::relu, .inputs = {c}})}});
  const TensorId flat = m.add({.op = Op::reshape, .inputs = {pooled}}, Shape{1, 8});
  return m.finish(m.add({.op = Op::gemm,
                         .inputs = {flat, m.constant({5, 8}), m.constant({5})},
                         .transpose_b = true,
                         .alpha = 1,
                         .beta = 1}));
}

Plan make_plan(const Graph& graph, std::vector<std::pair<const char*, NodeId>> ends,
               std::optional<QuantizedGraph> quant = {}) {
  Route route;
  NodeId first = 0;
  for (const auto& [device, end] : ends) {
    const int unit = static_cast<int>(route.segments.size());
    route.segments.push_back(
        {.device = device, .first = first, .last = end, .first_unit = unit, .last_unit = unit + 1});
    first = end;
  }
  return {graph, std::move(quant), {route}};
}

using Carried = std::map<std::string, Tensor>;

/// One frame through a stage; tensors by name.
Status run_stage(Stage& stage, Carried& carried) {
  std::vector<TensorView> in, out;
  for (const TensorSpec& s : stage.inputs()) {
    REQUIRE(carried.count(s.name) == 1);
    REQUIRE(carried.at(s.name).spec() == s);
    in.push_back(carried.at(s.name).view());
  }
  for (const TensorSpec& s : stage.outputs()) {
    carried[s.name] = Tensor{s};
    out.push_back(carried[s.name].view());
  }
  return stage.wait(stage.submit({1, in, out}), Clock::time_point::max());
}

Tensor random_frame(const Graph& graph, Random& random) {
  const auto& t = graph.tensor(graph.inputs()[0]);
  Tensor frame{{.name = t.name, .shape = t.shape}};
  random.fill(frame.as<float>());
  return frame;
}

}  // namespace

TEST_CASE("two CPU stages in a row equal the whole network, at every node") {
  Random random{seed()};
  const Graph graph = branching(random);
  const auto n = static_cast<NodeId>(graph.nodes().size());
  Carried whole;
  whole[graph.tensor(graph.inputs()[0]).name] = random_frame(graph, random);
  const Plan one = make_plan(graph, {{"cpu", n}});
  CpuStage all{one, one.route(0).segments[0]};
  const Carried start = whole;
  REQUIRE(run_stage(all, whole).ok());
  for (NodeId k = 1; k < n; ++k) {
    INFO("cut before node " << k);
    const Plan plan = make_plan(graph, {{"cpu", k}, {"cpu", n}});
    CpuStage head{plan, plan.head()}, tail{plan, plan.tail(), {.threads = 2}};
    Carried carried = start;
    head.prepare();
    tail.prepare();
    REQUIRE(run_stage(head, carried).ok());
    REQUIRE(run_stage(tail, carried).ok());
    for (const TensorId t : graph.outputs()) {
      const std::string& name = graph.tensor(t).name;
      CHECK(error(carried.at(name).as<float>(), whole.at(name).as<float>()) <= 1e-5);
    }
  }
}

TEST_CASE("a stage built here runs on the worker's thread, batch after batch") {
  Random random{seed()};
  const Graph graph = branching(random);
  const Plan plan = make_plan(graph, {{"cpu", static_cast<NodeId>(graph.nodes().size())}});
  CpuStage stage{plan, plan.route(0).segments[0]}, slow{plan, plan.route(0).segments[0], {.reference = true}};
  CHECK(stage.device() == "cpu");
  CHECK(stage.inputs()[0].shape == Shape{1, 3, 8, 8});
  std::vector<Tensor> inputs, outputs, expected;
  std::vector<TensorView> in, out, want;
  constexpr std::size_t frames = 5;
  outputs.reserve(20);
  expected.reserve(20);
  inputs.reserve(20);
  for (std::size_t f = 0; f < frames; ++f) {
    inputs.push_back(random_frame(graph, random));
    in.push_back(inputs.back().view());
    for (const TensorSpec& s : stage.outputs()) {
      outputs.emplace_back(s);
      out.push_back(outputs.back().view());
      expected.emplace_back(s);
      want.push_back(expected.back().view());
    }
  }
  std::thread{[&] {
    stage.prepare();
    const Ticket ticket = stage.submit({frames, in, out});
    CHECK(stage.wait(ticket, Clock::time_point::max()).ok());
    CHECK(stage.wait({ticket.id + 1}, Clock::time_point::max()).code == Errc::bad_argument);
  }}.join();
  REQUIRE(slow.wait(slow.submit({frames, in, want}), Clock::time_point::max()).ok());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    CHECK(error(outputs[i].as<float>(), expected[i].as<float>()) <= 1e-5);
  // A batch that does not fit fails alone.
  CHECK(stage.wait(stage.submit({frames, in, std::span{out}.first(1)}), Clock::time_point::max()).code ==
        Errc::bad_argument);
  CHECK(stage.wait(stage.submit({frames, in, out}), Clock::time_point::max()).ok());
}

TEST_CASE("edges shared with a DPU are int8, with a GPU f16") {
  Random random{seed()};
  const Graph graph = branching(random);
  const auto n = static_cast<NodeId>(graph.nodes().size());
  std::vector<int> fix_points(graph.tensors().size(), 4);
  const QuantizedGraph quant{graph, fix_points, {}};
  const Plan plan = make_plan(graph, {{"dpu:0", 2}, {"cpu", n}}, quant);
  CpuStage tail{plan, plan.tail()};
  REQUIRE(tail.inputs().size() == 1);
  const TensorSpec& spec = tail.inputs()[0];
  CHECK(spec.dtype == DType::i8);
  CHECK(spec.fix_point == 4);
  CHECK(spec.shape == Shape{1, 8, 8, 8});
  Tensor x{spec};
  for (auto& v : x.as<std::int8_t>()) v = static_cast<std::int8_t>(random.draw(0, 127));
  Values values;
  std::vector<float>& real = values[graph.nodes()[1].outputs[0]];
  for (const std::int8_t v : x.as<std::int8_t>()) real.push_back(static_cast<float>(v) / 16.0f);
  run_range(graph, 2, n, values);
  Carried carried;
  carried[spec.name] = x;
  REQUIRE(run_stage(tail, carried).ok());
  for (const TensorId t : graph.outputs()) {
    const Shape& shape = graph.tensor(t).shape;
    CHECK(error(carried.at(graph.tensor(t).name).as<float>(), cpu::to_logical(shape, values.at(t))) <= 1e-6);
  }

  const Plan gpu_plan = make_plan(graph, {{"cpu", 2}, {"gpu:0", n}});
  GpuStage gpu_tail{gpu_plan, gpu_plan.tail()};
  CHECK(gpu_tail.inputs()[0].dtype == DType::f16);
}

TEST_CASE("GpuStage without a plug-in: the CPU rounding to FP16, announced once per device") {
  setenv("SPLITCNN_GPU_PLUGIN", "/nowhere/libsplitcnn_cuda.so", 1);  // whatever this machine has
  Random random{seed()};
  const Graph graph = branching(random);
  const auto n = static_cast<NodeId>(graph.nodes().size());
  std::vector<std::string> messages;
  set_log_handler([&](LogLevel level, std::string_view message) {
    if (level == LogLevel::warning) messages.emplace_back(message);
  });
  const Plan plan = make_plan(graph, {{"gpu:7", 3}, {"gpu:8", n}});
  GpuStage head{plan, plan.head()}, again{plan, plan.head()}, tail{plan, plan.tail()};
  set_log_handler([](LogLevel, std::string_view) {});
  REQUIRE(messages.size() == 2);
  CHECK(messages[0].find("gpu:7") != std::string::npos);
  CHECK(std::string{head.backend()} == "cpu-f16");
  std::string why;
  CHECK_FALSE(GpuStage::available(&why));
  CHECK(why.find("/nowhere/libsplitcnn_cuda.so: there is no such file") != std::string::npos);
  CHECK_FALSE(GpuStage::available());
  try {
    GpuStage insisting{plan, plan.head(), {.backend = GpuBackend::cudnn}};
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::no_device);
  }

  Carried carried;
  carried[graph.tensor(graph.inputs()[0]).name] = random_frame(graph, random);
  Carried f32 = carried;
  head.prepare();
  tail.prepare();
  REQUIRE(run_stage(head, carried).ok());
  REQUIRE(run_stage(tail, carried).ok());
  const Plan whole = make_plan(graph, {{"cpu", n}});
  CpuStage exact{whole, whole.route(0).segments[0]},
      f16{whole, whole.route(0).segments[0], {.storage = DType::f16}};
  Carried one_stage = f32;
  REQUIRE(run_stage(exact, f32).ok());
  REQUIRE(run_stage(f16, one_stage).ok());
  for (const TensorId t : graph.outputs()) {
    const std::string& name = graph.tensor(t).name;
    CHECK(error(carried.at(name).as<float>(), f32.at(name).as<float>()) <= 5e-3);
    CHECK(error(carried.at(name).as<float>(), one_stage.at(name).as<float>()) <=
          2e-3);  // cutting hardly changes the rounding
  }
}

TEST_CASE("CpuStage refuses what it cannot be") {
  Random random{seed()};
  const Graph graph = branching(random);
  const auto n = static_cast<NodeId>(graph.nodes().size());
  const Plan plan = make_plan(graph, {{"cpu", n}});
  const auto code = [&](const Segment& segment, const CpuStageOptions& options) {
    try {
      CpuStage stage{plan, segment, options};
    } catch (const Error& e) {
      return e.code();
    }
    return Errc::ok;
  };
  const Segment& good = plan.route(0).segments[0];
  CHECK(code({.device = "cpu", .first = 1, .last = n}, {}) == Errc::bad_argument);
  CHECK(code(good, {.threads = 0}) == Errc::bad_argument);
  CHECK(code(good, {.storage = DType::i8}) == Errc::bad_argument);
  CHECK(code(good, {}) == Errc::ok);
}
