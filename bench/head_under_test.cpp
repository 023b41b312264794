#include "head_under_test.hpp"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "dpu/soft/executor.hpp"
#include "splitcnn/cpu_stage.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "splitcnn/input_transform.hpp"

namespace bench {

using namespace splitcnn;

namespace {

double milliseconds_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

/// What the process holds, once freed memory is given back.
double resident_mb() {
  malloc_trim(0);
  std::ifstream file{"/proc/self/statm"};
  double size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

Graph load_graph(const std::string& net) {
  const auto names = Graph::zoo_names();
  return std::find(names.begin(), names.end(), net) != names.end() ? Graph::zoo(net) : Graph::load(net);
}

NodeId last_legal(const Graph& graph) {
  NodeId node = 0;
  for (const Cut& cut : cuts(graph, Granularity::op)) {
    if (cut.legal) node = std::max(node, cut.node);
  }
  if (node == 0) throw Error{Errc::unsupported, graph.name() + ": no legal head"};
  return node;
}

Plan plan_for(const QuantizedGraph& quant) {
  const Graph& graph = quant.graph();
  const NodeId node = last_legal(graph);
  const auto last = static_cast<NodeId>(graph.nodes().size());
  Route route{{{.device = "dpu:0", .first = 0, .last = node}}};
  if (node < last) route.segments.push_back({.device = "cpu", .first = node, .last = last});
  Plan plan{graph, quant, {std::move(route)}};
  plan.input_transform = InputTransform{.resize = Resize::none, .mean = {128, 128, 128}, .scale = {1 / 128.f, 1 / 128.f, 1 / 128.f}};
  return plan;
}

std::vector<Tensor> tensors(std::span<const TensorSpec> specs) { return {specs.begin(), specs.end()}; }

}  // namespace

struct HeadUnderTest::Impl {
  Plan plan;
  int threads;
  double memory_mb = 0, load_ms = 0;
  std::unique_ptr<DpuStage> head;
  std::unique_ptr<CpuStage> rest;
  FrameConverter convert_frame;
  std::vector<std::uint8_t> frame;
  std::vector<Tensor> in, middle, out;

  Impl(const QuantizedGraph& quant, int t) : plan{plan_for(quant)}, threads{t}, convert_frame{*plan.input_transform, load()} {
    in = tensors(head->inputs());
    middle = tensors(head->outputs());
    if (plan.route(0).segments.size() > 1) {
      rest = std::make_unique<CpuStage>(plan, plan.route(0).segments[1], CpuStageOptions{.threads = threads});
      rest->prepare();
      out = tensors(rest->outputs());
    }
    std::mt19937 random{3};
    frame.resize(in[0].bytes().size());
    for (auto& b : frame) b = static_cast<std::uint8_t>(random());
  }

  /// The stage, its time and memory; the spec of its input.
  TensorSpec load() {
    const double before = resident_mb();
    const auto start = Clock::now();
    head = std::make_unique<DpuStage>(plan, plan.route(0).segments[0], DpuStageOptions{.threads = threads});
    head->prepare();
    load_ms = milliseconds_since(start);
    memory_mb = resident_mb() - before;
    return head->inputs()[0];
  }

  void run_frame() {
    const Shape& shape = in[0].spec().shape;  // 1, H, W, C
    const auto width = static_cast<int>(shape[2]), height = static_cast<int>(shape[1]);
    const CameraFrame camera{.format = shape[3] == 1 ? PixelFormat::gray : PixelFormat::rgb, .width = width, .height = height,
                             .planes = {frame.data(), nullptr}, .strides = {static_cast<std::size_t>(width * shape[3]), 0}};
    (void)convert_frame(camera, in[0].bytes().data());
    submit(*head, in, middle);
    if (rest) submit(*rest, middle, out);
  }

