// How long does a whole network take as one GPU segment, host memory to host memory, batch by batch, and are
// its results those of the float CPU? JSON lines; `ours_ms` is the median of one batch alone in the stage.
// Ends with 77 and the reason where no GPU answers: a stand-in's times would say nothing about a GPU.
//
//     gpu_bench [NET...]        without names: every network of the zoo
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;

namespace {

constexpr std::size_t batches[] = {1, 2, 4, 8, 16};
constexpr std::size_t most = 16;  // frames with results of the float CPU

Plan whole(const Graph& graph, const char* device) {
  const auto n = static_cast<NodeId>(graph.nodes().size());
  return {graph,
          {},
          {{.segments = {{.device = device, .first = 0, .last = n, .first_unit = 0, .last_unit = 1}}}}};
}

/// Frames of one network: inputs, what the float CPU makes of them, room for what the GPU does.
struct Frames {
  std::vector<Tensor> in, expected, out;

  explicit Frames(const Graph& graph) {
    const Plan plan = whole(graph, "cpu");
    CpuStage cpu{plan, plan.route(0).segments[0]};
    cpu.prepare();
    std::mt19937 random{1};
    std::normal_distribution<float> values{0, 1};
    for (std::size_t f = 0; f < most; ++f) {
      in.emplace_back(cpu.inputs()[0]);
      for (float& v : in.back().as<float>()) v = values(random);
      expected.emplace_back(cpu.outputs()[0]);
      out.emplace_back(cpu.outputs()[0]);
      const TensorView from = in.back().view(), to = expected.back().view();
      const Status status = cpu.wait(cpu.submit({1, {&from, 1}, {&to, 1}}), Clock::time_point::max());
      if (!status.ok()) throw Error{status.code, status.message};
    }
  }

  double run(Stage& stage, std::size_t batch) {
    std::vector<TensorView> from, to;
    for (std::size_t f = 0; f < batch; ++f) {
      from.push_back(in[f].view());
      to.push_back(out[f].view());
    }
    const Clock::time_point start = Clock::now();
    const Status status = stage.wait(stage.submit({batch, from, to}), Clock::time_point::max());
    const double ms = Millis{Clock::now() - start}.count();
    if (!status.ok()) throw Error{status.code, status.message};
    return ms;
  }

  /// Over the first `batch` frames.
  std::pair<double, bool> compare(std::size_t batch) const {
    double wrong = 0, size = 0;
    bool same_top = true;
    for (std::size_t f = 0; f < batch; ++f) {
      const auto a = out[f].as<float>(), b = expected[f].as<float>();
      for (std::size_t i = 0; i < a.size(); ++i) {
        wrong += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        size += std::pow(static_cast<double>(b[i]), 2);
      }
      same_top = same_top && std::max_element(a.begin(), a.end()) - a.begin() ==
                                 std::max_element(b.begin(), b.end()) - b.begin();
    }
    return {std::sqrt(wrong / size), same_top};
  }
};

double median_ms(Frames& frames, Stage& stage, std::size_t batch) {
  for (int i = 0; i < 20; ++i) (void)frames.run(stage, batch);
  std::vector<double> times;
  double total = 0;
  while (times.size() < 20 || (total < 500 && times.size() < 2000)) {
    times.push_back(frames.run(stage, batch));
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

void bench(const std::string& net, const std::string& card) {
  const Graph graph = Graph::zoo(net);
  Frames frames{graph};
  const Plan plan = whole(graph, "gpu:0");
  GpuStage stage{plan,
                 plan.route(0).segments[0],
                 {.backend = GpuBackend::cudnn, .tune = GpuTuning::full, .max_batch = 16}};
  stage.prepare();
  for (const std::size_t batch : batches) {
    const double ms = median_ms(frames, stage, batch);
    const auto [rel_l2, top1_equal] = frames.compare(batch);
    const nlohmann::json line{{"bench", "gpu_bench"},
                              {"net", net},
                              {"batch", batch},
                              {"ours_ms", ms},
                              {"rel_l2", rel_l2},
                              {"top1_equal", top1_equal},
                              {"backend", stage.backend()},
                              {"pieces", stage.pieces()},
                              {"transfer", stage.transfer()},
                              {"card", card},
                              {"origin", "measured"}};
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::string card;
  if (!GpuStage::available(&card)) {
    fmt::print(stderr, "gpu_bench: {}\n", card);
    return 77;
  }
  std::vector<std::string> nets{argv + 1, argv + argc};
  if (nets.empty()) nets = Graph::zoo_names();
  for (const std::string& net : nets) bench(net, card);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "gpu_bench: {}\n", e.what());
  return 1;
}
