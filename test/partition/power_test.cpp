// Energy counters: a folder as the kernel makes it, and a double of NVML.
#include "partition/power.hpp"

#include <cmath>
#include <fstream>

#include "support/catch.hpp"
#include "support/fake_stage.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using splitcnn_test::TemporaryFolder;

namespace {

constexpr const char* no_nvml = "libthere-is-no-such-library.so";

void write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream{file} << text;
}

}  // namespace

TEST_CASE("the processor's counters: packages only, wrapped ones unwrapped") {
  const TemporaryFolder dir;
  for (const char* package : {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"}) {  // the last is a part of the first
    write(dir / package / "energy_uj", "5000");
    write(dir / package / "max_energy_range_uj", "100000");
  }
  EnergyCounters counters{dir / ".", no_nvml};
  REQUIRE(counters.of_processor());
  CHECK_FALSE(counters.of_gpus());
  counters.start();
  write(dir / "intel-rapl:0" / "energy_uj", "9000");
  write(dir / "intel-rapl:1" / "energy_uj", "1000");
  write(dir / "intel-rapl:0:0" / "energy_uj", "99000");
  CHECK(std::abs(counters.millijoules() - (4 + 96)) < 1e-9);
  std::filesystem::remove(dir / "intel-rapl:1" / "energy_uj");
  CHECK(std::isnan(counters.millijoules()));
}

TEST_CASE("no counters, and one that may not be read, are no counters") {
  const TemporaryFolder dir;
  CHECK_FALSE(EnergyCounters(dir / "nowhere", no_nvml).of_processor());
  write(dir / "intel-rapl:0" / "energy_uj", "5000");
  write(dir / "intel-rapl:0" / "max_energy_range_uj", "100000");
  write(dir / "intel-rapl:1" / "max_energy_range_uj", "100000");
  CHECK_FALSE(EnergyCounters(dir / ".", no_nvml).of_processor());
}

TEST_CASE("NVML: the GPUs that count") {
  const TemporaryFolder dir;
  EnergyCounters counters{dir / ".", SPLITCNN_FAKE_NVML};
  REQUIRE(counters.of_gpus());
  CHECK_FALSE(counters.of_processor());
  counters.start();
  CHECK(counters.millijoules() == 7000);
  EnergyCounters wrong{dir / ".", "libc.so.6"};  // a library without NVML's functions
  CHECK_FALSE(wrong.of_gpus());
}

TEST_CASE("watts need the counters that see the stage") {
  const TemporaryFolder dir;
  splitcnn_test::FakeStage stage{{}};
  EnergyCounters gpus{dir / ".", SPLITCNN_FAKE_NVML}, none{dir / ".", no_nvml};
  CHECK(std::isnan(watts_of(stage, false, gpus)));
  CHECK(std::isnan(watts_of(stage, true, none)));
}
