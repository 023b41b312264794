#pragma once
/// Frames to the GPU and back: a ring of slots, three streams, and the order between them.
///
///     Ring ring{*api, device, segment, inputs, outputs, {.max_batch = 8}};
///     if (ring.submit(frames, in, out) == GpuCode::ok) ...                // staged, copied, computed,
///     copied back ring.wait(deadline_ns);                                             // the oldest: results
///     are in `out`
///
/// Each slot has pinned host buffers and device buffers of its own; compute has one context with one set of
/// addresses per slot. Per batch: h2d copies, h2d_done, compute, computed, d2h copies, out_done. Slot s+1
/// copies while slot s computes. An input of at most `zero_copy_bytes` is read by its entry op in the pinned
/// memory itself; no copy at all. Back-pressure: submit() says not_ready while all slots are in flight. A
/// slot is free again when wait() has returned ok or failed for its batch, never before: after a timeout it
/// is still the device's. The destructor waits until the device has let go of every buffer; batches that
/// nobody waited for leave their `out` untouched.
///
/// Two paths for inputs. Staged: copied by the CPU into the slot's pinned memory, from there by the device.
/// Direct: memory of the producer's that adopt() made known (a buffer this side offered, a mapped BAR, a
/// dma-buf) is read by the device where it lies. choose_path() times both and keeps the faster. One thread
/// calls; the device is an abstract interface (GpuApi), so the tests run this very code on a fake one.
#include <span>
#include <vector>

#include "gpu/backend.hpp"
#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0::gpu {

struct RingOptions {
  std::uint32_t slots = 4;
  std::uint32_t max_batch = 8;                  ///< a member of tail_batches
  std::uint64_t zero_copy_bytes = 64 << 10;     ///< of a whole batch of one input
  std::int64_t (*now_ns)() noexcept = nullptr;  ///< clock of choose_path(); null: steady_clock
};

/// What choose_path() found: one frame's largest input to the device. 0 where nothing was there to be timed.
struct PathTimes {
  std::int64_t direct_ns = 0, staged_ns = 0;
};

class Ring {
 public:
  /// Throws Error{device_failed} with the plug-in's reason when memory, streams or the context cannot be had.
  Ring(const GpuApi& api, GpuDevice* device, GpuSegment* segment, std::span<const TailIo> inputs,
       std::span<const TailIo> outputs, const RingOptions& options);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Captures and warms every slot for every batch size up to max_batch: nothing slow is left for submit().
  GpuCode prepare(GpuError* error);

  /// Views are frame-major as in Batch. Reads `in` before it returns, except views in adopted memory; writes
  /// `out` in wait(). `out` is copied. Codes: ok, not_ready (all slots in flight), bad_argument, or the
  /// device's failure.
  GpuCode submit(std::size_t frames, std::span<const TensorView> in, std::span<const TensorView> out,
                 GpuError* error) noexcept;
  /// The oldest batch in flight. ok, timeout (again later), or the device's failure (the slot is free, `out`
  /// untouched).
  GpuCode wait(std::int64_t timeout_ns, GpuError* error) noexcept;
  [[nodiscard]] std::size_t in_flight() const noexcept {
    return static_cast<std::size_t>(submitted_ - done_);
  }

  /// Makes memory of the caller's known, so that inputs that lie in it can go the direct path. It must
  /// outlive the ring. False when the device cannot reach it: then it is staged like any other.
  bool adopt(void* memory, std::uint64_t bytes, GpuHostMemory kind = GpuHostMemory::pageable) noexcept;
  /// The same for a dma-buf, which the CPU sees at `mapped`.
  bool adopt_dmabuf(std::int32_t fd, void* mapped, std::uint64_t bytes) noexcept;
  /// Times both paths from the adopted memory, before the first submit(), and keeps the faster.
  GpuCode choose_path(GpuError* error) noexcept;
  /// Direct until choose_path() or this says otherwise.
  void use_direct(bool direct) noexcept { direct_ = direct; }
  [[nodiscard]] bool direct() const noexcept { return direct_ && !adopted_.empty(); }
  [[nodiscard]] PathTimes path_times() const noexcept { return times_; }

 private:
  struct Slot {
    std::vector<GpuBuffer> host_in, host_out, device_in,
        device_out;  // device_in[i].device is null where zero copy
    GpuEvent *h2d_done = nullptr, *computed = nullptr, *out_done = nullptr;
    std::vector<TensorView> out;
    std::size_t frames = 0;
  };

  struct Adopted {
    GpuBuffer buffer;  // host: where the CPU sees it
    bool dmabuf = false;
  };

  void build(std::span<const TailIo> inputs, std::span<const TailIo> outputs);
  void drain() noexcept;
  void destroy() noexcept;
  GpuCode copy_inputs(Slot& slot, std::span<const TensorView> in, GpuError* error) noexcept;
  GpuCode copy_direct(void* target, const std::byte* from, std::uint64_t bytes, GpuError* error) noexcept;
  [[nodiscard]] const Adopted* find(const void* p, std::uint64_t bytes) const noexcept;
  GpuCode time_path(bool direct, std::size_t input, const std::byte* from, std::int64_t* ns,
                    GpuError* error) noexcept;

  const GpuApi& api_;
  GpuDevice* device_;
  GpuSegment* segment_;
  RingOptions options_;
  std::vector<TailIo> inputs_, outputs_;
  std::vector<Slot> slots_;
  std::vector<Adopted> adopted_;
  bool direct_ = true;
  PathTimes times_;
  GpuStream *h2d_ = nullptr, *compute_ = nullptr, *d2h_ = nullptr;
  GpuContext* context_ = nullptr;
  std::uint64_t submitted_ = 0, done_ = 0;
};

}  // namespace splitcnn::inline v0::gpu
