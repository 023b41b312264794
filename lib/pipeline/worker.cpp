// One thread per device: fills batches, submits them, waits for them, and keeps going when a stage does not.
#include <pthread.h>

#include <algorithm>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

/// How often an overdue batch is asked after, and (`rounding`) how early a stage may come back from wait()
/// before that counts as its own time-out and not as rounding.
constexpr auto poll_interval = std::chrono::milliseconds{10};
constexpr auto look_interval = std::chrono::milliseconds{1};  // a worker that waits with room to submit more
constexpr auto rounding = std::chrono::milliseconds{5};

Clock::time_point asked(StageNode& node) { return std::max(node.asked_at, node.oldest().submitted_at); }

/// A stage's throw is a failed Status.
template <class Call>
Status guarded(const Call& call) noexcept {
  try {
    try {
      return call();
    } catch (const Error& e) {
      return {e.code() == Errc::ok ? Errc::stage_failed : e.code(), e.what()};
    } catch (const std::exception& e) {
      return {Errc::stage_failed, e.what()};
    } catch (...) {
      return {Errc::stage_failed, "it threw something that is no std::exception"};
    }
  } catch (...) {
    return {Errc::stage_failed, {}};  // no memory for the sentence
  }
}

}  // namespace

void PipelineCore::run(Worker& worker) {
  pthread_setname_np(pthread_self(), ("sc:" + worker.device).substr(0, 15).c_str());
  const TraceScope scope{trace_.get(), worker.track};
  prepare(worker);
  std::unique_lock lock{mutex_};
  while (true) {
    const Clock::time_point now = Clock::now();
    expire(worker, now);
    StageNode* node = stopping_ ? nullptr : next_to_submit(worker, now);
    if (node) {
      submit(*node, lock);
      continue;
    }
    node = stopping_ ? nullptr : next_to_check(worker, now);
    if (node) {
      submit_check(*node, lock);
      continue;
    }
    node = next_to_wait(worker, now);
    if (node) {
      wait(worker, *node, lock);
      continue;
    }
    if (stopping_) return;
    sleep(worker, lock);
  }
}

void PipelineCore::prepare(Worker& worker) {
  Status status;
  for (StageNode* node : worker.stages) {
    if (!status.ok()) break;
    status = guarded([&] {
      node->stage->prepare();
      return Status{};
    });
    if (!status.ok()) status.message = "stage '" + node->name + "' (" + node->device + "): " + status.message;
  }
  const std::lock_guard lock{mutex_};
  worker.prepared = true;
  if (!status.ok()) worker.prepare_error.emplace(status.code, status.message);
  prepared_.notify_all();
}

StageNode* PipelineCore::next_to_submit(const Worker& worker, Clock::time_point now) {
  for (StageNode* node : worker.stages) {
    if (node->queue.empty() || !node->has_room()) continue;
    if (node->queue.size() >= node->batch || node->queue.front()->queued_at + batch_timeout_ <= now ||
        (closed_ && nothing_upstream(*node))) {
      return node;
    }
  }
  return nullptr;
}

/// After close(): can any frame still come to the node? If not, its last batch need not wait for the
/// time-out.
bool PipelineCore::nothing_upstream(const StageNode& node) const {
  return std::none_of(frames_.begin(), frames_.end(), [&](const PipelineFrame& frame) {
    if (frame.state != FrameState::queued && frame.state != FrameState::running) return false;
    const std::vector<Step>& steps = wiring.routes[frame.route].steps;
    return std::any_of(steps.begin() + static_cast<std::ptrdiff_t>(frame.position) + 1, steps.end(),
                       [&](const Step& step) { return &nodes_[step.stage] == &node; });
  });
}

/// The batch to wait for: an overdue one whose turn it is to be asked after, else the one not asked after for the longest
/// time, so that a batch that is done need not wait for an older one of another stage.
StageNode* PipelineCore::next_to_wait(const Worker& worker, Clock::time_point now) {
  StageNode* best = nullptr;
  for (StageNode* node : worker.stages) {
    if (node->in_flight == 0) continue;
    if (node->stuck()) {
      if (!stopping_ && node->poll_at <= now) return node;
      continue;
    }
    if (!best || asked(*node) < asked(*best)) best = node;
  }
  return best;
}

/// A frame in the queue of a stuck stage gets one deadline of patience, counted from when it could first have
/// run.
Clock::time_point PipelineCore::starves_at(const StageNode& node) const noexcept {
  const Clock::time_point since = node.stuck() ? node.stuck_since : node.worker->hung_since;
  return std::max(node.queue.front()->queued_at, since) + node.deadline;
}

