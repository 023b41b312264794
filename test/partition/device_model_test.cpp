#include "splitcnn/device_model.hpp"

#include <cmath>
#include <cstdio>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// Table 1, Direct, of arXiv 2605.00174: speed-up over the DPU alone and over the GPU alone, and the layer index.
struct PaperRow {
  const char* model;
  double over_dpu, over_gpu;
  int index;
};
constexpr PaperRow table1[] = {{"resnet18", 1.25, 2.04, 10},  {"resnet50", 1.35, 2.14, 14}, {"resnet101", 1.30, 2.41, 27},
                               {"resnet152", 1.34, 2.47, 39}, {"vgg16", 2.48, 1.40, 12},    {"mobilenet_v2", 1.10, 3.15, 16},
                               {"lenet5", 1.01, 1.15, 4}};

struct Speedup {
  double over_dpu = 0, over_gpu = 0;
  int k = 0;
};

/// The best interior cut, as the paper counts: period of the slower device.
Speedup best_cut(const char* name, const DpuModel& dpu, const GpuModel& gpu, const LinkModel& link) {
  const Partitioner parts{Graph::zoo(name), Granularity::paper};
  const Profile profile = model(parts, dpu, gpu, link);
  const int last = static_cast<int>(parts.cuts().size()) - 1;
  const double on_dpu = profile.segment_ms("dpu:0", 0, last), on_gpu = profile.segment_ms("gpu:0", 0, last);
  Speedup best;
  for (int k = 1; k < last; ++k) {
    const double head = profile.segment_ms("dpu:0", 0, k);
    const double period = std::max(head, profile.segment_ms("gpu:0", k, last));
    if (on_dpu / period > best.over_dpu) best = {on_dpu / period, on_gpu / period, k};
  }
  return best;
}

}  // namespace

TEST_CASE("set table1 reproduces the paper's Table 1 within its fit") {
  double sum = 0, worst = 0;
  for (const PaperRow& row : table1) {
    const Speedup s = best_cut(row.model, DpuModel::vck190_table1(), GpuModel::rtx2080_table1(), LinkModel::pcie_table1());
    const double errors[] = {std::abs(s.over_dpu / row.over_dpu - 1), std::abs(s.over_gpu / row.over_gpu - 1)};
    std::printf("modelled (table1) %-12s %.2f / %.2f at k = %d; paper %.2f / %.2f at index %d\n", row.model, s.over_dpu, s.over_gpu, s.k,
                row.over_dpu, row.over_gpu, row.index);
    for (const double e : errors) sum += e, worst = std::max(worst, e);
    if (std::string{row.model} != "lenet5") CHECK(std::abs(s.k - (row.index - 1)) <= 2);
  }
  CHECK(sum / 14 <= 0.04);
  CHECK(worst <= 0.12);
}

TEST_CASE("set zoo gives the batch times AMD's published throughputs imply") {
  struct Row {
    const char* model;
    double frames_per_second;  // multi-thread, C32B6 (Xilinx/Vitis-AI model zoo, Vitis AI 2.5)
  };
  for (const Row& row : {Row{"resnet50", 2773}, Row{"resnet101", 1756}, Row{"resnet152", 1216}, Row{"vgg16", 655}}) {
    const Partitioner parts{Graph::zoo(row.model), Granularity::paper};
    const Profile profile = model(parts, DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo());
    const double ours = profile.devices[0].prefix_ms.back(), published = 1000 / row.frames_per_second;
    INFO(row.model << ": modelled " << ours << " ms per frame, published " << published);
    CHECK(std::abs(ours / published - 1) <= 0.15);
  }
}

TEST_CASE("modelled profiles say so and grow with the prefix") {
  const Partitioner parts{Graph::zoo("mobilenet_v2", {.input_size = 96})};
  const Profile profile = model(parts, DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo());
  CHECK(profile.origin == Origin::modelled);
  for (std::size_t k = 1; k < parts.cuts().size(); ++k) {
    CHECK(profile.devices[1].prefix_ms[k] >= profile.devices[1].prefix_ms[k - 1]);
    CHECK(profile.devices[1].suffix_ms[k] <= profile.devices[1].suffix_ms[k - 1]);
  }
  CHECK(profile.devices[0].prefix_ms.front() == 0);
  CHECK(profile.devices[1].suffix_ms.back() == 0);
}
