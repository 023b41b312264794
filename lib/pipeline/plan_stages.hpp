#pragma once
/// The stages of a plan, each segment loaded on its device.
#include "pipeline/wiring.hpp"
#include "splitcnn/device.hpp"

namespace splitcnn::inline v0 {

struct PlanStages {
  Stages stages;
  std::vector<std::vector<std::size_t>> segments;  ///< [route][segment]: index in `stages`
};

/// A segment that several routes share (same device, nodes and edges) is loaded once.
PlanStages load_stages(const Plan& plan, const Devices& devices);

}  // namespace splitcnn::inline v0
