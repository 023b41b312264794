#include "graph/dpu_engines.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

namespace splitcnn::inline v0 {

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

Reason above(const char* what, std::int64_t value, std::int64_t limit) {
  if (value <= limit) return {};
  return fmt::format("{} is {}, the DPUCVDX8G takes up to {}", what, value, limit);
}

Reason first_of(std::initializer_list<Reason> reasons) {
  for (const Reason& r : reasons) {
    if (r) return r;
  }
  return {};
}

Reason conv_engine(const Window& w, std::int64_t in, std::int64_t out, bool covers_image) {
  const std::int64_t area = std::int64_t{w.kernel_h} * w.kernel_w;
  const std::int64_t dilation = std::max(w.dilation_h, w.dilation_w);
  const std::int64_t stride = std::max(w.stride_h, w.stride_w);
  const std::int64_t reach_h = std::int64_t{w.kernel_h - 1} * w.dilation_h,
                     reach_w = std::int64_t{w.kernel_w - 1} * w.dilation_w;
  return first_of({
      above("the longer side of the kernel", std::max(w.kernel_h, w.kernel_w), 16),
      above("kernel height x width", area, 64),
      covers_image ? Reason{} : above("the stride", stride, 8),
      dilation > 1 && stride > 1
          ? Reason{"it dilates with a stride, the DPUCVDX8G dilates with stride 1 only"}
          : Reason{},
      above("the number of input channels", in, 4096),
      above("the number of output channels", out, 4096),
      above("dilation x input channels", dilation * in, 4096),
      above("kernel area x dilation x input channels", area * dilation * in, 32768),
      above("kernel area x ceil(input channels / 2048)", area * ceil_div(in, 2048), 64),
      above("the weight depth (2 x kernel area x ceil(input channels / 16))", 2 * area * ceil_div(in, 16),
            8192),
      above("the vertical padding", std::max(w.pad_top, w.pad_bottom), reach_h),
      above("the horizontal padding", std::max(w.pad_left, w.pad_right), reach_w),
  });
}

Reason alu_engine(const Window& w) {
  return first_of({
      above("the longer side of the kernel", std::max(w.kernel_h, w.kernel_w), 256),
      above("kernel height x width", std::int64_t{w.kernel_h} * w.kernel_w, 8192),
      above("the stride", std::max(w.stride_h, w.stride_w), 256),
      above("the padding at top or left", std::max(w.pad_top, w.pad_left), 15),
      above("the padding at bottom or right", std::max(w.pad_bottom, w.pad_right), 255),
      std::max(w.dilation_h, w.dilation_w) > 1 && std::max(w.stride_h, w.stride_w) > 1
          ? Reason{"it dilates with a stride, the DPUCVDX8G dilates with stride 1 only"}
          : Reason{},
  });
}

}  // namespace splitcnn::inline v0
