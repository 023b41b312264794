// Tokens: who gets one, who gives one up. Everything that bounds the pipeline is here.
#include <algorithm>
#include <utility>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

/// How long a token stays set aside for a source that drops while others wait: a camera of 4 fps makes use of
/// it.
constexpr auto reserve_life = std::chrono::milliseconds{250};

}  // namespace

PipelineCore::Granted PipelineCore::acquire(PipelineSource& source, Overflow overflow) {
  const Clock::time_point asked = trace_ ? Clock::now() : Clock::time_point{};
  std::unique_lock lock{mutex_};
  if (closed_ || source.closed) return {nullptr, Push::closed};
  if (source.reserved) {
    --reserved_;
    return {start_filling(std::exchange(source.reserved, nullptr), asked), Push::queued};
  }
  if (!free_.empty()) return {start_filling(take_free(), asked), Push::queued};
  if (overflow == Overflow::block) {
    PipelineFrame* frame = wait_for_token(lock, source);
    if (!frame) return {nullptr, Push::closed};
    return {start_filling(frame, asked), Push::queued};
  }
  if (overflow == Overflow::drop_oldest) {
    if (PipelineFrame* victim = oldest_to_drop(source)) {
      drop(*victim);
      return {start_filling(victim, asked), Push::queued};
    }
  }
  if (trace_) trace_drop(source, source.next_id);
  ++source.next_id;  // the gap by which the user sees the drop
  ++source.dropped;
  claim(source);
  return {nullptr, Push::dropped};
}

PipelineFrame* PipelineCore::take_free() noexcept {
  ++taken_;
  return free_.pop_front();
}

PipelineFrame* PipelineCore::start_filling(PipelineFrame* frame, Clock::time_point asked) {
  if (trace_) {
    frame->asked_at = asked;
    frame->granted_at = Clock::now();
  }
  frame->state = FrameState::filling;
  frame->in_order = false;
  frame->delivery = Delivery::pop;
  frame->waiter = nullptr;
  frame->source = nullptr;
  frame->failed_stage = nullptr;
  frame->status.code = Errc::ok;
  frame->status.message.clear();
  frame->position = 0;
  choose_route(*frame);
  return frame;
}

/// Waiting pushes are served in the order they came, whatever their source: a token that comes back is handed
/// to the first of them, and free_ stays empty while anyone waits.
PipelineFrame* PipelineCore::wait_for_token(std::unique_lock<std::mutex>& lock, PipelineSource& source) {
  TokenWaiter waiter{.source = &source};
  line_up(waiter);
  while (!waiter.frame && !waiter.closed) {
    if (reserved_ == 0) {
      waiter.changed.wait(lock);
    } else if (waiter.changed.wait_until(lock, Clock::now() + reserve_life) == std::cv_status::timeout) {
      expire_reserves();
    }
  }
  return waiter.frame;
}

void PipelineCore::line_up(TokenWaiter& waiter) noexcept {
  waiter.next = nullptr;
  (last_waiter_ ? last_waiter_->next : first_waiter_) = &waiter;
  last_waiter_ = &waiter;
}

/// A source that drops does not wait, so whoever does would always be first. One with nothing in flight gets
/// a place in line.
void PipelineCore::claim(PipelineSource& source) noexcept {
  if (source.claiming || source.undelivered > 0) return;
  source.claiming = true;
  line_up(source.claim);
}

void PipelineCore::reserve(PipelineSource& source, PipelineFrame& frame) noexcept {
  source.reserved = &frame;
  source.reserved_at = Clock::now();
  if (reserved_++ > 0) return;
  for (TokenWaiter* w = first_waiter_; w; w = w->next) w->changed.notify_one();  // they watch over its age
}

/// A source that stopped pushing must not keep a token from those who wait: the user may hold all the others.
void PipelineCore::expire_reserves() {
  const Clock::time_point now = Clock::now();
  for (const auto& source : sources_) {
    if (source->reserved && source->reserved_at + reserve_life <= now) return_reserve(*source);
  }
}

void PipelineCore::return_reserve(PipelineSource& source) {
  if (!source.reserved) return;
  --reserved_;
  recycle(*std::exchange(source.reserved, nullptr));
}

