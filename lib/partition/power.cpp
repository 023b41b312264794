#include "partition/power.hpp"

#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr Millis window{400};

double read_number(const std::filesystem::path& path) {
  std::ifstream file{path};
  double value = 0;
  return file >> value ? value : nan;
}

/// Microjoules of all packages together, and where their counters wrap. NaN where they cannot be read.
struct Counters {
  double uj = 0, range = 0;
};

Counters packages() {
  Counters sum;
  bool any = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{"/sys/class/powercap", error}) {
    const std::string name = entry.path().filename().string();
    const bool package = name.starts_with("intel-rapl:") && name.find(':', 11) == std::string::npos;
    if (!package) continue;
    sum.uj += read_number(entry.path() / "energy_uj");
    sum.range += read_number(entry.path() / "max_energy_range_uj");
    any = true;
  }
  return any ? sum : Counters{nan, nan};
}

template <class Busy>
double watts_during(Busy busy) {
  const Counters before = packages();
  const Clock::time_point start = Clock::now();
  while (Clock::now() - start < window) busy();
  double uj = packages().uj - before.uj;
  if (uj < 0) uj += before.range;
  return uj / 1e3 / Millis{Clock::now() - start}.count();
}

}  // namespace

bool can_read_power() noexcept {
  try {
    return packages().uj >= 0;
  } catch (...) {
    return false;
  }
}

double watts_of(Stage& stage) {
  if (!can_read_power()) return nan;
  const NoiseBatch noise{stage};
  stage.prepare();
  const double idle = watts_during([] { std::this_thread::sleep_for(window); });
  const double busy = watts_during([&] { run_once(stage, noise); });
  return busy > idle ? busy - idle : nan;
}

}  // namespace splitcnn::inline v0
