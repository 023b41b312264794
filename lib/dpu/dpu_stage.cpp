#include "splitcnn/dpu_stage.hpp"

#include <fmt/core.h>

#include "dpu/remote/manifest.hpp"
#include "dpu/remote/remote_head.hpp"
#include "dpu/soft_head.hpp"

namespace splitcnn::inline v0 {

struct DpuStage::Impl {
  std::string device, name;
  SoftHead soft;
  std::unique_ptr<RemoteHead> remote;
  Status status;
  std::uint64_t next_ticket = 1;

  Impl(const Plan& plan, const Segment& segment, const DpuStageOptions& options)
      : device{segment.device}, name{name_of(plan, segment)}, soft{plan, segment, options} {
    if (options.backend != DpuBackend::vart) return;
    DpuWorkerOptions worker = options.worker;
    if (worker.xmodel.empty() && !worker.xmodels.empty())
      worker.xmodel = choose_xmodel(segment, worker.xmodels);
    check_manifest(plan, segment, worker.xmodel);
    remote = std::make_unique<RemoteHead>(name, soft, worker);
  }

  static std::string name_of(const Plan& plan, const Segment& segment) {
    const auto nodes = plan.graph().nodes();
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
std::size_t DpuStage::max_in_flight() const noexcept {
  return impl_->remote ? impl_->remote->in_flight() : 1;
}

void DpuStage::prepare() { impl_->soft.warm_up(); }

Ticket DpuStage::submit(const Batch& batch) {
  Impl& m = *impl_;
  const std::size_t ins = m.soft.inputs.size(), outs = m.soft.outputs.size();
  m.status = {};
  if (batch.inputs.size() != batch.frames * ins || batch.outputs.size() != batch.frames * outs) {
    m.status = {Errc::mismatch, fmt::format("{}: {} frames need {} inputs and {} outputs each", m.name,
                                            batch.frames, ins, outs)};
  } else if (m.remote) {
    return m.remote->submit(batch);
  } else {
    for (std::size_t f = 0; f < batch.frames; ++f)
      m.soft.run_frame(batch.inputs.subspan(f * ins, ins), batch.outputs.subspan(f * outs, outs));
  }
  return m.remote ? m.remote->refuse(m.status) : Ticket{m.next_ticket++};
}

Status DpuStage::wait(Ticket ticket, Clock::time_point deadline) {
  if (impl_->remote) return impl_->remote->wait(ticket, deadline);
  if (ticket.id + 1 != impl_->next_ticket)
    return {Errc::bad_argument, impl_->name + ": this ticket was not the last one submitted"};
  return impl_->status;
}

std::vector<NodeTime> DpuStage::time_nodes(const Batch& batch) {
  // A worker runs its model in one piece.
  if (impl_->remote || batch.frames != 1 || batch.inputs.size() != impl_->soft.inputs.size() ||
      batch.outputs.size() != impl_->soft.outputs.size())
    return {};
  return impl_->soft.time_nodes(batch.inputs, batch.outputs);
}

DpuWorkerStats DpuStage::worker_stats() const {
  return impl_->remote ? impl_->remote->stats() : DpuWorkerStats{};
}
void DpuStage::reset_worker() {
  if (impl_->remote) impl_->remote->reset();
}

const char* to_string(DpuWorkerState state) noexcept {
  static constexpr const char* names[] = {"none", "serving", "recovering", "exhausted"};
  return names[static_cast<std::size_t>(state)];
}

}  // namespace splitcnn::inline v0
