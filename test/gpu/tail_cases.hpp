#pragma once
/// Running a graph as a TailProgram on the host executor.
#include "cpu/cases.hpp"
#include "gpu/tail/build.hpp"
#include "gpu/tail/host_executor.hpp"

namespace splitcnn_test {

/// Edges in f32, channels last (as CpuExecutor's buffers) or in the model's own order.
inline std::vector<EdgeTensor> f32_edges(const Graph& graph, std::span<const TensorId> ids, bool channels_last = true) {
  std::vector<EdgeTensor> edges;
  for (const TensorId id : ids) {
    const GraphTensor& t = graph.tensor(id);
    edges.push_back({id, {.name = t.name, .shape = channels_last ? storage_shape(t.shape) : t.shape}, {.channels_last = channels_last}});
  }
  return edges;
}

struct Tail {
  gpu::TailProgram program;
  Boundary edge;

  Tail(const Graph& graph, NodeId first, NodeId last, const gpu::TailOptions& options = {}, bool channels_last = true)
      : edge{boundary(graph, first, last)} {
    const auto in = f32_edges(graph, edge.inputs, channels_last), out = f32_edges(graph, edge.outputs, channels_last);
    program = gpu::build_tail(graph, first, last, in, out, options);
  }
  explicit Tail(const Graph& graph, const gpu::TailOptions& options = {}, bool channels_last = true)
      : Tail{graph, 0, static_cast<NodeId>(graph.nodes().size()), options, channels_last} {}

  /// `values` as in run_range(): reads the inputs, adds the outputs.
  void run(Values& values) {
    gpu::HostTail host{program.view(), 1};
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const TensorId t : edge.inputs) in.push_back(values.at(t).data());
    for (std::size_t i = 0; i < edge.outputs.size(); ++i) {
      auto& v = values[edge.outputs[i]];
      v.assign(program.outputs[i].frame_bytes / sizeof(float), 0.0f);
    }
    for (const TensorId t : edge.outputs) out.push_back(values.at(t).data());
    host.run(in, out, 1);
  }
};

inline double relative_l2(std::span<const float> a, std::span<const float> b) {
  double difference = 0, norm = 1e-300;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - static_cast<double>(b[i])) * (static_cast<double>(a[i]) - static_cast<double>(b[i]));
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / norm);
}

inline std::ptrdiff_t top1(std::span<const float> v) { return std::max_element(v.begin(), v.end()) - v.begin(); }

}  // namespace splitcnn_test