  static void submit(Stage& stage, std::vector<Tensor>& from, std::vector<Tensor>& to) {
    TensorView inputs[8], outputs[8];
    for (std::size_t i = 0; i < from.size(); ++i) inputs[i] = from[i].view();
    for (std::size_t i = 0; i < to.size(); ++i) outputs[i] = to[i].view();
    const Ticket ticket = stage.submit({.frames = 1, .inputs = std::span{inputs, from.size()}, .outputs = std::span{outputs, to.size()}});
    if (const Status s = stage.wait(ticket, Clock::time_point::max()); !s.ok()) throw Error{s.code, s.message};
  }
};

HeadUnderTest::HeadUnderTest(const std::string& net, int threads) {
  // What every process pays once, self-test included, is not the network's.
  const QuantizedGraph small = Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 1);
  DpuExecutor{small, 0, 2}.run();
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(load_graph(net), 2);
  impl_ = std::make_unique<Impl>(quant, threads);
}
HeadUnderTest::~HeadUnderTest() = default;

const Graph& HeadUnderTest::graph() const noexcept { return impl_->plan.graph(); }

std::int64_t HeadUnderTest::macs() const noexcept {
  std::int64_t sum = 0;
  for (NodeId n = 0; n < impl_->plan.route(0).segments[0].last; ++n) sum += graph().macs(n);
  return sum;
}

int HeadUnderTest::tail() const noexcept {
  return static_cast<int>(graph().nodes().size() - impl_->plan.route(0).segments[0].last);
}

nlohmann::json HeadUnderTest::costs() const {
  const Segment& s = impl_->plan.route(0).segments[0];
  const DpuMemory memory = DpuExecutor{*impl_->plan.quant(), s.first, s.last}.memory();
  const double needed = static_cast<double>(memory.weights + memory.peak_live) / 1e6;
  return {{"load_ms", impl_->load_ms},
          {"weights_mb", static_cast<double>(memory.weights) / 1e6},
          {"peak_live_mb", static_cast<double>(memory.peak_live) / 1e6},
          {"activations_mb", static_cast<double>(memory.activations) / 1e6},
          {"memory_mb", impl_->memory_mb},
          {"memory_ratio", impl_->memory_mb / needed}};
}

bool HeadUnderTest::exact() {
  const Segment& s = impl_->plan.route(0).segments[0];
  DpuExecutor fast{*impl_->plan.quant(), s.first, s.last, {.threads = impl_->threads}};
  DpuExecutor scalar{*impl_->plan.quant(), s.first, s.last, {.scalar = true}};
  std::mt19937 random{5};
  for (std::size_t i = 0; i < fast.input_ids().size(); ++i) {
    for (std::size_t k = 0; k < fast.input(i).size(); ++k) {
      const std::uint32_t r = random();
      fast.input(i)[k] = scalar.input(i)[k] = (r & 0x700) == 0 ? std::int8_t{-128} : static_cast<std::int8_t>(r & 0xff);
    }
  }
  fast.run();
  scalar.run();
  bool same = true;
  for (std::size_t o = 0; o < fast.output_ids().size(); ++o) same = same && std::ranges::equal(fast.output(o), scalar.output(o));
  return same;
}

std::vector<double> HeadUnderTest::run(int count) {
  impl_->run_frame();
  std::vector<double> ms;
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    impl_->run_frame();
    ms.push_back(milliseconds_since(start));
  }
  return ms;
}

std::vector<LayerTime> HeadUnderTest::time_layers(int runs) {
  const Segment& s = impl_->plan.route(0).segments[0];
  DpuExecutor run{*impl_->plan.quant(), s.first, s.last, {.threads = impl_->threads}};
  std::vector<LayerTime> layers;
  for (const DpuStep& step : run.steps()) layers.push_back({step.name, step.kernel, step.macs, step.bytes, 1e9});
  for (int r = 0; r < runs; ++r) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto start = Clock::now();
      run.run_step(i);
      layers[i].seconds = std::min(layers[i].seconds, milliseconds_since(start) / 1e3);
    }
  }
  return layers;
}

}  // namespace bench
