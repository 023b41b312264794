#include "predictor/truth.hpp"

#include <algorithm>
#include <cmath>

namespace splitcnn_training {

namespace sc = splitcnn;

namespace {

const sc::DpuModel& dpu() {
  static const sc::DpuModel model = sc::DpuModel::vck190_zoo();
  return model;
}
const sc::GpuModel& gpu() {
  static const sc::GpuModel model = sc::GpuModel::rtx2080_zoo();
  return model;
}

std::vector<double> by_layer(const sc::Layers& layers, const std::vector<double>& node_ms) {
  std::vector<double> us(static_cast<std::size_t>(layers.count), 0);
  for (std::size_t n = 0; n < node_ms.size(); ++n) us[static_cast<std::size_t>(layers.layer_of[n])] += node_ms[n] * 1e3;
  return us;
}

}  // namespace

sc::BaseModel base_of(const sc::DpuModel& m) {
  return {.kind = sc::BaseModel::Kind::dpu,
          .batch = static_cast<double>(m.batch),
          .compute_us = 1 / (m.clock_ghz * 1e3 * m.efficiency),
          .alu_us = 1 / (m.alu_clock_ghz * 1e3),
          .weight_us = 1 / (m.bandwidth_gbs * 1e3),
          .map_us = 1 / (m.bandwidth_gbs * 1e3),
          .layer_us = m.layer_us};
}

sc::BaseModel base_of(const sc::GpuModel& m) {
  return {.kind = sc::BaseModel::Kind::gpu,
          .batch = static_cast<double>(m.batch),
          .compute_us = 1 / (m.tflops * 1e6),
          .weight_us = 2 / (m.bandwidth_gbs * 1e3),
          .map_us = 2 / (m.bandwidth_gbs * 1e3),
          .layer_us = m.kernel_us,
          .processors = static_cast<double>(m.multiprocessors)};
}

Sample sample(const sc::Graph& graph, int family, std::uint64_t skeleton) {
  Sample s{.family = family, .skeleton = skeleton};
  sc::describe(graph, base_of(sc::DpuModel::vck190_table1()), base_of(sc::GpuModel::rtx2080_table1()), s.layers);
  s.head_us = by_layer(s.layers, sc::node_ms(graph, dpu()));
  s.tail_us = by_layer(s.layers, sc::node_ms(graph, gpu()));
  const sc::LinkModel link = sc::LinkModel::pcie_zoo();
  const auto nodes = static_cast<sc::NodeId>(graph.nodes().size());
  for (const sc::Cut& cut : sc::cuts(graph)) {
    double bytes = 0;
    for (const sc::TensorId t : cut.tensors) bytes += static_cast<double>(graph.tensor(t).shape.elements());
    const bool inside = cut.node > 0 && cut.node < nodes;
    const double per_byte = 1 / (link.bandwidth_gbs * 1e6) + 1 / (dpu().bandwidth_gbs * 1e6);
    s.cut_layer.push_back(cut.node == 0 ? 0 : s.layers.layer_of[cut.node - 1]);
    s.link_ms.push_back(inside ? link.fixed_us / 1e3 / dpu().batch + bytes * per_byte : 0);
    s.legal.push_back(cut.legal);
  }
  return s;
}

Optimum optimum(const Sample& s) {
  const double batch = dpu().batch;
  const std::size_t cuts = s.cut_layer.size();
  std::vector<double> head(s.head_us.size()), tail(s.tail_us.size() + 1, 0);
  double sum = 0;
  for (std::size_t l = 0; l < head.size(); ++l) head[l] = sum += s.head_us[l];
  for (std::size_t l = tail.size() - 1; l-- > 0;) tail[l] = tail[l + 1] + s.tail_us[l];
  Optimum best{.interval_ms = 1e30};
  for (std::size_t k = 0; k < cuts; ++k) {
    const auto layer = static_cast<std::size_t>(s.cut_layer[k]);
    const double d = k == 0 ? 0 : (dpu().start_us + head[layer]) / 1e3 / batch + s.link_ms[k];
    const double g = k + 1 == cuts ? 0 : (gpu().start_us + tail[layer + 1]) / 1e3 / batch;
    const double interval = std::max(d, g);
    if (k == 0) best.tail_alone_ms = interval;
    if (k + 1 == cuts) best.head_alone_ms = interval;
    if (s.legal[k] && interval < best.interval_ms) best.k = static_cast<int>(k), best.interval_ms = interval;
  }
  best.gain = std::min(best.tail_alone_ms, best.head_alone_ms) / best.interval_ms;
  return best;
}

}  // namespace splitcnn_training
