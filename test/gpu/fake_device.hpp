#pragma once
/// A GPU that is none: a thread per stream, events, and the host executor as its kernels. Faults on demand.
/// Linked into the ring's test, and a plug-in of its own (libsplitcnn_fake_gpu.so) for the tests of GpuStage.
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "gpu/backend.hpp"

namespace splitcnn_test {

struct FakeControl {
  std::atomic<int> native{0};            ///< not 0: device_count fails with no_device and this CUDA number
  std::atomic<int> wrong_abi{0};         ///< 1: the plug-in speaks another version
  std::atomic<int> fail_open{0};         ///< so many opens fail
  std::atomic<int> fail_load{0};         ///< so many loads fail
  std::atomic<int> fail_host_alloc{0};   ///< so many allocations of pinned memory fail, after ...
  std::atomic<int> good_host_allocs{0};  ///< ... so many that do not
  std::atomic<int> poison_in_runs{-1};   ///< the run after so many more poisons the device it is on; -1: none
  std::atomic<int> poisonings{1};        ///< so many times, the next ones at once
  std::atomic<int> refuse_kind{-1};      ///< TailKind that supports() refuses
  std::atomic<int> hold{0};              ///< 1: streams stand still until release()
  std::atomic<long> clock_ns{0};         ///< advances with every copy by ...
  std::atomic<long> direct_ns{0};        ///< ... this much from registered memory or a dma-buf
  std::atomic<long> staged_ns{0};        ///< ... or this much from memory of the device's own
  std::atomic<int> opens{0}, closes{0}, runs{0}, copies{0}, direct_copies{0}, prepares{0};
  std::atomic<int> buffers{0}, streams{0}, events{0}, segments{0}, contexts{0};  ///< alive

  // Not atomic::wait: its table of waiters is one per shared library, and a notify from another library is
  // lost.
  std::mutex held;
  std::condition_variable released;
  void release() {
    {
      const std::lock_guard lock{held};
      hold = 0;
    }
    released.notify_all();
  }
  void pass() {
    std::unique_lock lock{held};
    released.wait(lock, [&] { return hold == 0; });
  }
  void reset() {
    release();
    native = wrong_abi = fail_open = fail_load = fail_host_alloc = good_host_allocs = 0;
    opens = closes = runs = copies = direct_copies = prepares = 0;
    clock_ns = direct_ns = staged_ns = 0;
    poison_in_runs = refuse_kind = -1;
    poisonings = 1;
  }
  [[nodiscard]] int alive() const {
    return buffers + streams + events + segments + contexts + opens - closes;
  }
};

const splitcnn::gpu::GpuApi* fake_api();
FakeControl& fake_control();

}  // namespace splitcnn_test
