// A frame's way from stage to stage and out again, in order per source.
#include <algorithm>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {

void PipelineCore::enqueue(PipelineFrame& frame, Clock::time_point now) {
  const std::size_t stage = wiring.routes[frame.route].steps[frame.position].stage;
  StageNode& node = nodes_[stage];
  if (node.lost) {
    reroute_or_fail(frame, node, node.lost_status, now);
    return;
  }
  if (node.avoidable && !in_service(node) && reroute(frame, node, now)) return;
  frame.state = FrameState::queued;
  frame.queued_at = now;
  node.queue.push_back(&frame);
  if (closed_) {
    wake_all();  // whoever waits for a fuller batch must look again
    return;
  }
  Worker& worker = *worker_of_[stage];
  const bool news = node.queue.size() == 1 || node.queue.size() >= node.batch;
  if (worker.idle && news) worker.wake.notify_one();
}

void PipelineCore::advance(PipelineFrame& frame, Clock::time_point now) {
  ++frame.position;
  if (frame.position < wiring.routes[frame.route].steps.size()) {
    enqueue(frame, now);
  } else {
    complete(frame, now);
  }
}

void PipelineCore::reroute_or_fail(PipelineFrame& frame, StageNode& node, const Status& status,
                                   Clock::time_point now) {
  if (!reroute(frame, node, now)) fail(frame, node, status, now);
}

void PipelineCore::fail(PipelineFrame& frame, StageNode& node, const Status& status, Clock::time_point now) {
  if (frame.delivery != Delivery::warm_up) ++node.failed;
  frame.status.code = status.code;
  frame.failed_stage = &node.name;
  try {
    // Into the frame's own string: its capacity is kept, so that a stream of failures does not allocate here.
    frame.status.message.assign("stage '").append(node.name).append("' (").append(node.device).append("): ");
    frame.status.message.append(status.message.empty() ? to_string(status.code) : status.message.c_str());
  } catch (...) {
    frame.status.message.clear();  // no memory for the sentence; the code is what counts
  }
  complete(frame, now);
}

void PipelineCore::complete(PipelineFrame& frame, Clock::time_point now) {
  frame.state = FrameState::done;
  if (frame.delivery != Delivery::warm_up) ++route_frames_[frame.route];
  if (closed_) wake_all();
  if (frame.delivery == Delivery::pop) {
    release_in_order(*frame.source, now);
    return;
  }
  PrivateWaiter& waiter = *frame.waiter;
  if (frame.delivery == Delivery::infer) {
    record_result(frame, now);
  } else if (!frame.status.ok() && waiter.failure.ok()) {
    waiter.failure = frame.status;
  }
  --waiter.outstanding;
  if (frame.delivery == Delivery::warm_up) recycle(frame);
  waiter.changed.notify_one();
}

void PipelineCore::release_in_order(PipelineSource& source, Clock::time_point now) {
  while (PipelineFrame* frame = source.unfinished.front()) {
    if (frame->state != FrameState::done) return;
    source.unfinished.remove(frame);
    frame->in_order = true;
    ready_.push_back(frame);
    record_result(*frame, now);
    popped_.notify_one();
  }
}

void PipelineCore::record_result(PipelineFrame& frame, Clock::time_point now) {
  frame.ready_at = now;
  latency_ms_.add(static_cast<float>(to_ms(now - frame.accepted_at)));
  results_.add(now);
}

void PipelineCore::lease(PipelineFrame& frame) {
  frame.state = FrameState::leased;
  frame.keep_alive = shared_from_this();
}

PipelineFrame* PipelineCore::pop(std::optional<Clock::duration> timeout) {
  std::unique_lock lock{mutex_};
  const auto decided = [this] { return !ready_.empty() || stopping_ || (closed_ && undelivered_ == 0); };
  if (!timeout) {
    popped_.wait(lock, decided);
  } else if (*timeout > Clock::duration::zero()) {
    popped_.wait_until(lock, Clock::now() + *timeout, decided);
  }
  if (!ready_.empty()) {
    PipelineFrame* frame = ready_.pop_front();
    ++(frame->status.ok() ? frame->source->delivered : frame->source->failed);
    --frame->source->undelivered;
    --undelivered_;
    check_drained();
    if (trace_) trace_result(*frame);
    lease(*frame);
    return frame;
  }
  if (closed_ && undelivered_ == 0 && first_lost_ && !loss_thrown_) {
    loss_thrown_ = true;
    throw Error{Errc::device_failed, "stage '" + first_lost_->name + "' (" + first_lost_->device +
                                         "): the device was lost while running (" +
                                         first_lost_->lost_status.message +
                                         "); build a new pipeline when it is back"};
  }
  return nullptr;
}

void PipelineCore::check_drained() noexcept {
  if (closed_ && undelivered_ == 0) popped_.notify_all();
}

/// The caller leases the result itself, so that its slowness can never hold up a worker.
void PipelineCore::run_private(PipelineFrame& frame) {
  PrivateWaiter waiter;
  std::unique_lock lock{mutex_};
  if (closed_) {
    unchoose_route(frame);
    recycle(frame);
    throw Error{Errc::closed, "infer: the pipeline is closed; build a new one"};
  }
  const Clock::time_point now = Clock::now();
  frame.delivery = Delivery::infer;
  frame.waiter = &waiter;
  frame.source = infer_source.get();
  frame.id = infer_source->next_id++;
  frame.info = {};
  frame.accepted_at = now;
  waiter.outstanding = 1;
  if (trace_) {
    frame.flow = trace_->new_flow();
    trace_fill(frame);
  }
  enqueue(frame, now);
  waiter.changed.wait(lock, [&] { return waiter.outstanding == 0; });
  ++(frame.status.ok() ? infer_source->delivered : infer_source->failed);
  if (trace_) trace_result(frame);
  lease(frame);
}

void PipelineCore::close() noexcept {
  const std::lock_guard lock{mutex_};
  closed_ = true;
  cancel_waiters(nullptr);
  for (const auto& source : sources_) return_reserve(*source);
  check_drained();
  wake_all();
}

void PipelineCore::close(PipelineSource& source) noexcept {
  const std::lock_guard lock{mutex_};
  source.closed = true;
  cancel_waiters(&source);
  return_reserve(source);
}

/// The workers are gone: what they have not finished is given up.
void PipelineCore::abandon_frames() {
  for (PipelineFrame& frame : frames_) {
    if (frame.state != FrameState::queued && frame.state != FrameState::running &&
        frame.state != FrameState::done)
      continue;
    if (frame.delivery == Delivery::pop) {
      ++frame.source->dropped;
      frame.state = FrameState::idle;
    } else if (frame.state != FrameState::done) {
      frame.status = {Errc::closed, "the pipeline was destroyed before the frame was through"};
      frame.state = FrameState::done;
      if (frame.delivery == Delivery::warm_up && frame.waiter->failure.ok())
        frame.waiter->failure = frame.status;
      --frame.waiter->outstanding;
      frame.waiter->changed.notify_one();
    }
  }
  while (!ready_.empty()) ready_.pop_front();
  undelivered_ = 0;
  popped_.notify_all();
}

}  // namespace splitcnn::inline v0
