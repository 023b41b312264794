// The ring's direct path: memory of the producer's that the device reads where it lies, and whether that is
// worth it.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "gpu/transfer/ring.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

std::int64_t steady_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

bool Ring::adopt(void* memory, std::uint64_t bytes, GpuHostMemory kind) noexcept {
  GpuBuffer buffer{};
  if (api_.host_register(device_, memory, bytes, kind, &buffer, nullptr) != GpuCode::ok) return false;
  adopted_.push_back({buffer, false});
  return true;
}

bool Ring::adopt_dmabuf(std::int32_t fd, void* mapped, std::uint64_t bytes) noexcept {
  GpuBuffer buffer{};
  if (api_.dmabuf_import(device_, fd, bytes, &buffer, nullptr) != GpuCode::ok) return false;
  buffer.host = mapped;
  adopted_.push_back({buffer, true});
  return true;
}

const Ring::Adopted* Ring::find(const void* p, std::uint64_t bytes) const noexcept {
  const auto* at = static_cast<const std::byte*>(p);
  for (const Adopted& a : adopted_) {
    const auto* begin = static_cast<const std::byte*>(a.buffer.host);
    if (at >= begin && at + bytes <= begin + a.buffer.bytes) return &a;
  }
  return nullptr;
}

GpuCode Ring::copy_direct(void* target, const std::byte* from, std::uint64_t bytes,
                          GpuError* error) noexcept {
  const Adopted& a = *find(from, bytes);
  if (!a.dmabuf) return api_.copy(h2d_, target, from, bytes, GpuCopy::host_to_device, error);
  const auto offset = from - static_cast<const std::byte*>(a.buffer.host);
  return api_.copy(h2d_, target, static_cast<const std::byte*>(a.buffer.device) + offset, bytes,
                   GpuCopy::device_to_device, error);
}

/// One frame of one input onto the device: the median of several, after one that warms up.
GpuCode Ring::time_path(bool direct, std::size_t input, const std::byte* from, std::int64_t* ns,
                        GpuError* error) noexcept {
  Slot& slot = slots_[0];
  const std::uint64_t bytes = inputs_[input].frame_bytes;
  const auto now = options_.now_ns ? options_.now_ns : steady_ns;
  std::array<std::int64_t, 9> times{};
  for (std::size_t i = 0; i <= times.size(); ++i) {
    const std::int64_t begin = now();
    GpuCode code = GpuCode::ok;
    if (direct) {
      code = copy_direct(slot.device_in[input].device, from, bytes, error);
    } else {
      std::memcpy(slot.host_in[input].host, from, bytes);
      code = api_.copy(h2d_, slot.device_in[input].device, slot.host_in[input].host, bytes,
                       GpuCopy::host_to_device, error);
    }
    if (code == GpuCode::ok) code = api_.event_record(slot.h2d_done, h2d_, error);
    if (code == GpuCode::ok) code = api_.event_wait(slot.h2d_done, -1, error);
    if (code != GpuCode::ok) return code;
    if (i > 0) times[i - 1] = now() - begin;
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  *ns = times[times.size() / 2];
  return GpuCode::ok;
}

GpuCode Ring::choose_path(GpuError* error) noexcept {
  if (submitted_ > 0 || adopted_.empty()) return GpuCode::ok;
  std::size_t largest = inputs_.size();
  const std::byte* from = nullptr;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!slots_[0].device_in[i].device) continue;  // read in place: there is no copy to save
    if (largest < inputs_.size() && inputs_[i].frame_bytes <= inputs_[largest].frame_bytes) continue;
    for (const Adopted& a : adopted_) {
      if (a.buffer.bytes < inputs_[i].frame_bytes) continue;
      largest = i;
      from = static_cast<const std::byte*>(a.buffer.host);
      break;
    }
  }
  if (!from) return GpuCode::ok;
  PathTimes times;
  if (const GpuCode code = time_path(true, largest, from, &times.direct_ns, error); code != GpuCode::ok)
    return code;
  if (const GpuCode code = time_path(false, largest, from, &times.staged_ns, error); code != GpuCode::ok)
    return code;
  times_ = times;
  direct_ = times.direct_ns <= times.staged_ns;
  return GpuCode::ok;
}

}  // namespace splitcnn::inline v0::gpu
