// How long a forecast takes: features, both networks and the choice of the cut, on one core. Prints one JSON line per network.
//
//     predictor_bench [--json] [WEIGHTS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "predictor/predictor_impl.hpp"

using namespace splitcnn;
using Clock = std::chrono::steady_clock;

namespace {

/// A plain network of that many layers: a convolution with its activation each, and a few residual adds.
Graph net_of(int layers) {
  GraphBuilder b{"bench"};
  TensorId x = b.input("x", {1, 32, 56, 56});
  const TensorId w = b.constant("w", {32, 32, 3, 3}, std::vector<float>(32 * 32 * 9));
  for (int i = 1; i < layers; ++i) {
    const TensorId before = x;
    x = b.add({.op = Op::conv, .inputs = {x, w}, .window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}});
    if (i % 5 == 4 && i + 1 < layers) x = b.add({.op = Op::add, .inputs = {x, before}}), ++i;
    x = b.add({.op = Op::relu, .inputs = {x}});
  }
  b.output(x);
  return std::move(b).build();
}

void measure(const Predictor& predictor, const Predictor::Impl& impl, const std::string& name, const Graph& graph) {
  const Partitioner parts{graph};
  PredictorScratch s;
  predict_layers(impl, graph, s);
  Forecast f;
  for (int i = 0; i < 200; ++i) predictor.forecast(parts, f);
  std::vector<double> us(2000);
  for (double& t : us) {
    const auto start = Clock::now();
    predictor.forecast(parts, f);
    t = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  }
  std::sort(us.begin(), us.end());
  std::printf("{\"name\": \"predictor_bench\", \"network\": \"%s\", \"nodes\": %d, \"us_median\": %.1f, \"us_p99\": %.1f, \"runs\": %zu, \"isa\": \"%s\", \"threads\": 1}\n",
              name.c_str(), s.layers.count, us[us.size() / 2], us[us.size() * 99 / 100], us.size(), predictor_isa());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string last = argc > 1 ? argv[argc - 1] : "--json", file = last == "--json" ? SPLITCNN_WEIGHTS : last;
  try {
    const Predictor predictor = Predictor::load(file);
    const Predictor::Impl impl{SafeTensors::parse(SafeTensors::read(file), file)};
    for (const int layers : {24, 60, 160}) measure(predictor, impl, "plain", net_of(layers));
    for (const char* name : {"resnet50", "googlenet", "mobilenet_v2"}) measure(predictor, impl, name, Graph::zoo(name));
  } catch (const Error& e) {
    std::fprintf(stderr, "predictor_bench: %s\n", e.what());
    return 1;
  }
}
