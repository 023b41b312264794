#include "plan/segment_io.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace splitcnn::inline v0 {

namespace {

bool contains(std::span<const TensorId> ids, TensorId id) noexcept {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool equal(const Segment& a, const Segment& b) noexcept {
  return a.device == b.device && a.first == b.first && a.last == b.last && a.first_unit == b.first_unit &&
         a.last_unit == b.last_unit;
}

const Route& route_of(const Plan& plan, const Segment& segment) {
  for (const Route& route : plan.routes()) {
    for (const Segment& s : route.segments) {
      if (&s == &segment) return route;
    }
  }
  for (const Route& route : plan.routes()) {
    for (const Segment& s : route.segments) {
      if (equal(s, segment)) return route;
    }
  }
  throw Error{
      Errc::bad_argument,
      fmt::format("segment [{}, {}) on {}: is not part of the plan; take it from plan.route(i).segments",
                  segment.first, segment.last, segment.device)};
}

class EdgeRules {
 public:
  EdgeRules(const Plan& plan, const Route& route) : plan_{plan}, graph_{plan.graph()}, route_{route} {}

  [[nodiscard]] bool is_graph_input(TensorId id) const { return contains(graph_.inputs(), id); }
  [[nodiscard]] bool is_graph_output(TensorId id) const { return contains(graph_.outputs(), id); }
  [[nodiscard]] bool is_read_from(TensorId id, NodeId node) const {
    const auto readers = graph_.consumers(id);
    return !readers.empty() && readers.back() >= node;
  }

  /// f32 in the model's own layout: what the user pushes and gets.
  [[nodiscard]] EdgeTensor model_edge(TensorId id) const {
    const GraphTensor& t = graph_.tensor(id);
    return {id,
            {.name = t.name, .shape = t.shape},
            {.dtype = DType::f32, .fix_point = 0, .channels_last = false}};
  }

  /// The representation all segments that touch the tensor agree on.
  [[nodiscard]] EdgeTensor shared_edge(TensorId id) const {
    const GraphTensor& t = graph_.tensor(id);
    const Representation r = shared_representation(id);
    return {
        id, {.name = t.name, .shape = storage_shape(t.shape), .dtype = r.dtype, .fix_point = r.fix_point}, r};
  }

  /// The same for a tensor that also leaves as a graph output: the copy needs a name of its own.
  [[nodiscard]] EdgeTensor boundary_copy(TensorId id) const {
    EdgeTensor edge = shared_edge(id);
    edge.spec.name += fmt::format("@{}", to_string(edge.spec.dtype));
    while (graph_.find_tensor(edge.spec.name)) edge.spec.name += '@';  // a model may use any name
    return edge;
  }

  [[nodiscard]] EdgeTensor input(TensorId id) const {
    if (is_graph_input(id)) return plan_.input_transform ? shared_edge(id) : model_edge(id);
    return is_graph_output(id) ? boundary_copy(id) : shared_edge(id);
  }

 private:
  [[nodiscard]] bool touches(const Segment& segment, TensorId id) const {
    const auto inside = [&](NodeId node) { return node >= segment.first && node < segment.last; };
    const auto writer = graph_.producer(id);
    const auto readers = graph_.consumers(id);
    return (writer && inside(*writer)) || std::any_of(readers.begin(), readers.end(), inside);
  }

  [[nodiscard]] bool touched_by(DeviceKind kind, TensorId id) const {
    return std::any_of(route_.segments.begin(), route_.segments.end(),
                       [&](const Segment& s) { return device_kind(s.device) == kind && touches(s, id); });
  }

  [[nodiscard]] Representation shared_representation(TensorId id) const {
    // A DPU segment in a plan implies a calibration: the Plan's constructor sees to it.
    if (touched_by(DeviceKind::dpu, id))
      return {.dtype = DType::i8, .fix_point = plan_.quant()->fix_point(id)};
    if (touched_by(DeviceKind::gpu, id)) return {.dtype = DType::f16};
    return {.dtype = DType::f32};
  }

  const Plan& plan_;
  const Graph& graph_;
  const Route& route_;
};

}  // namespace

SegmentIo segment_io(const Plan& plan, const Segment& segment) {
  const EdgeRules rules{plan, route_of(plan, segment)};
  const Boundary edge = boundary(plan.graph(), segment.first, segment.last);
  SegmentIo io;
  for (const TensorId id : edge.inputs) io.inputs.push_back(rules.input(id));
  for (const TensorId id : edge.outputs) {
    const bool leaves = rules.is_graph_output(id);
    const bool crosses = rules.is_read_from(id, segment.last);
    if (leaves) io.outputs.push_back(rules.model_edge(id));
    if (crosses) io.outputs.push_back(leaves ? rules.boundary_copy(id) : rules.shared_edge(id));
  }
  return io;
}

DeviceKind device_kind(std::string_view device) noexcept {
  if (device.starts_with("dpu")) return DeviceKind::dpu;
  if (device.starts_with("gpu")) return DeviceKind::gpu;
  return DeviceKind::cpu;
}

}  // namespace splitcnn::inline v0
