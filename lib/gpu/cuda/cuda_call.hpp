#pragma once
/// CUDA runtime calls that throw, and what an exception becomes at the plug-in's boundary. Internal to the
/// plug-in.
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

#include "gpu/backend.hpp"

namespace splitcnn::inline v0::gpu::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const std::string& what);
  [[nodiscard]] cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

/// A refusal that is nobody's failure: this cannot run here, or was called wrongly.
class Refusal : public std::runtime_error {
 public:
  Refusal(GpuCode code, const std::string& what) : std::runtime_error{what}, code_{code} {}
  [[nodiscard]] GpuCode code() const noexcept { return code_; }

 private:
  GpuCode code_;
};

inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw CudaError{code, what};
}

/// What a CUDA error means for the caller. 35, 34, 100, 803, 999 and their like: there is no GPU.
GpuCode code_of(cudaError_t error) noexcept;
/// Errors after which every handle of the process's context is dead.
bool is_sticky(cudaError_t error) noexcept;

void fill(GpuError* error, GpuCode code, std::int32_t native, const char* text) noexcept;

/// Inside a catch block: the code of the current exception, `error` filled in.
GpuCode translate(GpuError* error) noexcept;

/// Calls f() and turns whatever it throws into a code. f returns nothing or a GpuCode.
template <class F>
GpuCode guarded(GpuError* error, const F& f) noexcept {
  try {
    if constexpr (std::is_void_v<decltype(f())>) {
      f();
      return GpuCode::ok;
    } else {
      return f();
    }
  } catch (...) {
    return translate(error);
  }
}

}  // namespace splitcnn::inline v0::gpu::cuda
