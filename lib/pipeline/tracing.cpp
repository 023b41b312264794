// What the pipeline tells its trace.
#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {

using Kind = TraceEvent::Kind;

void PipelineCore::open_trace() {
  trace_pipeline_ = trace_->add_pipeline();
  for (StageNode& node : nodes_) node.trace_name = trace_->keep(node.name);
}

void PipelineCore::trace_fill(const PipelineFrame& frame) noexcept {
  trace_->add({.kind = Kind::fill,
               .track = frame.source->track,
               .flow = frame.flow,
               .number = frame.id,
               .t0 = frame.asked_at,
               .t1 = frame.granted_at,
               .t2 = frame.accepted_at});
}

void PipelineCore::trace_batch(const StageNode& node, const BatchInFlight& batch, Clock::time_point now, bool failed) noexcept {
  TraceEvent event{.kind = Kind::pass,
                   .failed = failed,
                   .track = node.worker->track,
                   .number = batch.number,
                   .t0 = batch.submitted_at,
                   .t1 = batch.submitted_at,
                   .t2 = now,
                   .name = node.trace_name};
  if (batch.check) trace_->add(event);
  for (std::size_t f = 0; f < batch.count; ++f) {
    const PipelineFrame& frame = *batch.frames[f];
    if (frame.delivery == Delivery::warm_up) continue;
    event.flow = frame.flow;
    event.t0 = frame.queued_at;
    trace_->add(event);
  }
}

void PipelineCore::trace_result(const PipelineFrame& frame) noexcept {
  trace_->add({.kind = Kind::result,
               .failed = !frame.status.ok(),
               .track = frame.source->track,
               .flow = frame.flow,
               .number = frame.id,
               .t0 = frame.ready_at,
               .t1 = Clock::now()});
}

void PipelineCore::trace_drop(const PipelineSource& source, std::uint64_t id) noexcept {
  trace_->add({.kind = Kind::mark, .track = source.track, .number = id, .t0 = Clock::now(), .name = "dropped"});
}

/// On every device: the change of shares is what explains the gap behind it.
void PipelineCore::trace_replan() noexcept {
  for (const Worker& worker : workers_) trace_->add({.kind = Kind::mark, .track = worker.track, .t0 = Clock::now(), .name = "re-planned"});
}

void PipelineCore::trace_health(const StageNode& node, Health health) noexcept {
  trace_->add({.kind = Kind::mark, .track = node.worker->track, .t0 = Clock::now(), .name = to_string(health)});
}

}  // namespace splitcnn::inline v0
