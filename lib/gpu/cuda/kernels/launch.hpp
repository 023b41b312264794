#pragma once
/// Starts a kernel body on the GPU. Defined and instantiated in kernels.cu, the only file nvcc compiles.
#include <cuda_runtime_api.h>

#include "gpu/cuda/kernels/group.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// Neither waits nor allocates; may be captured.
template <class Body>
cudaError_t launch(const Body& body, std::uint32_t blocks, std::uint32_t shared_bytes, cudaStream_t stream);

cudaError_t launch_group(const GroupBody& body, std::uint32_t frames, std::uint32_t shared_bytes,
                         cudaStream_t stream);

}  // namespace splitcnn::inline v0::gpu::cuda