void PipelineCore::cancel_waiters(const PipelineSource* source) noexcept {
  TokenWaiter* waiter = first_waiter_;
  first_waiter_ = last_waiter_ = nullptr;
  while (waiter) {
    TokenWaiter* next = waiter->next;
    if (source && waiter->source != source) {
      line_up(*waiter);
    } else if (waiter->is_claim) {
      waiter->source->claiming = false;
    } else {
      waiter->closed = true;
      waiter->changed.notify_one();
    }
    waiter = next;
  }
}

void PipelineCore::recycle(PipelineFrame& frame) {
  frame.state = FrameState::idle;
  if (frame.quarantined > 0) return;  // settle() recycles it when the stage has let go
  while (TokenWaiter* waiter = first_waiter_) {
    first_waiter_ = waiter->next;
    if (!first_waiter_) last_waiter_ = nullptr;
    if (!waiter->is_claim) {
      waiter->frame = &frame;
      waiter->changed.notify_one();
      return;
    }
    PipelineSource& source = *waiter->source;
    source.claiming = false;
    if (reserved_ + 1 >= depth) continue;  // one token at least stays with those who use it
    reserve(source, frame);
    return;
  }
  --taken_;
  free_.push_back(&frame);
}

/// The oldest frame no stage has started, else the oldest unpopped result. A token in quarantine would be no
/// gain.
PipelineFrame* PipelineCore::oldest_to_drop(PipelineSource& source) noexcept {
  for (PipelineFrame* f = source.unfinished.front(); f; f = OrderList::next(f)) {
    if (f->state == FrameState::queued && f->position == 0 && f->tried == 0) return f;
  }
  for (PipelineFrame* f = ready_.front(); f; f = QueueList::next(f)) {
    if (f->source == &source && f->quarantined == 0) return f;
  }
  for (PipelineFrame* f = source.unfinished.front(); f; f = OrderList::next(f)) {
    if (f->state == FrameState::done && f->quarantined == 0) return f;
  }
  return nullptr;
}

/// Takes an accepted frame out of every list. The caller decides what becomes of the token.
void PipelineCore::drop(PipelineFrame& frame) {
  PipelineSource& source = *frame.source;
  if (frame.in_order) {
    ready_.remove(&frame);
  } else {
    if (frame.state == FrameState::queued) {
      nodes_[wiring.routes[frame.route].steps[frame.position].stage].queue.remove(&frame);
    }
    source.unfinished.remove(&frame);
    release_in_order(source, Clock::now());  // it may have held back younger results
  }
  if (trace_) trace_drop(source, frame.id);
  ++source.dropped;
  --source.undelivered;
  --undelivered_;
  check_drained();
}

void PipelineCore::choose_route(PipelineFrame& frame) {
  frame.route = wiring.routes.size() == 1 ? 0 : pick_route();
  frame.filled = fed_alike(frame.route);
  frame.tried = 0;
}

/// The frame was not pushed after all; the next one takes its place.
void PipelineCore::unchoose_route(const PipelineFrame& frame) {
  if (wiring.routes.size() > 1 && shares_[frame.route] > 0) served_[frame.route] -= 1 / shares_[frame.route];
}

Push PipelineCore::accept(PipelineFrame& frame, PipelineSource& source, const FrameInfo& info) {
  const std::lock_guard lock{mutex_};
  if (closed_ || source.closed) {
    unchoose_route(frame);
    recycle(frame);
    return Push::closed;
  }
  const Clock::time_point now = Clock::now();
  frame.source = &source;
  frame.id = source.next_id++;
  frame.info = info;
  frame.accepted_at = now;
  source.unfinished.push_back(&frame);
  ++source.undelivered;
  ++undelivered_;
  if (trace_) {
    frame.flow = trace_->new_flow();
    trace_fill(frame);
  }
  enqueue(frame, now);
  return Push::queued;
}

void PipelineCore::give_back(PipelineFrame& frame) {
  const std::lock_guard lock{mutex_};
  unchoose_route(frame);
  recycle(frame);
}

void PipelineCore::release(PipelineFrame& frame) {
  const std::lock_guard lock{mutex_};
  recycle(frame);
}

}  // namespace splitcnn::inline v0
