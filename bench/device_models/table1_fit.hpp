#pragma once
/// Fits of the DPU and GPU models to the Split CNN paper's Table 1 and to AMD's published throughputs.
///
///     const FitData data = FitData::load("bench/device_models");
///     const Models table1 = fit_table1(data, {});            // all 14 Direct speed-ups
///     const SpeedUp s = best_split(data.table1[0].net, table1);
#include <filesystem>
#include <string>
#include <vector>

#include "partition/device_work.hpp"
#include "splitcnn/device_model.hpp"

/// A DPU, a GPU and what lies between them.
struct Models {
  splitcnn::DpuModel dpu;
  splitcnn::GpuModel gpu;
  splitcnn::LinkModel link;
};
Models models_table1();
Models models_zoo();
/// Path 1: the same, and the GPU's share of the time pays for the copy from host memory (11 GB/s, assumed, not fitted).
Models indirect(Models models);

/// What the models need to know of a network, walked once.
struct Net {
  std::string name;
  std::vector<splitcnn::NodeId> cut_node;     ///< per cut
  std::vector<double> crossing;               ///< elements per cut
  std::vector<splitcnn::DpuWork> dpu;
  std::vector<splitcnn::GpuWork> gpu;
};
Net make_net(const std::string& name);

struct PaperCell {
  double over_dpu = 0, over_gpu = 0;
  int index = 0;  ///< counted over splits from 1
};
struct PaperRow {
  Net net;
  PaperCell direct, indirect;
};
struct Throughput {
  Net net;
  std::string published;
  double fps = 0;
};
struct FitData {
  std::vector<PaperRow> table1;
  std::vector<Throughput> fitted, held_out;
  static FitData load(const std::filesystem::path& folder);
};

struct SpeedUp {
  double over_dpu = 0, over_gpu = 0;
  int k = 0;
  double regret = 0;  ///< period at the paper's index over the best period, minus 1
};
/// The best interior cut by the models, as the paper counts: the slower device's time per frame.
SpeedUp best_split(const Net& net, const Models& models, int paper_index);
/// ms of one batch of the whole network on the DPU.
double dpu_batch_ms(const Net& net, const splitcnn::DpuModel& dpu);

/// All eight parameters on the Direct speed-ups; `without` leaves one network out.
Models fit_table1(const FitData& data, const std::string& without);
/// The DPU's four on the published throughputs alone; then the GPU's three and the link on the Direct speed-ups with that DPU.
Models fit_zoo(const FitData& data);
