// The kernels: every body of this folder as device code.
#include "gpu/cuda/kernels/axis.hpp"
#include "gpu/cuda/kernels/dense.hpp"
#include "gpu/cuda/kernels/launch.hpp"
#include "gpu/cuda/kernels/layers.hpp"
#include "gpu/cuda/kernels/resample.hpp"
#include "gpu/cuda/kernels/walks.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

template <class Body>
__global__ void __launch_bounds__(Body::threads, 1) body_kernel(const __grid_constant__ Body body) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Thread t{blockIdx.x, threadIdx.x, shared};
  body.template run<0>(t);
  if constexpr (Body::phases > 1) {
    __syncthreads();
    body.template run<1>(t);
  }
  if constexpr (Body::phases > 2) {
    __syncthreads();
    body.template run<2>(t);
  }
}

__global__ void __launch_bounds__(GroupBody::threads, 1)
    group_kernel(const __grid_constant__ GroupBody body) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Thread t{blockIdx.x, threadIdx.x, shared};
  for (int step = 0; step < body.n_steps; ++step) {
    body.run_step(step, t);
    __syncthreads();
  }
}

}  // namespace

template <class Body>
cudaError_t launch(const Body& body, std::uint32_t blocks, std::uint32_t shared_bytes, cudaStream_t stream) {
  if (blocks == 0) return cudaSuccess;
  body_kernel<Body><<<blocks, Body::threads, shared_bytes, stream>>>(body);
  return cudaGetLastError();
}

cudaError_t launch_group(const GroupBody& body, std::uint32_t frames, std::uint32_t shared_bytes,
                         cudaStream_t stream) {
  group_kernel<<<frames, GroupBody::threads, shared_bytes, stream>>>(body);
  return cudaGetLastError();
}

template cudaError_t launch(const ConvBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const DepthwiseBody<0, 1, 1>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const DepthwiseBody<3, 1, 4>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const DepthwiseBody<3, 2, 2>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const DepthwiseBody<5, 1, 4>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const DepthwiseBody<5, 2, 2>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const PoolBody<true>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const PoolBody<false>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const GlobalPoolBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FcBody<1>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FcBody<2>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FcBody<4>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FcBody<8>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FcBody<16>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const GapFcBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ProductBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryBody<float>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryBody<std::uint16_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryBody<std::int8_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryRowsBody<float>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryRowsBody<std::uint16_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const EntryRowsBody<std::int8_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ExitBody<float>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ExitBody<std::uint16_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ExitBody<std::int8_t>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ElementwiseBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const Elementwise8Body&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const MoveBody<1>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const MoveBody<8>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ReshapeBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const FillBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const MeanBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ResampleBody<1>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const ResampleBody<8>&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const SoftmaxBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const SoftmaxShortBody&, std::uint32_t, std::uint32_t, cudaStream_t);
template cudaError_t launch(const LrnBody&, std::uint32_t, std::uint32_t, cudaStream_t);

}  // namespace splitcnn::inline v0::gpu::cuda
