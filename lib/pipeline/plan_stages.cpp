#include "pipeline/plan_stages.hpp"

#include <algorithm>

#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {
namespace {

std::vector<TensorSpec> edges(const Plan& plan, const Segment& segment) {
  const SegmentIo io = segment_io(plan, segment);
  std::vector<TensorSpec> specs;
  for (const EdgeTensor& edge : io.inputs) specs.push_back(edge.spec);
  for (const EdgeTensor& edge : io.outputs) specs.push_back(edge.spec);
  return specs;
}

}  // namespace

PlanStages load_stages(const Plan& plan, const Devices& devices) {
  PlanStages loaded;
  std::vector<const Segment*> segment_of;  // by stage
  const auto equal = [&](const Segment* a, const Segment& b) {
    return a->device == b.device && a->first == b.first && a->last == b.last &&
           edges(plan, *a) == edges(plan, b);
  };
  for (const Route& route : plan.routes()) {
    std::vector<std::size_t>& indices = loaded.segments.emplace_back();
    for (const Segment& segment : route.segments) {
      const auto known = std::find_if(segment_of.begin(), segment_of.end(),
                                      [&](const Segment* s) { return equal(s, segment); });
      indices.push_back(static_cast<std::size_t>(known - segment_of.begin()));
      if (known != segment_of.end()) continue;
      loaded.stages.push_back(devices.load(plan, segment));
      segment_of.push_back(&segment);
    }
  }
  return loaded;
}

}  // namespace splitcnn::inline v0
