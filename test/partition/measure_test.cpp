// measure() on real stages of a small network; what it costs is not tested, what it says is.
#include <cmath>

#include "splitcnn/partitioner.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

TEST_CASE("measure covers every legal piece of lenet5 on dpu and cpu") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 1)};
  const Devices devices = Devices::open("dpu:0=software,cpu");
  std::size_t steps = 0, all = 0;
  const Profile p = measure(parts, devices, {.runs = 2, .progress = [&](std::size_t done, std::size_t of) {
                                               REQUIRE(done == ++steps);
                                               REQUIRE(done <= of);
                                               all = of;
                                             }});
  REQUIRE(steps == all);
  REQUIRE(p.graph_hash == parts.graph().hash());
  REQUIRE(p.origin == Origin::measured);
  REQUIRE(p.devices.size() == 2);
  for (const DeviceProfile& d : p.devices) {
    CAPTURE(d.device);
    REQUIRE(d.prefix_ms.size() == parts.cuts().size());
    REQUIRE(d.suffix_ms.size() == parts.cuts().size());
    REQUIRE(d.fixed_ms >= 0);
    REQUIRE(d.prefix_ms.front() == 0);
    REQUIRE(d.suffix_ms.back() == 0);
    for (const Cut& cut : parts.cuts()) {
      const double prefix = d.prefix_ms[static_cast<std::size_t>(cut.k)];
      REQUIRE(std::isfinite(prefix) == (d.device == "cpu" || cut.legal));
      if (d.device == "cpu") REQUIRE(std::isfinite(d.suffix_ms[static_cast<std::size_t>(cut.k)]));
    }
  }
  const Plan plan = parts.search(p, {.tail = "cpu"});
  REQUIRE(plan.expected().interval_ms > 0);
}

TEST_CASE("without calibration the DPU is left out") {
  const Partitioner parts{Graph::zoo("lenet5")};
  const Profile p = measure(parts, Devices::open("dpu:0=software,cpu"), {.runs = 1});
  REQUIRE(p.devices.size() == 1);
  REQUIRE(p.devices.front().device == "cpu");
}
