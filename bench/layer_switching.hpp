#pragma once
/// The layer-switching paper's experiment: its AlexNet by its own times, and five networks on two devices of this machine.
#include <string>

struct AlexnetResult {
  double latency_ms = 0, gain_over_cpu_pct = 0, gain_over_gpu_pct = 0;
  std::string order;
};
AlexnetResult alexnet_by_paper_times();

struct SwitchedLatency {
  std::string first, second;  ///< devices
  double first_ms = 0, second_ms = 0, switched_ms = 0;  ///< one frame at a time, medians, all through the pipeline
  double predicted_ms = 0;    ///< what the profile said of the switched plan
  std::string order;          ///< F: first device, S: second
};
/// Single-frame latency on the software DPU alone (with the CPU behind its last legal cut), on the CPU alone, and switched by the
/// optimal plan of a profile measured here.
SwitchedLatency measure_switched(const std::string& zoo_name, int runs);
