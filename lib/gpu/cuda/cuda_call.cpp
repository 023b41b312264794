#include "gpu/cuda/cuda_call.hpp"

#include <fmt/core.h>

#include <cstring>
#include <new>

#include "gpu/cuda/descriptor.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

std::int32_t number(cudaError_t error) { return static_cast<std::int32_t>(error); }

GpuCode code_of(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_NOT_SUPPORTED:
      return GpuCode::unsupported;
    case CUDNN_STATUS_ALLOC_FAILED:
      return GpuCode::out_of_memory;
    case CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED:
    case CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH:
    default:
      break;
  }
  // cuDNN hides the CUDA error behind its own: ask CUDA whether the context is gone.
  return is_sticky(cudaPeekAtLastError()) ? GpuCode::poisoned : GpuCode::failed;
}

}  // namespace

CudaError::CudaError(cudaError_t code, const std::string& what)
    : std::runtime_error{fmt::format("{}: CUDA error {} ({}): {}", what, number(code), cudaGetErrorName(code),
                                     cudaGetErrorString(code))},
      code_{code} {}

bool is_sticky(cudaError_t error) noexcept {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorCudartUnloading:
      return true;
    default:
      return false;
  }
}

GpuCode code_of(cudaError_t error) noexcept {
  if (is_sticky(error)) return GpuCode::poisoned;
  switch (error) {
    case cudaSuccess:
      return GpuCode::ok;
    case cudaErrorNotReady:
      return GpuCode::not_ready;
    case cudaErrorMemoryAllocation:
      return GpuCode::out_of_memory;
    case cudaErrorInvalidValue:
      return GpuCode::bad_argument;
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
    case cudaErrorCompatNotSupportedOnDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorInitializationError:
    case cudaErrorUnknown:
      return GpuCode::no_device;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorNotSupported:
      return GpuCode::unsupported;
    default:
      return GpuCode::failed;
  }
}

void fill(GpuError* error, GpuCode code, std::int32_t native, const char* text) noexcept {
  if (!error) return;
  error->code = code;
  error->native = native;
  std::strncpy(error->text, text, sizeof error->text - 1);
  error->text[sizeof error->text - 1] = '\0';
}

GpuCode translate(GpuError* error) noexcept {
  GpuCode code = GpuCode::failed;
  try {
    throw;
  } catch (const CudaError& e) {
    code = code_of(e.code());
    fill(error, code, number(e.code()), e.what());
  } catch (const CudnnError& e) {
    code = code_of(e.status());
    fill(error, code, static_cast<std::int32_t>(e.status()), e.what());
  } catch (const Refusal& e) {
    code = e.code();
    fill(error, code, 0, e.what());
  } catch (const std::bad_alloc&) {
    code = GpuCode::out_of_memory;
    fill(error, code, 0, "the host has no memory left; close something");
  } catch (const std::exception& e) {
    fill(error, code, 0, e.what());
  } catch (...) {
    fill(error, code, 0, "an unknown exception inside the GPU plug-in; please report this");
  }
  return code;
}

}  // namespace splitcnn::inline v0::gpu::cuda
