#include "device_models/table1_fit.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "device_models/nets.hpp"
#include "partition/minimise.hpp"

using namespace splitcnn;

namespace {

struct Curves {
  std::vector<double> dpu, gpu;  // ms per batch, per cut
};

/// The same sums as model(), per batch, from work that was walked once. The fit's tests compare the two.
Curves curves(const Net& net, const Models& m) {
  const std::size_t cuts = net.cut_node.size(), last = cuts - 1;
  std::vector<double> before_dpu(net.dpu.size() + 1, 0), before_gpu(net.gpu.size() + 1, 0);
  for (std::size_t n = 0; n < net.dpu.size(); ++n) {
    before_dpu[n + 1] = before_dpu[n] + layer_ms(net.dpu[n], m.dpu);
    before_gpu[n + 1] = before_gpu[n] + layer_ms(net.gpu[n], m.gpu);
  }
  Curves c;
  for (std::size_t k = 0; k < cuts; ++k) {
    const double bytes = net.crossing[k], batch = m.dpu.batch;
    const double store = batch * bytes / (m.dpu.bandwidth_gbs * 1e6);
    const double link = k == last ? 0 : batch * bytes / (m.link.bandwidth_gbs * 1e6) + m.link.fixed_us / 1e3;
    const double upload = m.gpu.upload_gbs == 0 ? 0 : (k == 0 ? 2 : 1) * batch * bytes / (m.gpu.upload_gbs * 1e6) + m.gpu.upload_us / 1e3;
    c.dpu.push_back(k == 0 ? 0 : m.dpu.start_us / 1e3 + before_dpu[net.cut_node[k]] + store + link);
    c.gpu.push_back(k == last ? 0 : m.gpu.start_us / 1e3 + before_gpu.back() - before_gpu[net.cut_node[k]] + upload);
  }
  return c;
}

double squared_log(double ours, double theirs) {
  const double e = std::log(ours / theirs);
  return e * e;
}

constexpr ParameterRange dpu_ranges[] = {{0.5, 0.95}, {15, 60}, {0.2, 8}, {20, 800}};
constexpr ParameterRange gpu_ranges[] = {{20, 80}, {0, 600}, {1, 15}, {2.5, 8}};

DpuModel dpu_of(std::span<const double> x) {
  DpuModel dpu = DpuModel::vck190_table1();
  dpu.efficiency = x[0], dpu.bandwidth_gbs = x[1], dpu.layer_us = x[2], dpu.start_us = x[3];
  return dpu;
}

/// Weights through ports of their own; the time per layer, which no fit ever wanted, stays at its least.
constexpr ParameterRange zoo_ranges[] = {{0.5, 0.95}, {15, 120}, {15, 120}, {20, 800}};
DpuModel zoo_dpu_of(std::span<const double> x) {
  DpuModel dpu = DpuModel::vck190_zoo();
  dpu.efficiency = x[0], dpu.bandwidth_gbs = x[1], dpu.weight_gbs = x[2], dpu.layer_us = 0.2, dpu.start_us = x[3];
  return dpu;
}

Models with_gpu(DpuModel dpu, std::span<const double> x) {
  Models m{std::move(dpu), GpuModel::rtx2080_table1(), {}};
  m.gpu.tflops = x[0], m.gpu.start_us = x[1], m.gpu.kernel_us = x[2], m.link.bandwidth_gbs = x[3];
  return m;
}

/// Squared log errors of both speed-ups, and how much worse the paper's own cut is by the model. LeNet-5 counts half.
double table1_loss(const FitData& data, const Models& m, const std::string& without) {
  double loss = 0;
  for (const PaperRow& row : data.table1) {
    if (row.net.name == without) continue;
    const SpeedUp s = best_split(row.net, m, row.direct.index);
    const double regret = std::min(s.regret, 0.5);
    loss += (row.net.name == "lenet5" ? 0.5 : 1) *
            (squared_log(s.over_dpu, row.direct.over_dpu) + squared_log(s.over_gpu, row.direct.over_gpu) + regret * regret);
  }
  return loss;
}

}  // namespace

Models models_table1() { return {DpuModel::vck190_table1(), GpuModel::rtx2080_table1(), LinkModel::pcie_table1()}; }
Models models_zoo() { return {DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo()}; }

Models indirect(Models m) {
  m.gpu.upload_gbs = 11;
  m.gpu.upload_us = 10;
  return m;
}

Net make_net(const std::string& name) {
  const Graph graph = reference_net(name);
  Net net{.name = name, .dpu = dpu_work(graph, 2), .gpu = gpu_work(graph, false)};
  for (const Cut& cut : cuts(graph, Granularity::paper)) {
    net.cut_node.push_back(cut.node);
    net.crossing.push_back(crossing_elements(graph, cut));
  }
  return net;
}

FitData FitData::load(const std::filesystem::path& folder) {
  const auto read = [&](const char* file) {
    std::ifstream in{folder / file};
    if (!in) throw Error{Errc::io, (folder / file).string() + ": cannot be read; give the folder bench/device_models"};
    return nlohmann::json::parse(in);
  };
  FitData data;
  const nlohmann::json table1 = read("table1.json"), zoo = read("zoo_throughput.json");
  for (const auto& row : table1.at("rows")) {
    const auto cell = [&](const char* key) { return PaperCell{row.at(key)[0], row.at(key)[1], row.at(key)[2]}; };
    data.table1.push_back({make_net(row.at("model")), cell("direct"), cell("indirect")});
  }
  for (const auto& [key, list] : {std::pair{"fitted", &data.fitted}, std::pair{"held_out", &data.held_out}}) {
    for (const auto& row : zoo.at(key)) list->push_back({make_net(row.at("model")), row.at("published"), row.at("fps")});
  }
  return data;
}

SpeedUp best_split(const Net& net, const Models& models, int paper_index) {
  const Curves c = curves(net, models);
  const std::size_t last = c.dpu.size() - 1;
  const auto period = [&](std::size_t k) { return std::max(c.dpu[k], c.gpu[k]); };
  std::size_t best = 1;
  for (std::size_t k = 2; k < last; ++k) {
    if (period(k) < period(best)) best = k;
  }
  const auto paper = static_cast<std::size_t>(paper_index - 1);
  return {c.dpu[last] / period(best), c.gpu[0] / period(best), static_cast<int>(best), period(paper) / period(best) - 1};
}

double dpu_batch_ms(const Net& net, const DpuModel& dpu) { return curves(net, {dpu, GpuModel::rtx2080_table1(), {}}).dpu.back(); }

Models fit_table1(const FitData& data, const std::string& without) {
  std::vector<ParameterRange> ranges{std::begin(dpu_ranges), std::end(dpu_ranges)};
  ranges.insert(ranges.end(), std::begin(gpu_ranges), std::end(gpu_ranges));
  const auto models = [](std::span<const double> x) { return with_gpu(dpu_of(x), x.subspan(4)); };
  return models(minimise(ranges, [&](std::span<const double> x) { return table1_loss(data, models(x), without); }));
}

Models fit_zoo(const FitData& data) {
  const DpuModel dpu = zoo_dpu_of(minimise(zoo_ranges, [&](std::span<const double> x) {
    double loss = 0;
    for (const Throughput& t : data.fitted) loss += squared_log(dpu_batch_ms(t.net, zoo_dpu_of(x)), 6e3 / t.fps);
    return loss;
  }));
  return with_gpu(dpu, minimise(gpu_ranges, [&](std::span<const double> x) { return table1_loss(data, with_gpu(dpu, x), {}); }));
}
