#pragma once
// splitcnn bench: what is measured, apart from how it is shown.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "splitcnn/splitcnn.hpp"

namespace tool {

namespace sc = splitcnn;

struct StageNumbers {
  std::string name, device;
  double isolated_ms = 0;  ///< per frame, the stage alone in this process
  double busy_ms = 0;      ///< per frame, while the pipeline runs
};

/// One configuration measured. All numbers are medians over the alternations, times per frame.
struct Measurement {
  std::string title;       ///< "split at 9", "all-DPU"
  std::optional<int> cut;  ///< units before it are on the first device; none for frame interleave
  double interval_ms = 0;  ///< between results, frames always waiting
  double latency_ms_p50 = 0, latency_ms_p99 = 0;  ///< push to result, one frame at a time
  double efficiency = 0;                          ///< busiest device's isolated time / interval
  std::vector<StageNumbers> stages;
};

struct BenchReport {
  std::string model;
  std::size_t frames = 0;
  int alternations = 0;
  std::string why;  ///< of the cut, when it was chosen here
  Measurement main;
  std::optional<Measurement> all_dpu, all_gpu, interleave;
};

nlohmann::json to_json(const BenchReport& report);
std::string to_text(const BenchReport& report);

}  // namespace tool
