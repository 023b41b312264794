#include "dpu/soft_head.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "core/openmp.hpp"
#include "splitcnn/trace.hpp"

namespace splitcnn::inline v0 {

namespace {

const QuantizedGraph& calibrated(const Plan& plan) {
  if (!plan.quant()) {
    throw Error{Errc::not_calibrated, fmt::format("graph '{}': a DPU segment needs calibration; run "
                                                  "`splitcnn calibrate MODEL --frames DIR` or make "
                                                  "the plan from a QuantizedGraph",
                                                  plan.graph().name())};
  }
  return *plan.quant();
}

template <class FixPoint>
DpuPort port(const Graph& graph, const EdgeTensor& edge, std::span<const TensorId> ids,
             const FixPoint& fix_point) {
  const auto i = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), edge.id) - ids.begin());
  if (i == ids.size())
    throw Error{Errc::mismatch, fmt::format("tensor '{}' is not at the edge of the segment", edge.spec.name)};
  return {i,
          graph.tensor(edge.id).shape,
          edge.representation,
          {.dtype = DType::i8, .fix_point = fix_point(i), .channels_last = true}};
}

}  // namespace

SoftHead::SoftHead(const Plan& plan, const Segment& segment, const DpuStageOptions& options)
    : executor{calibrated(plan),
               segment.first,
               segment.last,
               {.scalar = options.backend == DpuBackend::scalar, .threads = std::max(options.threads, 1)}},
      threads_{std::max(options.threads, 1)} {
  const SegmentIo io = segment_io(plan, segment);
  const auto nodes = plan.graph().nodes();
  for (const DpuStep& step : executor.steps()) {
    const auto at =
        std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.name == step.name; });
    step_nodes_.push_back(static_cast<NodeId>(at - nodes.begin()));
  }
  for (const EdgeTensor& e : io.inputs) {
    inputs.push_back(port(plan.graph(), e, executor.input_ids(),
                          [&](std::size_t i) { return executor.input_fix_point(i); }));
    input_specs.push_back(e.spec);
  }
  for (const EdgeTensor& e : io.outputs) {
    outputs.push_back(port(plan.graph(), e, executor.output_ids(),
                           [&](std::size_t i) { return executor.output_fix_point(i); }));
    output_specs.push_back(e.spec);
  }
}

/// `compute` runs the executor.
template <class Compute>
void SoftHead::run_around(std::span<const TensorView> in, std::span<const TensorView> out, Compute compute) {
  std::optional<TraceSpan> span{"to the DPU"};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const DpuPort& p = inputs[i];
    convert(p.logical, p.outside, in[i].data, p.inside,
            reinterpret_cast<std::byte*>(executor.input(p.buffer).data()));
  }
  span.emplace("compute");
  compute();
  span.emplace("from the DPU");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const DpuPort& p = outputs[i];
    convert(p.logical, p.inside, reinterpret_cast<const std::byte*>(executor.output(p.buffer).data()),
            p.outside, out[i].data);
  }
}

void SoftHead::run_frame(std::span<const TensorView> in, std::span<const TensorView> out) {
  run_around(in, out, [&] { executor.run(); });
}

std::vector<NodeTime> SoftHead::time_nodes(std::span<const TensorView> in, std::span<const TensorView> out) {
  std::vector<NodeTime> times;
  const Clock::time_point start = Clock::now();
  run_around(in, out, [&] {
    const OmpThreads scope{threads_};
    for (std::size_t i = 0; i < step_nodes_.size(); ++i) {
      executor.run_step(i);
      times.push_back({step_nodes_[i], Millis{Clock::now() - start}.count()});
    }
  });
  return times;
}

void SoftHead::warm_up() {
  // Pages, caches, OpenMP threads. Any bytes will do.
  for (std::size_t i = 0; i < executor.input_ids().size(); ++i) {
    const auto in = executor.input(i);
    std::fill(in.begin(), in.end(), std::int8_t{0});
  }
  executor.run();
}

}  // namespace splitcnn::inline v0
