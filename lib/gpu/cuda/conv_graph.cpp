// The operation graph of a convolution. z comes before the bias and the bias is FP16: in any other order, or
// with a float bias, cuDNN has no precompiled engine (the sums are the same).
#include "gpu/cuda/conv_plan.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

constexpr std::int64_t alignment = 16;  // of every pointer handed in: arenas are aligned to 256
constexpr std::int64_t first_virtual_uid = 100;

struct Dims {
  std::int64_t n, c, h, w;
};

/// A tensor of NHWC memory in cuDNN's order of dimensions.
Descriptor tensor(std::int64_t uid, const Dims& d, cudnnDataType_t type, bool is_virtual = false) {
  const std::int64_t dims[] = {d.n, d.c, d.h, d.w}, strides[] = {d.h * d.w * d.c, 1, d.w * d.c, d.c};
  Descriptor t{CUDNN_BACKEND_TENSOR_DESCRIPTOR};
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment)
      .set_many(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>{dims})
      .set_many(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>{strides});
  if (is_virtual) t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  return std::move(t.finalize("a tensor of a convolution"));
}

Descriptor convolution(const ConvShape& s) {
  const std::int64_t before[] = {s.pad_top, s.pad_left}, after[] = {s.pad_bottom, s.pad_right};
  const std::int64_t stride[] = {s.stride_h, s.stride_w}, dilation[] = {s.dilation_h, s.dilation_w};
  Descriptor c{CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR};
  c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set_many(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const std::int64_t>{before})
      .set_many(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const std::int64_t>{after})
      .set_many(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const std::int64_t>{stride})
      .set_many(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const std::int64_t>{dilation});
  return std::move(c.finalize("a convolution"));
}

Descriptor pointwise(cudnnPointwiseMode_t mode) {
  Descriptor p{CUDNN_BACKEND_POINTWISE_DESCRIPTOR};
  p.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  return std::move(p.finalize("a pointwise operation"));
}

Descriptor apply(const Descriptor& what, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
  Descriptor o{CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR};
  o.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what).set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b) o.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  o.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  return std::move(o.finalize("the epilogue of a convolution"));
}

Descriptor build(const ConvShape& s) {
  const Dims out{s.n, s.k, s.p, s.q};
  const Descriptor x = tensor(uid_x, {s.n, s.c, s.h, s.w}, CUDNN_DATA_HALF),
                   w = tensor(uid_w, {s.k, s.c / s.groups, s.r, s.s}, CUDNN_DATA_HALF);
  const Descriptor y = tensor(uid_y, out, CUDNN_DATA_HALF),
                   bias = tensor(uid_bias, {1, s.k, 1, 1}, CUDNN_DATA_HALF);
  std::vector<Descriptor> operations, kept;  // kept: what operations refer to
  std::int64_t next = first_virtual_uid;
  const auto between = [&]() -> const Descriptor& {
    return kept.emplace_back(tensor(next++, out, CUDNN_DATA_FLOAT, true));
  };
  kept.reserve(8);
  const Descriptor conv = convolution(s), add = pointwise(CUDNN_POINTWISE_ADD);

  const Descriptor* last = &between();
  Descriptor forward{CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR};
  forward.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *last)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, conv)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  operations.push_back(std::move(forward.finalize("a convolution's operation")));
  if (s.has_z) {
    const Descriptor& z = kept.emplace_back(tensor(uid_z, out, CUDNN_DATA_HALF));
    const Descriptor& sum = between();
    operations.push_back(apply(add, *last, &z, sum));
    last = &sum;
  }
  const Descriptor& biased = s.relu ? between() : y;
  operations.push_back(apply(add, *last, &bias, biased));
  if (s.relu) operations.push_back(apply(pointwise(CUDNN_POINTWISE_RELU_FWD), biased, nullptr, y));

  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& o : operations) raw.push_back(o.raw());
  Descriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
  graph.set_many(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const cudnnBackendDescriptor_t>{raw});
  return std::move(graph.finalize("the graph of a convolution"));
}

}  // namespace

// Since cuDNN 9.8 a graph needs no handle: the device comes with heuristics and plans.
ConvGraph::ConvGraph(const ConvShape& shape, const DeviceProperties&) : shape_{shape}, graph_{build(shape)} {}

}  // namespace splitcnn::inline v0::gpu::cuda
