#pragma once
/// Profiles as plain values, with random times, for tests of the search.
#include <limits>
#include <random>

#include "splitcnn/partitioner.hpp"

namespace splitcnn_test {

/// Times grow with the units; a device with `legal_only` has NaN where the cut is not legal, as a DPU has.
inline splitcnn::DeviceProfile random_device(std::mt19937_64& random, const splitcnn::Partitioner& parts,
                                             std::string name, bool legal_only) {
  std::uniform_real_distribution<double> ms{0.1, 5};
  const std::size_t cuts = parts.cuts().size();
  splitcnn::DeviceProfile d{.device = std::move(name), .backend = "test"};
  std::vector<double> unit(cuts - 1);
  for (double& u : unit) u = ms(random);
  d.fixed_ms = ms(random) / 10;
  d.prefix_ms.assign(cuts, 0);
  d.suffix_ms.assign(cuts, 0);
  for (std::size_t k = 1; k < cuts; ++k) d.prefix_ms[k] = d.prefix_ms[k - 1] + unit[k - 1];
  for (std::size_t k = cuts - 1; k-- > 0;) d.suffix_ms[k] = d.suffix_ms[k + 1] + unit[k];
  for (std::size_t k = 1; legal_only && k < cuts; ++k) {
    if (!parts.cuts()[k].legal) d.prefix_ms[k] = std::numeric_limits<double>::quiet_NaN();
  }
  d.suffix_ms[0] = d.prefix_ms.back();
  return d;
}

inline splitcnn::Profile random_profile(std::mt19937_64& random, const splitcnn::Partitioner& parts) {
  std::uniform_real_distribution<double> ms{0, 1};
  splitcnn::Profile p;
  p.graph_hash = parts.graph().hash();
  p.granularity = parts.granularity();
  p.devices = {random_device(random, parts, "dpu:0", true), random_device(random, parts, "gpu:0", false),
               random_device(random, parts, "cpu", false)};
  if (random() % 2) p.links.push_back({"dpu:0", "gpu:0", ms(random), ms(random) * 1e-4});
  if (random() % 2) p.links.push_back({"gpu:0", "cpu", ms(random), ms(random) * 1e-4});
  p.machine = "a test";
  return p;
}

}  // namespace splitcnn_test
