#include "partition/virtual_stage.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <thread>

#include "partition/route_cost.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

Clock::duration duration_of(double ms) { return std::chrono::duration_cast<Clock::duration>(Millis{ms}); }

class VirtualStage final : public Stage {
 public:
  struct Times {
    double batch_ms = 0;  ///< of a batch, full or not: the lanes run in lock step
    double blocked_ms = 0;  ///< of a batch: the device waits while its results cross the link
    double link_ms = 0;   ///< per frame, before the batch can start
    std::size_t batch = 1;
    std::string link;
  };

  VirtualStage(const Segment& segment, const SegmentIo& io, Times times, std::shared_ptr<VirtualClocks> clocks)
      : name_{fmt::format("virtual {} units {}-{}", segment.device, segment.first_unit, segment.last_unit - 1)},
        device_{segment.device},
        times_{std::move(times)},
        clocks_{std::move(clocks)} {
    for (const EdgeTensor& edge : io.inputs) inputs_.push_back(edge.spec);
    for (const EdgeTensor& edge : io.outputs) outputs_.push_back(edge.spec);
    const std::lock_guard lock{clocks_->mutex};
    device_free_ = &clocks_->free_at[device_];
    if (!times_.link.empty()) link_free_ = &clocks_->free_at[times_.link];
  }

  const std::string& name() const noexcept override { return name_; }
  const std::string& device() const noexcept override { return device_; }
  std::span<const TensorSpec> inputs() const noexcept override { return inputs_; }
  std::span<const TensorSpec> outputs() const noexcept override { return outputs_; }
  std::size_t preferred_batch() const noexcept override { return times_.batch; }
  std::size_t max_in_flight() const noexcept override { return done_.size(); }

  Ticket submit(const Batch& batch) override {
    const double factor = clocks_->slowdown ? clocks_->slowdown(device_) : 1;
    const std::lock_guard lock{clocks_->mutex};
    Clock::time_point ready = Clock::now();
    if (link_free_) {
      ready = std::max(ready, *link_free_) + duration_of(times_.link_ms * static_cast<double>(batch.frames));
      *link_free_ = ready;
    }
    *device_free_ = std::max(ready, *device_free_) + duration_of(times_.batch_ms * factor + times_.blocked_ms);
    done_[next_ % done_.size()] = *device_free_;
    return {next_++};
  }

  Status wait(Ticket ticket, Clock::time_point deadline) override {
    const Clock::time_point done = done_[ticket.id % done_.size()];
    std::this_thread::sleep_until(std::min(done, deadline));
    return done <= deadline ? Status{} : Status{Errc::timeout, "the virtual device is not done"};
  }

 private:
  std::string name_, device_;
  Times times_;
  std::shared_ptr<VirtualClocks> clocks_;
  std::vector<TensorSpec> inputs_, outputs_;
  std::array<Clock::time_point, 3> done_{};
  std::uint64_t next_ = 0;
  Clock::time_point* device_free_ = nullptr;  // in the map, whose nodes stay where they are
  Clock::time_point* link_free_ = nullptr;
};

/// The link into the segment from the segment right before it on its route. What comes from further back is part of it by bytes.
void add_link(VirtualStage::Times& times, const Plan& plan, const Segment& segment, const Profile& profile) {
  for (const Route& route : plan.routes()) {
    for (std::size_t i = 1; i < route.segments.size(); ++i) {
      const Segment &before = route.segments[i - 1], &here = route.segments[i];
      if (here.device != segment.device || here.first != segment.first || here.last != segment.last) continue;
      std::size_t bytes = 0;
      for (const EdgeTensor& edge : segment_io(plan, here).inputs) {
        if (plan.graph().producer(edge.id)) bytes += edge.spec.bytes();
      }
      times.link_ms = profile.transfer_ms(before.device, here.device, bytes);
      if (times.link_ms > 0) times.link = before.device + "->" + here.device;
      if (profile.blocks_sender(before.device, here.device)) times.link_ms = 0, times.link.clear();
      return;
    }
  }
}

/// What the device waits per frame while its results cross a link that blocks it.
double blocked_ms(const Plan& plan, const Segment& segment, const Profile& profile) {
  for (const Route& route : plan.routes()) {
    for (std::size_t i = 0; i + 1 < route.segments.size(); ++i) {
      const Segment &here = route.segments[i], &next = route.segments[i + 1];
      if (here.device != segment.device || here.first != segment.first || here.last != segment.last) continue;
      if (!profile.blocks_sender(here.device, next.device)) continue;
      std::size_t bytes = 0;
      for (const EdgeTensor& edge : segment_io(plan, here).outputs) bytes += edge.spec.bytes();
      return profile.transfer_ms(here.device, next.device, bytes);
    }
  }
  return 0;
}

}  // namespace

std::unique_ptr<Stage> virtual_stage(const Plan& plan, const Segment& segment, const Profile& profile, std::shared_ptr<VirtualClocks> clocks) {
  const DeviceProfile& device = profile.device(segment.device);
  const double ms = profile.segment_ms(segment.device, segment.first_unit, segment.last_unit);
  if (std::isnan(ms)) {
    throw Error{Errc::unsupported, fmt::format("virtual {}: the profile has no time for units {} to {}; choose another plan", segment.device,
                                               segment.first_unit, segment.last_unit)};
  }
  const double frames = static_cast<double>(device.batch);
  VirtualStage::Times times{.batch_ms = ms * frames, .blocked_ms = blocked_ms(plan, segment, profile) * frames, .batch = device.batch};
  add_link(times, plan, segment, profile);
  return std::make_unique<VirtualStage>(segment, segment_io(plan, segment), std::move(times), std::move(clocks));
}

}  // namespace splitcnn::inline v0
