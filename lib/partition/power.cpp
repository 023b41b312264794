#include "partition/power.hpp"

#include <dlfcn.h>

#include <fstream>
#include <thread>

#include "partition/numbers.hpp"
#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr Millis window{1000};  // NVML's counters move ten times a second or so

double read_number(const std::filesystem::path& path) {
  std::ifstream file{path};
  double value = 0;
  return file >> value ? value : nan;
}

template <class Busy>
double watts_during(EnergyCounters& counters, Busy busy) {
  counters.start();
  const Clock::time_point start = Clock::now();
  while (Clock::now() - start < window) busy();
  return counters.millijoules() / Millis{Clock::now() - start}.count();
}

}  // namespace

/// The few functions of NVML (its API reference, Device Queries) that are needed, found at run time: the library comes with the driver.
struct EnergyCounters::Gpus {
  using Device = struct nvmlDevice_st*;
  void* library = nullptr;
  int (*shutdown)() = nullptr;
  int (*energy)(Device, unsigned long long*) = nullptr;
  std::vector<Device> devices;

  ~Gpus() {
    if (shutdown) shutdown();
    if (library) dlclose(library);
  }

  template <class F>
  bool find(F& function, const char* name) const {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
  }

  /// Null where there is no NVML, or no GPU that counts.
  static std::unique_ptr<Gpus> open(const char* name) {
    auto gpus = std::make_unique<Gpus>();
    int (*init)() = nullptr, (*count)(unsigned*) = nullptr, (*handle)(unsigned, Device*) = nullptr, (*shutdown)() = nullptr;
    gpus->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const bool complete = gpus->library && gpus->find(init, "nvmlInit_v2") && gpus->find(shutdown, "nvmlShutdown") && gpus->find(count, "nvmlDeviceGetCount_v2") &&
                          gpus->find(handle, "nvmlDeviceGetHandleByIndex_v2") && gpus->find(gpus->energy, "nvmlDeviceGetTotalEnergyConsumption");
    if (!complete || init() != 0) return nullptr;
    gpus->shutdown = shutdown;
    unsigned devices = 0;
    if (count(&devices) != 0) return nullptr;
    for (unsigned i = 0; i < devices; ++i) {
      Device device = nullptr;
      unsigned long long mj = 0;
      if (handle(i, &device) == 0 && gpus->energy(device, &mj) == 0) gpus->devices.push_back(device);
    }
    return gpus->devices.empty() ? nullptr : std::move(gpus);
  }

  [[nodiscard]] double millijoules() const {
    double sum = 0;
    for (const Device device : devices) {
      unsigned long long mj = 0;
      sum += energy(device, &mj) == 0 ? static_cast<double>(mj) : nan;
    }
    return sum;
  }
};

EnergyCounters::EnergyCounters(const std::filesystem::path& powercap, const char* nvml) : gpus_{Gpus::open(nvml)} {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{powercap, error}) {
    const std::string name = entry.path().filename().string();
    const bool package = name.starts_with("intel-rapl:") && name.find(':', 11) == std::string::npos;
    if (!package) continue;
    const Package p{entry.path(), read_number(entry.path() / "max_energy_range_uj"), read_number(entry.path() / "energy_uj")};
    if (!(p.range_uj > 0) || !(p.start_uj >= 0)) {  // one that may not be read: the rest would be half of the truth
      packages_.clear();
      break;
    }
    packages_.push_back(p);
  }
}

EnergyCounters::~EnergyCounters() = default;

void EnergyCounters::start() {
  for (Package& p : packages_) p.start_uj = read_number(p.folder / "energy_uj");
  if (gpus_) gpus_start_mj_ = gpus_->millijoules();
}

double EnergyCounters::millijoules() {
  double sum = 0;
  for (const Package& p : packages_) {
    const double uj = read_number(p.folder / "energy_uj") - p.start_uj;
    sum += (uj < 0 ? uj + p.range_uj : uj) / 1e3;
  }
  return gpus_ ? sum + gpus_->millijoules() - gpus_start_mj_ : sum;
}

double watts_of(Stage& stage, bool on_gpu, EnergyCounters& counters) {
  if (!(on_gpu ? counters.of_gpus() : counters.of_processor())) return nan;
  const NoiseBatch noise{stage};
  stage.prepare();
  const double idle = watts_during(counters, [] { std::this_thread::sleep_for(window); });
  const double busy = watts_during(counters, [&] { run_once(stage, noise); });
  return busy > idle ? busy - idle : nan;
}

}  // namespace splitcnn::inline v0
