#include "splitcnn/device_model.hpp"

#include <cmath>
#include <cstdio>

#include "support/catch.hpp"

using namespace splitcnn;

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
