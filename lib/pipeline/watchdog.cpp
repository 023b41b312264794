// The thread that sees to deadlines when a worker cannot, because it is inside a stage, and that tells the log handler what
// became of the stages.
#include <pthread.h>

#include <algorithm>

#include "core/log.hpp"
#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

/// Workers see to their own deadlines first; the watchdog comes this much later.
constexpr auto grace = std::chrono::milliseconds{5};

}  // namespace

/// No deadline that is set while it sleeps ends before the shortest one there is, so nobody needs to wake it.
void PipelineCore::watch() {
  pthread_setname_np(pthread_self(), "sc:watchdog");
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    const Clock::time_point now = Clock::now();
    for (Worker& worker : workers_) look_after(worker, now);
    if (events_told_ < events_made_) {
      report(lock);
      continue;
    }
    if (replanner_ && window_ends_ <= now) {
      look_for_drift(lock, now);
      continue;
    }
    Clock::time_point next = now + shortest_deadline_;
    if (replanner_) next = std::min(next, window_ends_);
    for (const Worker& worker : workers_) {
      if (!worker.hung && worker.back_by != Clock::time_point::max()) next = std::min(next, worker.back_by + grace);
      for (const StageNode* node : worker.stages) {
        if (!worker.hung) break;
        if (!node->queue.empty()) next = std::min(next, starves_at(*node));
        for (std::size_t i = 0; i < node->in_flight; ++i) {
          const BatchInFlight& batch = node->ring[(node->first + i) % node->ring.size()];
          if (!batch.overdue) next = std::min(next, batch.deadline + grace);
        }
      }
    }
    watch_.wait_until(lock, std::max(next, now + std::chrono::milliseconds{1}));
  }
}

void PipelineCore::look_after(Worker& worker, Clock::time_point now) {
  // Its calls first: the frames of an overdue batch must not be sent to another stage of the same worker.
  if (!worker.hung && worker.back_by != Clock::time_point::max() && worker.back_by + grace <= now) {
    worker.hung = true;
    worker.hung_since = now;
    for (StageNode* node : worker.stages) {
      if (!node->stuck()) announce(*node, node->resting ? Health::resting : Health::good);
    }
    for (StageNode* node : worker.stages) empty_queue(*node, now);
  }
  if (!worker.hung) return;  // then it sees to its batches itself
  for (StageNode* node : worker.stages) {
    for (std::size_t i = 0; i < node->in_flight; ++i) {
      BatchInFlight& batch = node->ring[(node->first + i) % node->ring.size()];
      if (!batch.overdue && batch.deadline + grace <= now) overrun(*node, batch, now);
    }
  }
  expire(worker, now);
}

void PipelineCore::announce(const StageNode& node, Health before) {
  const Health after = health(node);
  if (before == after) return;
  if (trace_) trace_health(node, after);
  if (wiring.routes.size() == 1) return;
  events_[events_made_++ % events_.size()] = {&node, before, after};
  events_told_ = std::max(events_told_, events_made_ - std::min(events_made_, events_.size()));
  watch_.notify_one();
}

void PipelineCore::report(std::unique_lock<std::mutex>& lock) {
  const Event event = events_[events_told_++ % events_.size()];
  lock.unlock();
  try {
    const std::string who = "pipeline: stage '" + event.node->name + "' (" + event.node->device + ") is ";
    if (event.after == Health::good) {
      log(LogLevel::warning, who + "back in service; its routes take frames again");
    } else {
      log(LogLevel::warning, who + to_string(event.after) + "; frames go along other routes as far as there are any");
    }
  } catch (...) {  // no memory for the sentence: the counters have it
  }
  lock.lock();
}

}  // namespace splitcnn::inline v0
