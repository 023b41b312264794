#pragma once
/// What the machine's own energy counters say a stage draws.
#include <filesystem>
#include <memory>
#include <vector>

#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

/// The processor's counters (RAPL: intel-rapl:N/energy_uj below /sys/class/powercap, Linux: Documentation/power/powercap/powercap.rst;
/// newer kernels let only root read them) and those of all NVIDIA GPUs (NVML: nvmlDeviceGetTotalEnergyConsumption, Volta and
/// newer; the library is looked for when this is built). Not thread-safe.
class EnergyCounters {
 public:
  explicit EnergyCounters(const std::filesystem::path& powercap = "/sys/class/powercap", const char* nvml = "libnvidia-ml.so.1");
  ~EnergyCounters();

  [[nodiscard]] bool of_processor() const noexcept { return !packages_.empty(); }
  [[nodiscard]] bool of_gpus() const noexcept { return gpus_ != nullptr; }

  /// Begins to count.
  void start();
  /// Millijoules of everything that can be read since then, wrapped counters unwrapped. NaN when one could not be read any more.
  [[nodiscard]] double millijoules();

 private:
  struct Package {
    std::filesystem::path folder;
    double range_uj = 0, start_uj = 0;
  };
  struct Gpus;

  std::vector<Package> packages_;
  std::unique_ptr<Gpus> gpus_;
  double gpus_start_mj_ = 0;
};

/// Watts the machine draws above idle while the stage runs. NaN where the counters do not see the stage: a stage on the processor needs
/// the processor's, one on a GPU the GPUs'. Takes seconds; prepares the stage.
double watts_of(Stage& stage, bool on_gpu, EnergyCounters& counters);

}  // namespace splitcnn::inline v0
