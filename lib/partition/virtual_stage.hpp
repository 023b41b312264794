#pragma once
/// A stage that takes the time a profile says and computes nothing: its outputs keep what they were allocated with (zeros). Batches and links
/// occupy their device one after the other on a clock of their own, so that a late wake-up of this machine delays one result and not all
/// that follow.
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "splitcnn/profile.hpp"

namespace splitcnn::inline v0 {

/// What the stages of one set of virtual devices share.
struct VirtualClocks {
  std::mutex mutex;
  std::map<std::string, Clock::time_point> free_at;             ///< per device, and per link as "from->to"
  std::function<double(std::string_view device)> slowdown;      ///< factor on the device's times, asked for every batch; may be empty
};

/// Throws unsupported when the profile has no time for the segment.
std::unique_ptr<Stage> virtual_stage(const Plan& plan, const Segment& segment, const Profile& profile, std::shared_ptr<VirtualClocks> clocks);

}  // namespace splitcnn::inline v0
