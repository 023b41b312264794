#pragma once
/// A small network for GpuStage, the fake plug-in it runs on, and what the library said meanwhile.
#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

#include "cpu/cases.hpp"
#include "gpu/fake_device.hpp"
#include "splitcnn/cpu_stage.hpp"
#include "splitcnn/gpu_stage.hpp"

namespace splitcnn_test {

/// Convolutions with a shortcut, a pool, a dense layer: something for each kind of kernel. 10 nodes, the add
/// is number 4.
inline Graph small_net(std::int64_t side) {
  Random random{seed()};
  Maker m{random};
  const auto conv = [&](TensorId t, std::int64_t out) {
    return m.add(
        {.op = Op::conv,
         .inputs = {t, m.constant({out, m.shape(t)[1], 3, 3}, -0.3f, 0.3f), m.constant({out})},
         .window = {
             .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}});
  };
  const TensorId x = m.input({1, 3, side, side});
  const TensorId a = m.add({.op = Op::relu, .inputs = {conv(x, 8)}});
  const TensorId b = conv(a, 8);
  const TensorId scaled = m.add({.op = Op::sigmoid, .inputs = {b}});
  const TensorId c = m.add({.op = Op::add, .inputs = {a, scaled}});
  const TensorId pooled =
      m.add({.op = Op::global_average_pool, .inputs = {m.add({.op = Op::relu, .inputs = {c}})}});
  const TensorId flat = m.add({.op = Op::reshape, .inputs = {pooled}}, Shape{1, 8});
  return m.finish(m.add({.op = Op::gemm,
                         .inputs = {flat, m.constant({5, 8}), m.constant({5})},
                         .transpose_b = true,
                         .alpha = 1,
                         .beta = 1}));
}

inline Plan on_device(const Graph& graph, const char* device = "gpu:0") {
  const auto n = static_cast<NodeId>(graph.nodes().size());
  return {graph,
          {},
          {{.segments = {{.device = device, .first = 0, .last = n, .first_unit = 0, .last_unit = 1}}}}};
}

/// Points the library at a plug-in for as long as it lives.
class PluginPath {
 public:
  explicit PluginPath(const std::string& path) { setenv("SPLITCNN_GPU_PLUGIN", path.c_str(), 1); }
  ~PluginPath() { unsetenv("SPLITCNN_GPU_PLUGIN"); }
};

/// The fake plug-in as the library finds it, its faults reset; afterwards everything it handed out must be
/// back.
class FakePlugin {
 public:
  FakePlugin() : path_{SPLITCNN_FAKE_GPU} {
    void* library = dlopen(SPLITCNN_FAKE_GPU, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library);
    control_ = reinterpret_cast<FakeControl* (*)()>(dlsym(library, "splitcnn_fake_control"))();
    control_->reset();
  }
  ~FakePlugin() { CHECK(control_->alive() == 0); }
  FakeControl* operator->() const { return control_; }

 private:
  PluginPath path_;
  FakeControl* control_;
};

/// What went through the log handler.
class Messages {
 public:
  Messages() {
    set_log_handler([this](LogLevel, std::string_view text) {
      const std::lock_guard lock{mutex_};
      all_ += std::string{text} + "\n";
    });
  }
  ~Messages() {
    set_log_handler([](LogLevel, std::string_view) {});
  }
  bool has(std::string_view part) const {
    const std::lock_guard lock{mutex_};
    return all_.find(part) != std::string::npos;
  }
  std::string text() const {
    const std::lock_guard lock{mutex_};
    return all_;
  }

 private:
  mutable std::mutex mutex_;
  std::string all_;
};

/// Frames of their own and what the float network makes of them.
struct Frames {
  std::vector<Tensor> in, out;
  std::vector<std::vector<float>> expected;

  Frames(const Graph& graph, std::size_t n) {
    Random random{seed() + 1};
    const Plan plan = on_device(graph, "cpu");
    CpuStage cpu{plan, plan.route(0).segments[0]};
    cpu.prepare();
    for (std::size_t f = 0; f < n; ++f) {
      in.emplace_back(cpu.inputs()[0]);
      random.fill(in.back().as<float>(), f % 2 ? 0.0f : -1.0f, 1.0f + 0.1f * static_cast<float>(f));
      out.emplace_back(cpu.outputs()[0]);
      const TensorView from = in.back().view(), to = out.back().view();
      REQUIRE(cpu.wait(cpu.submit({1, {&from, 1}, {&to, 1}}), Clock::time_point::max()).ok());
      const auto values = out.back().as<float>();
      expected.emplace_back(values.begin(), values.end());
      std::fill(values.begin(), values.end(), -77.0f);
    }
  }
  /// Submits frames [first, first + n).
  Ticket submit(Stage& stage, std::size_t first, std::size_t n) {
    std::vector<TensorView> from, to;
    for (std::size_t f = first; f < first + n; ++f) {
      from.push_back(in[f].view());
      to.push_back(out[f].view());
    }
    return stage.submit({n, from, to});
  }
  double worst() {
    double e = 0;
    for (std::size_t f = 0; f < in.size(); ++f) e = std::max(e, error(out[f].as<float>(), expected[f]));
    return e;
  }
};

/// FP16 against float on these networks.
constexpr double f16_error = 4e-3;

}  // namespace splitcnn_test