/// Fails what can no longer be in time behind a stuck batch, or because the worker is kept by another stage.
void PipelineCore::expire(Worker& worker, Clock::time_point now) {
  for (StageNode* node : worker.stages) {
    if (!node->stuck() && !worker.hung) continue;
    for (std::size_t i = 1; i < node->in_flight; ++i) {
      BatchInFlight& batch = node->ring[(node->first + i) % node->ring.size()];
      if (!batch.overdue && batch.deadline <= now) overrun(*node, batch, now);
    }
    const Status starved{
        Errc::timeout,
        "still busy with a batch that missed its deadline; the device hangs or is far too slow"};
    while (!node->queue.empty() && starves_at(*node) <= now) {
      PipelineFrame* frame = node->queue.pop_front();
      reroute_or_fail(*frame, *node, starved, now);
    }
  }
}

/// The batch missed its deadline: its frames leave it now, its buffers stay the stage's.
void PipelineCore::overrun(StageNode& node, BatchInFlight& batch, Clock::time_point now) {
  const Health before = health(node);
  if (!node.stuck()) node.stuck_since = now;
  batch.overdue = true;
  ++node.timeouts;
  if (trace_) trace_batch(node, batch, now, true);
  const Status late{Errc::timeout,
                    "the batch was not complete at its deadline; see PipelineOptions::stage_deadline"};
  take_out(node, now);
  announce(node, before);
  std::size_t counted = 0;
  for (std::size_t f = 0; f < batch.count; ++f) {
    PipelineFrame& frame = *batch.frames[f];
    if (frame.delivery != Delivery::warm_up) ++counted;
    ++frame.quarantined;
    reroute_or_fail(frame, node, late, now);
  }
  if (counted > 0) ++node.batches;
  node.frames += counted;
}

void PipelineCore::submit(StageNode& node, std::unique_lock<std::mutex>& lock) {
  BatchInFlight& batch = node.ring[(node.first + node.in_flight) % node.ring.size()];
  batch.count = std::min(node.queue.size(), node.batch);
  for (std::size_t f = 0; f < batch.count; ++f) {
    batch.frames[f] = node.queue.pop_front();
    batch.frames[f]->state = FrameState::running;
  }
  batch.check = false;
  fill_views(node, batch);
  start(node, batch, lock);
}

/// Hands the batch, whose views are filled in, to the stage. It counts as in flight before the call: the watchdog must see it.
void PipelineCore::start(StageNode& node, BatchInFlight& batch, std::unique_lock<std::mutex>& lock) {
  const std::size_t frames = batch.check ? 1 : batch.count;
  const std::span<const TensorView> inputs{node.inputs.data(), frames * node.n_inputs};
  const std::span<const TensorView> outputs{node.outputs.data(), frames * node.n_outputs};
  batch.overdue = false;
  batch.number = ++node.worker->batches;
  batch.submitted_at = Clock::now();
  batch.deadline = batch.submitted_at + node.deadline;
  node.worker->back_by = batch.deadline;
  ++node.in_flight;
  lock.unlock();

  Ticket ticket;
  const Status status = guarded([&] {
    ticket = node.stage->submit({.frames = frames, .inputs = inputs, .outputs = outputs});
    return Status{};
  });
  const Clock::time_point now = Clock::now();

  lock.lock();
  returned(*node.worker);
  batch.ticket = ticket;
  batch.busy = now - batch.submitted_at;
  if (status.ok()) return;
  const Health before = health(node);
  --node.in_flight;  // the newest of the ring
  announce(node, before);
  settle(node, batch, status, now);
}

void PipelineCore::returned(Worker& worker) noexcept {
  worker.back_by = Clock::time_point::max();
  if (!worker.hung) return;
  worker.hung = false;
  for (StageNode* node : worker.stages) announce(*node, Health::hung);
}

void PipelineCore::fill_views(StageNode& node, const BatchInFlight& batch) const {
  const std::span<const TensorSpec> inputs = node.stage->inputs(), outputs = node.stage->outputs();
  std::size_t in = 0, out = 0;
  for (std::size_t f = 0; f < batch.count; ++f) {
    const PipelineFrame& frame = *batch.frames[f];
    const Step& step = wiring.routes[frame.route].steps[frame.position];
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      node.inputs[in] = frame.tensors[step.inputs[i]];
      node.inputs[in++].spec = &inputs[i];  // the stage's own name for it
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      node.outputs[out] = frame.tensors[step.outputs[i]];
      node.outputs[out++].spec = &outputs[i];
    }
  }
}

