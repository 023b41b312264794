#include "gpu/cuda/legacy_conv.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

// The one algorithm that takes an identity activation, and the one for FP16 NHWC on tensor cores.
constexpr cudnnConvolutionFwdAlgo_t algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;

int as_int(std::int64_t n) { return static_cast<int>(n); }

}  // namespace

LegacyConv::Tensor LegacyConv::tensor(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  cudnnTensorDescriptor_t raw = nullptr;
  check(cudnnCreateTensorDescriptor(&raw), "a tensor of a convolution");
  Tensor t{raw};
  check(cudnnSetTensor4dDescriptor(raw, CUDNN_TENSOR_NHWC, CUDNN_DATA_HALF, as_int(n), as_int(c), as_int(h),
                                   as_int(w)),
        "a tensor of a convolution");
  return t;
}

std::optional<LegacyConv> LegacyConv::make(cudnnHandle_t handle, const ConvShape& s,
                                           std::int64_t workspace_cap) try {
  if (s.pad_top != s.pad_bottom || s.pad_left != s.pad_right) return std::nullopt;
  LegacyConv c;
  c.x_ = tensor(s.n, s.c, s.h, s.w);
  c.y_ = tensor(s.n, s.k, s.p, s.q);
  c.bias_ = tensor(1, s.k, 1, 1);
  cudnnFilterDescriptor_t filter = nullptr;
  check(cudnnCreateFilterDescriptor(&filter), "the weights of a convolution");
  c.weights_ = Filter{filter};
  check(cudnnSetFilter4dDescriptor(filter, CUDNN_DATA_HALF, CUDNN_TENSOR_NHWC, as_int(s.k),
                                   as_int(s.c / s.groups), as_int(s.r), as_int(s.s)),
        "the weights of a convolution");
  cudnnConvolutionDescriptor_t convolution = nullptr;
  check(cudnnCreateConvolutionDescriptor(&convolution), "a convolution");
  c.convolution_ = Convolution{convolution};
  check(cudnnSetConvolution2dDescriptor(convolution, as_int(s.pad_top), as_int(s.pad_left),
                                        as_int(s.stride_h), as_int(s.stride_w), as_int(s.dilation_h),
                                        as_int(s.dilation_w), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
        "a convolution");
  check(cudnnSetConvolutionGroupCount(convolution, as_int(s.groups)), "a convolution's groups");
  check(cudnnSetConvolutionMathType(convolution, CUDNN_TENSOR_OP_MATH), "a convolution's arithmetic");
  cudnnActivationDescriptor_t activation = nullptr;
  check(cudnnCreateActivationDescriptor(&activation), "an activation");
  c.activation_ = Activation{activation};
  check(cudnnSetActivationDescriptor(activation, s.relu ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
                                     CUDNN_PROPAGATE_NAN, 0.0),
        "an activation");
  std::size_t bytes = 0;
  check(cudnnGetConvolutionForwardWorkspaceSize(handle, c.x_.get(), filter, convolution, c.y_.get(),
                                                algorithm, &bytes),
        "a convolution's workspace");
  c.workspace_ = static_cast<std::int64_t>(bytes);
  if (c.workspace_ > workspace_cap) return std::nullopt;
  return c;
} catch (const CudnnError&) {
  return std::nullopt;
}

void LegacyConv::run(cudnnHandle_t handle, const void* x, const void* weights, const void* bias,
                     const void* z, void* y, void* workspace) const {
  const float one = 1, add = z ? 1.0f : 0.0f;
  check(cudnnConvolutionBiasActivationForward(handle, &one, x_.get(), x, weights_.get(), weights,
                                              convolution_.get(), algorithm, workspace,
                                              static_cast<std::size_t>(workspace_), &add, y_.get(), z ? z : y,
                                              bias_.get(), bias, activation_.get(), y_.get(), y),
        "a convolution cannot be started");
}

}  // namespace splitcnn::inline v0::gpu::cuda
