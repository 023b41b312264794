// The analytical models of docs/device-models.md: work (device_work.cpp) times parameters. Every time is that of a whole batch.
#include "splitcnn/device_model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "partition/device_work.hpp"

namespace splitcnn::inline v0 {

namespace {

double range_sum(const std::vector<double>& ms, NodeId first, NodeId last) {
  double sum = 0;
  for (NodeId n = first; n < last; ++n) sum += ms[n];
  return sum;
}

}  // namespace

double layer_ms(const DpuWork& work, const DpuModel& dpu) noexcept {
  if (!work.layer) return 0;
  const double compute_us = work.array_cycles / (dpu.clock_ghz * 1e3 * dpu.efficiency) + work.alu_cycles / (dpu.alu_clock_ghz * 1e3);
  const double weight_us = work.weight_bytes / ((dpu.weight_gbs > 0 ? dpu.weight_gbs : dpu.bandwidth_gbs) * 1e3);
  const double map_us = dpu.batch * work.map_bytes / (dpu.bandwidth_gbs * 1e3);
  const double memory_us = dpu.weight_gbs > 0 ? std::max(weight_us, map_us) : weight_us + map_us;
  return (std::max(compute_us, memory_us) + dpu.layer_us) / 1e3;
}

double layer_ms(const GpuWork& work, const GpuModel& gpu) noexcept {
  if (!work.kernel) return 0;
  const double batch = gpu.batch;
  const double bytes = 2 * (batch * work.maps + work.weights);
  double rate = gpu.tflops * 1e6;  // FLOP per us
  if (work.kind == GpuWork::Kind::depthwise) rate /= 4;
  if (work.kind == GpuWork::Kind::convolution || work.kind == GpuWork::Kind::dense) {
    const double tiles = work.kind == GpuWork::Kind::dense ? std::ceil(batch / 16) * std::ceil(work.channels / 16)
                                                           : std::ceil(batch * work.pixels / 128) * std::ceil(work.channels / 64);
    const double waves = std::ceil(tiles / gpu.multiprocessors);
    rate *= std::max(tiles / (waves * gpu.multiprocessors), 0.02);
  }
  return (std::max(work.flop * batch / rate, bytes / (gpu.bandwidth_gbs * 1e3)) + gpu.kernel_us) / 1e3;
}

std::vector<double> node_ms(const Graph& graph, const DpuModel& dpu) {
  std::vector<double> ms;
  for (const DpuWork& work : dpu_work(graph, dpu.on_chip_mib)) ms.push_back(layer_ms(work, dpu));
  return ms;
}

std::vector<double> node_ms(const Graph& graph, const GpuModel& gpu) {
  std::vector<double> ms;
  for (const GpuWork& work : gpu_work(graph, gpu.fused)) ms.push_back(layer_ms(work, gpu));
  return ms;
}

Profile model(const Partitioner& parts, const DpuModel& dpu, const GpuModel& gpu, const LinkModel& link) {
  const Graph& graph = parts.graph();
  const std::vector<double> on_dpu = node_ms(graph, dpu), on_gpu = node_ms(graph, gpu);
  const auto total = static_cast<NodeId>(graph.nodes().size());
  DeviceProfile d{.device = "dpu:0", .backend = dpu.name, .threads = 1, .batch = static_cast<std::size_t>(dpu.batch)};
  DeviceProfile g{.device = "gpu:0", .backend = gpu.name, .threads = 1, .batch = static_cast<std::size_t>(gpu.batch)};
  d.fixed_ms = dpu.start_us / 1e3 / dpu.batch;
  g.fixed_ms = gpu.start_us / 1e3 / gpu.batch;
  for (const Cut& cut : parts.cuts()) {
    const bool none = cut.node == 0, all = cut.node == total;
    const double bytes = crossing_elements(graph, cut);
    const double store_ms = dpu.batch * bytes / (dpu.bandwidth_gbs * 1e6);
    const double upload_ms =
        all || gpu.upload_gbs == 0 ? 0 : (none ? 2 : 1) * gpu.batch * bytes / (gpu.upload_gbs * 1e6) + gpu.upload_us / 1e3;
    d.prefix_ms.push_back(none ? 0 : (dpu.start_us / 1e3 + range_sum(on_dpu, 0, cut.node) + (all ? store_ms : 0)) / dpu.batch);
    d.suffix_ms.push_back(all ? 0 : (dpu.start_us / 1e3 + range_sum(on_dpu, cut.node, total)) / dpu.batch);
    g.prefix_ms.push_back(none ? 0 : (gpu.start_us / 1e3 + range_sum(on_gpu, 0, cut.node)) / gpu.batch);
    g.suffix_ms.push_back(all ? 0 : (gpu.start_us / 1e3 + range_sum(on_gpu, cut.node, total) + upload_ms) / gpu.batch);
  }
  Profile profile;
  profile.graph_hash = graph.hash();
  profile.granularity = parts.granularity();
  profile.origin = Origin::modelled;
  profile.devices = {std::move(d), std::move(g)};
  // Storing (or loading) what crosses, and the way over the link. Both ends of a way back to the DPU are guessed to be alike.
  const double per_byte = 1 / (link.bandwidth_gbs * 1e6) + 1 / (dpu.bandwidth_gbs * 1e6), fixed = link.fixed_us / 1e3 / dpu.batch;
  profile.links = {{"dpu:0", "gpu:0", fixed, per_byte, true}, {"gpu:0", "dpu:0", fixed, per_byte, true}};
  profile.machine = dpu.name + " + " + gpu.name;
  return profile;
}

// Both sets are what bench/fit_device_models finds, rounded to four digits.
DpuModel DpuModel::vck190_table1() {
  return {.name = "VCK190 C32B6 (model, set table1)", .efficiency = 0.5, .bandwidth_gbs = 28.33, .layer_us = 0.2, .start_us = 516.2};
}

DpuModel DpuModel::vck190_zoo() {
  return {.name = "VCK190 C32B6 (model, set zoo)",
          .efficiency = 0.6046,
          .bandwidth_gbs = 120,
          .weight_gbs = 35.66,
          .layer_us = 0.2,
          .start_us = 165.3};
}

GpuModel GpuModel::rtx2080_table1() {
  return {.name = "RTX 2080 (model, set table1)", .tflops = 41.32, .bandwidth_gbs = 0.9 * 448, .kernel_us = 12.13, .start_us = 457.3};
}

GpuModel GpuModel::rtx2080_zoo() {
  return {.name = "RTX 2080 (model, set zoo)", .tflops = 50.02, .bandwidth_gbs = 0.9 * 448, .kernel_us = 4.809, .start_us = 148.7};
}

GpuModel GpuModel::h200() {
  return {.name = "H200 (model from data sheets)",
          .batch = 8,
          .tflops = 780,
          .bandwidth_gbs = 4300,
          .kernel_us = 3,
          .start_us = 10,
          .multiprocessors = 132,
          .fused = true};
}

LinkModel LinkModel::pcie_table1() { return {.bandwidth_gbs = 4.477}; }
LinkModel LinkModel::pcie_zoo() { return {.bandwidth_gbs = 2.5}; }

}  // namespace splitcnn::inline v0
