#pragma once
/// The old cuDNN call for a convolution with bias and activation: for shapes that have no plan. Symmetric
/// padding only.
#include <optional>

#include "gpu/cuda/conv_shape.hpp"
#include "gpu/cuda/memory.hpp"

namespace splitcnn::inline v0::gpu::cuda {

class LegacyConv {
 public:
  /// Nothing when cuDNN refuses the shape or wants more workspace than the cap. Needs a GPU (the handle).
  static std::optional<LegacyConv> make(cudnnHandle_t handle, const ConvShape& shape,
                                        std::int64_t workspace_cap);

  [[nodiscard]] std::int64_t workspace() const noexcept { return workspace_; }
  void run(cudnnHandle_t handle, const void* x, const void* weights, const void* bias, const void* z, void* y,
           void* workspace) const;

 private:
  using Tensor = Owned<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor>;
  using Filter = Owned<cudnnFilterDescriptor_t, cudnnDestroyFilterDescriptor>;
  using Convolution = Owned<cudnnConvolutionDescriptor_t, cudnnDestroyConvolutionDescriptor>;
  using Activation = Owned<cudnnActivationDescriptor_t, cudnnDestroyActivationDescriptor>;

  LegacyConv() = default;
  static Tensor tensor(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w);

  Tensor x_, y_, bias_;
  Filter weights_;
  Convolution convolution_;
  Activation activation_;
  std::int64_t workspace_ = 0;
};

}  // namespace splitcnn::inline v0::gpu::cuda
