#include "splitcnn/dpu_stage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "core/openmp.hpp"
#include "dpu/soft/executor.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/trace.hpp"
#include "dpu/remote/remote_head.hpp"
#include "dpu/soft_head.hpp"

namespace splitcnn::inline v0 {

struct DpuStage::Impl {
  std::string name, device;
  DpuExecutor executor;
  std::vector<TensorSpec> input_specs, output_specs;
  std::vector<Port> inputs, outputs;
  std::vector<NodeId> step_nodes;  // per instruction
  int threads = 1;
  std::string device, name;
  SoftHead soft;
  std::unique_ptr<RemoteHead> remote;
  Status status;
  std::uint64_t next_ticket = 1;

  Impl(const Plan& plan, const Segment& segment, const DpuStageOptions& options)
      : device{segment.device}, name{name_of(plan, segment)}, soft{plan, segment, options} {
    if (options.backend == DpuBackend::vart) remote = std::make_unique<RemoteHead>(name, soft, options.worker);
  }

  static std::string name_of(const Plan& plan, const Segment& segment) {
    const auto nodes = plan.graph().nodes();
    name = fmt::format("{}[{}..{}]", device, nodes[segment.first].name, nodes[segment.last - 1].name);
    threads = std::max(options.threads, 1);
    for (const DpuStep& step : executor.steps()) {
      const auto at = std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.name == step.name; });
      step_nodes.push_back(static_cast<NodeId>(at - nodes.begin()));
    }
    for (const EdgeTensor& e : io.inputs) {
      inputs.push_back(port(plan.graph(), e, executor.input_ids(), [&](std::size_t i) { return executor.input_fix_point(i); }));
      input_specs.push_back(e.spec);
    }
    for (const EdgeTensor& e : io.outputs) {
      outputs.push_back(port(plan.graph(), e, executor.output_ids(), [&](std::size_t i) { return executor.output_fix_point(i); }));
      output_specs.push_back(e.spec);
    }
  }

  template <class FixPoint>
  static Port port(const Graph& graph, const EdgeTensor& edge, std::span<const TensorId> ids, const FixPoint& fix_point) {
    const auto i = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), edge.id) - ids.begin());
    if (i == ids.size()) throw Error{Errc::mismatch, fmt::format("tensor '{}' is not at the edge of the segment", edge.spec.name)};
    return {i, graph.tensor(edge.id).shape, edge.representation, {.dtype = DType::i8, .fix_point = fix_point(i), .channels_last = true}};
  }

  /// `compute` runs the executor.
  template <class Compute>
  void run_frame(std::span<const TensorView> in, std::span<const TensorView> out, Compute compute) {
    std::optional<TraceSpan> span{"to the DPU"};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Port& p = inputs[i];
      convert(p.logical, p.outside, in[i].data, p.inside, reinterpret_cast<std::byte*>(executor.input(p.buffer).data()));
    }
    span.emplace("compute");
    compute();
    span.emplace("from the DPU");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Port& p = outputs[i];
      convert(p.logical, p.inside, reinterpret_cast<const std::byte*>(executor.output(p.buffer).data()), p.outside, out[i].data);
    }
    return fmt::format("{}[{}..{}]", segment.device, nodes[segment.first].name, nodes[segment.last - 1].name);
  }
};

DpuStage::DpuStage(const Plan& plan, const Segment& segment, const DpuStageOptions& options)
    : impl_{std::make_unique<Impl>(plan, segment, options)} {}
DpuStage::~DpuStage() = default;

const std::string& DpuStage::name() const noexcept { return impl_->name; }
const std::string& DpuStage::device() const noexcept { return impl_->device; }
std::span<const TensorSpec> DpuStage::inputs() const noexcept { return impl_->soft.input_specs; }
std::span<const TensorSpec> DpuStage::outputs() const noexcept { return impl_->soft.output_specs; }
std::size_t DpuStage::preferred_batch() const noexcept { return impl_->remote ? impl_->remote->batch() : 1; }
std::size_t DpuStage::max_in_flight() const noexcept { return impl_->remote ? impl_->remote->in_flight() : 1; }

void DpuStage::prepare() { impl_->soft.warm_up(); }

Ticket DpuStage::submit(const Batch& batch) {
  Impl& m = *impl_;
  const std::size_t ins = m.soft.inputs.size(), outs = m.soft.outputs.size();
  m.status = {};
  if (batch.inputs.size() != batch.frames * ins || batch.outputs.size() != batch.frames * outs) {
    m.status = {Errc::mismatch, fmt::format("{}: {} frames need {} inputs and {} outputs each", m.name, batch.frames, ins, outs)};
  } else if (m.remote) {
    return m.remote->submit(batch);
  } else {
    for (std::size_t f = 0; f < batch.frames; ++f) {
      m.run_frame(batch.inputs.subspan(f * ins, ins), batch.outputs.subspan(f * outs, outs), [&] { m.executor.run(); });
    }
    for (std::size_t f = 0; f < batch.frames; ++f) m.soft.run_frame(batch.inputs.subspan(f * ins, ins), batch.outputs.subspan(f * outs, outs));
  }
  return m.remote ? m.remote->refuse(m.status) : Ticket{m.next_ticket++};
}

Status DpuStage::wait(Ticket ticket, Clock::time_point deadline) {
  if (impl_->remote) return impl_->remote->wait(ticket, deadline);
  if (ticket.id + 1 != impl_->next_ticket) return {Errc::bad_argument, impl_->name + ": this ticket was not the last one submitted"};
  return impl_->status;
}

std::vector<NodeTime> DpuStage::time_nodes(const Batch& batch) {
  Impl& m = *impl_;
  if (batch.frames != 1 || batch.inputs.size() != m.inputs.size() || batch.outputs.size() != m.outputs.size()) return {};
  std::vector<NodeTime> times;
  const Clock::time_point start = Clock::now();
  m.run_frame(batch.inputs, batch.outputs, [&] {
    const OmpThreads scope{m.threads};
    for (std::size_t i = 0; i < m.step_nodes.size(); ++i) {
      m.executor.run_step(i);
      times.push_back({m.step_nodes[i], Millis{Clock::now() - start}.count()});
    }
  });
  return times;
DpuWorkerStats DpuStage::worker_stats() const { return impl_->remote ? impl_->remote->stats() : DpuWorkerStats{}; }
void DpuStage::reset_worker() {
  if (impl_->remote) impl_->remote->reset();
}

const char* to_string(DpuWorkerState state) noexcept {
  static constexpr const char* names[] = {"none", "serving", "recovering", "exhausted"};
  return names[static_cast<std::size_t>(state)];
}

}  // namespace splitcnn::inline v0
