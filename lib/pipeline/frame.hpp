#pragma once
/// A frame in flight: the token, where its tensors lie, and what became of it. There are `depth` of them for
/// the life of a pipeline; they only move between intrusive lists, so the flow of frames allocates nothing.
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

struct PipelineCore;
struct PipelineFrame;
struct PipelineSource;

enum class FrameState : std::uint8_t {
  idle,     ///< in the free list, or in quarantine
  filling,  ///< a push is copying into it, or a Slot holds it
  queued,   ///< waits for the stage at `position`
  running,  ///< part of a batch
  done,     ///< finished; waits for its turn in the source's order, or for pop
  leased,   ///< held by a Result
};

/// Who waits for the frame.
enum class Delivery : std::uint8_t { pop, infer, warm_up };

struct FrameHook {
  PipelineFrame* previous = nullptr;
  PipelineFrame* next = nullptr;
};

/// A thread in infer() or warm_up(); lives on that thread's stack.
struct PrivateWaiter {
  std::condition_variable changed;
  std::size_t outstanding = 0;
  Status failure;  ///< warm_up: the first one
};

struct PipelineFrame {
  std::vector<TensorView> tensors;  ///< by tensor id of the wiring

  FrameState state = FrameState::idle;
  Delivery delivery = Delivery::pop;
  bool in_order = false;     ///< done, and nothing older of its source is unfinished
  unsigned quarantined = 0;  ///< overdue batches it is part of: their stages may still write to the buffers
  std::size_t route = 0;
  std::uint64_t filled = 0;  ///< routes (bits) whose inputs hold the frame
  std::uint64_t tried = 0;   ///< routes it has gone along and left again
  std::size_t position = 0;  ///< step of the route it is at
  FrameHook queue, order;    ///< links of the list it waits in; links of its source's unfinished frames

  PipelineSource* source = nullptr;
  PrivateWaiter* waiter = nullptr;
  std::uint64_t id = 0;
  FrameInfo info;
  Clock::time_point accepted_at, queued_at, ready_at;
  Clock::time_point asked_at, granted_at;  ///< for the token; with a trace only
  std::uint64_t flow = 0;                  ///< the frame in the trace
  Status status;
  const std::string* failed_stage = nullptr;

  PipelineCore* core = nullptr;
  std::shared_ptr<PipelineCore> keep_alive;  ///< while a Result or Slot holds the token
};

/// First in, first out, with removal from the middle. The frames own the links.
template <FrameHook PipelineFrame::*hook>
class FrameList {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] PipelineFrame* front() const noexcept { return first_; }
  [[nodiscard]] static PipelineFrame* next(const PipelineFrame* frame) noexcept {
    return (frame->*hook).next;
  }

  void push_back(PipelineFrame* frame) noexcept {
    frame->*hook = {last_, nullptr};
    (last_ ? (last_->*hook).next : first_) = frame;
    last_ = frame;
    ++size_;
  }

  void remove(PipelineFrame* frame) noexcept {
    const FrameHook links = frame->*hook;
    (links.previous ? (links.previous->*hook).next : first_) = links.next;
    (links.next ? (links.next->*hook).previous : last_) = links.previous;
    frame->*hook = {};
    --size_;
  }

  PipelineFrame* pop_front() noexcept {
    PipelineFrame* frame = first_;
    remove(frame);
    return frame;
  }

 private:
  PipelineFrame* first_ = nullptr;
  PipelineFrame* last_ = nullptr;
  std::size_t size_ = 0;
};

using QueueList = FrameList<&PipelineFrame::queue>;
using OrderList = FrameList<&PipelineFrame::order>;

}  // namespace splitcnn::inline v0