void PipelineCore::wait(Worker& worker, StageNode& node, std::unique_lock<std::mutex>& lock) {
  BatchInFlight& batch = node.oldest();
  const Clock::time_point before = Clock::now();
  Clock::time_point until = batch.overdue ? before : batch.deadline;
  // Wait may be interrupted by its own deadline, so come back when something else on this device is due, and
  // look now and then for frames that have come for a stage with room, and after batches of other stages. (On the
  // way down nothing new is started.)
  if (!batch.overdue && !stopping_) {
    if (const auto event = next_event(worker)) until = std::min(until, *event);
    const bool look = std::any_of(worker.stages.begin(), worker.stages.end(), [&](const StageNode* n) {
      return n->has_room() || (n != &node && n->in_flight > 0 && !n->stuck());
    });
    if (look) until = std::min(until, before + look_interval);
  }
  node.asked_at = before;
  worker.back_by = std::max(batch.deadline, before + (batch.overdue ? node.deadline : Clock::duration{}));
  lock.unlock();
  const Status status = guarded([&] { return node.stage->wait(batch.ticket, until); });
  const Clock::time_point now = Clock::now();
  lock.lock();
  returned(worker);
  if (!batch.overdue) batch.busy += now - before;
  if (status.code == Errc::timeout) {
    node.poll_at = now + poll_interval;
    const bool asked_early = now < batch.deadline && now + rounding >= until;
    if (!batch.overdue && !asked_early) overrun(node, batch, now);
    return;
  }
  const Health was = health(node);
  node.first = (node.first + 1) % node.ring.size();
  --node.in_flight;
  announce(node, was);  // an overdue batch that is over: it rests now, or works again
  settle(node, batch, status, now);
}

/// The stage has let go of the batch, one way or the other.
void PipelineCore::settle(StageNode& node, BatchInFlight& batch, const Status& status,
                          Clock::time_point now) {
  if (status.code == Errc::device_failed) lose(node, status, now);
  if (trace_ && !batch.overdue) trace_batch(node, batch, now, !status.ok());
  if (!batch.overdue) judge(node, status, batch.check, now);
  if (batch.check) node.check_at = now + check_interval_;
  std::size_t counted = 0;
  for (std::size_t f = 0; f < batch.count; ++f) {
    PipelineFrame& frame = *batch.frames[f];
    if (batch.overdue) {
      if (--frame.quarantined == 0 && frame.state == FrameState::idle) recycle(frame);
      continue;
    }
    if (frame.delivery != Delivery::warm_up) ++counted;
    if (status.ok()) {
      advance(frame, now);
    } else {
      reroute_or_fail(frame, node, status, now);
    }
  }
  if (counted == 0) return;
  ++node.batches;
  node.frames += counted;
  node.busy += batch.busy;
  node.run_ms.add(static_cast<float>(to_ms(now - batch.submitted_at)));
  node.let_go_at = now;
  if (!status.ok() || batch.overdue || counted < node.batch) return;
  ++node.full_batches;
  node.full_busy += batch.busy;
}

/// The device is gone for good: what waits for it fails now, what comes later fails in enqueue().
void PipelineCore::lose(StageNode& node, const Status& status, Clock::time_point now) {
  if (node.lost) return;
  const Health before = health(node);
  node.lost = true;
  node.lost_status = status;
  if (!first_lost_) first_lost_ = &node;
  ++node.left;
  ++switches_;
  announce(node, before);
  while (!node.queue.empty()) {
    PipelineFrame* frame = node.queue.pop_front();
    reroute_or_fail(*frame, node, status, now);
  }
}

/// When the worker must look again even if nobody wakes it.
std::optional<Clock::time_point> PipelineCore::next_event(const Worker& worker) const {
  std::optional<Clock::time_point> first;
  const auto at = [&](Clock::time_point t) { first = first ? std::min(*first, t) : t; };
  for (const StageNode* node : worker.stages) {
    if (node->stuck()) {
      at(node->poll_at);
      if (!node->queue.empty()) at(starves_at(*node));
      for (std::size_t i = 1; i < node->in_flight; ++i) {
        const BatchInFlight& batch = node->ring[(node->first + i) % node->ring.size()];
        if (!batch.overdue) at(batch.deadline);
      }
    } else if (!node->queue.empty() && node->has_room()) {
      at(node->queue.front()->queued_at + batch_timeout_);
    }
    if (node->resting && !node->lost && node->in_flight == 0) at(node->check_at);
  }
  return first;
}

void PipelineCore::sleep(Worker& worker, std::unique_lock<std::mutex>& lock) {
  const auto event = next_event(worker);
  worker.idle = true;
  worker.idle_since = Clock::now();
  if (event) {
    worker.wake.wait_until(lock, *event);
  } else {
    worker.wake.wait(lock);
  }
  worker.idle = false;
  worker.idle_time += Clock::now() - worker.idle_since;
}

void PipelineCore::wake_all() noexcept {
  for (Worker& worker : workers_) worker.wake.notify_one();
}

}  // namespace splitcnn::inline v0
