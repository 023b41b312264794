#pragma once
/// RAII over what the CUDA runtime hands out. Destructors ignore errors: on a poisoned device every call
/// fails, and nothing can be done.
#include <cudnn.h>

#include <utility>

#include "gpu/cuda/cuda_call.hpp"
#include "gpu/cuda/descriptor.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// A handle with a function that destroys it.
template <class T, auto destroy>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T handle) : handle_{handle} {}
  Owned(Owned&& other) noexcept : handle_{std::exchange(other.handle_, T{})} {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_) static_cast<void>(destroy(handle_));
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  [[nodiscard]] T get() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ != T{}; }

 private:
  T handle_{};
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;
using DnnHandle = Owned<cudnnHandle_t, cudnnDestroy>;

inline Stream make_stream() {
  cudaStream_t s = nullptr;
  check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "a stream cannot be made");
  return Stream{s};
}
inline Event make_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t e = nullptr;
  check(cudaEventCreateWithFlags(&e, flags), "an event cannot be made");
  return Event{e};
}
inline DnnHandle make_dnn_handle() {
  cudnnHandle_t h = nullptr;
  check(cudnnCreate(&h), "cuDNN cannot be started on this GPU");
  return DnnHandle{h};
}

/// Device memory, 256-byte aligned as cudaMalloc has it.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(std::uint64_t bytes) : bytes_{bytes} {
    if (bytes == 0) return;
    void* p = nullptr;
    check(cudaMalloc(&p, bytes), "device memory cannot be had; use a smaller batch or fewer contexts");
    memory_ = Pointer{p};
  }
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(memory_.get()); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  using Pointer = Owned<void*, cudaFree>;
  Pointer memory_;
  std::uint64_t bytes_ = 0;
};

}  // namespace splitcnn::inline v0::gpu::cuda
