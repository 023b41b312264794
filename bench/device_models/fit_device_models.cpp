// Fits the two parameter sets of docs/device-models.md from the data beside this file and prints them with their errors, JSON lines.
// Everything printed is modelled.
#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "device_models/table1_fit.hpp"

using namespace splitcnn;

namespace {

nlohmann::json parameters(const Models& m) {
  return {{"efficiency", m.dpu.efficiency}, {"dpu_bandwidth_gbs", m.dpu.bandwidth_gbs}, {"weight_gbs", m.dpu.weight_gbs}, {"layer_us", m.dpu.layer_us},
          {"dpu_start_us", m.dpu.start_us}, {"gpu_tflops", m.gpu.tflops},               {"gpu_start_us", m.gpu.start_us},
          {"kernel_us", m.gpu.kernel_us},   {"link_gbs", m.link.bandwidth_gbs}};
}

void print_set(const char* set, const char* how, const Models& m, const FitData& data) {
  fmt::print("{}\n", nlohmann::json{{"set", set}, {"parameters", how}, {"values", parameters(m)}}.dump());
  double sum = 0, worst = 0;
  for (const PaperRow& row : data.table1) {
    const SpeedUp s = best_split(row.net, m, row.direct.index);
    const double over_dpu = 100 * (s.over_dpu / row.direct.over_dpu - 1), over_gpu = 100 * (s.over_gpu / row.direct.over_gpu - 1);
    sum += std::abs(over_dpu) + std::abs(over_gpu);
    worst = std::max({worst, std::abs(over_dpu), std::abs(over_gpu)});
    fmt::print("{}\n", nlohmann::json{{"set", set}, {"model", row.net.name}, {"k", s.k}, {"paper_k", row.direct.index - 1},
                                      {"error_dpu_pct", over_dpu}, {"error_gpu_pct", over_gpu}, {"regret_pct", 100 * s.regret}}.dump());
  }
  fmt::print("{}\n", nlohmann::json{{"set", set}, {"table1_mean_abs_pct", sum / 14}, {"table1_max_abs_pct", worst}}.dump());
  for (const auto& [kind, list] : {std::pair{"fitted", &data.fitted}, std::pair{"held out", &data.held_out}}) {
    for (const Throughput& t : *list) {
      const double ms = dpu_batch_ms(t.net, m.dpu);
      fmt::print("{}\n", nlohmann::json{{"set", set}, {"throughput", t.published}, {"use", kind}, {"batch_ms", ms},
                                        {"published_ms", 6e3 / t.fps}, {"error_pct", 100 * (ms * t.fps / 6e3 - 1)}}.dump());
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const FitData data = FitData::load(argc > 1 ? argv[1] : SPLITCNN_DEVICE_MODEL_DATA);
  print_set("table1", "fitted now", fit_table1(data, {}), data);
  print_set("table1", "in the library", models_table1(), data);
  print_set("zoo", "fitted now", fit_zoo(data), data);
  print_set("zoo", "in the library", models_zoo(), data);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "fit_device_models: {}\n", e.what());
  return 1;
}
