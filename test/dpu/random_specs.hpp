#pragma once
/// Random convolutions, pools and element-wise operations for comparing kernels, with ordinary and extreme values.
#include <random>

#include "dpu/soft/kernels.hpp"

namespace splitcnn_test {

using namespace splitcnn;

class RandomSpecs {
 public:
  explicit RandomSpecs(unsigned long long seed) : random_{seed} {}

  int between(int low, int high) { return std::uniform_int_distribution<int>{low, high}(random_); }
  bool chance(int percent) { return between(1, 100) <= percent; }

  /// Bytes of one of several kinds: noise, small, only the extremes, one extreme.
  std::vector<std::int8_t> bytes(std::int64_t count, bool non_negative) {
    std::vector<std::int8_t> v(static_cast<std::size_t>(count));
    const int kind = between(0, 9);
    for (auto& x : v) {
      int b = between(-128, 127);
      if (kind == 6) b = between(-8, 8);
      if (kind == 7) b = chance(50) ? -128 : 127;
      if (kind == 8) b = -128;
      if (kind == 9) b = 127;
      x = static_cast<std::int8_t>(non_negative ? (b == -128 ? 127 : std::abs(b)) : b);
    }
    return v;
  }

  soft::Nonlinear nonlinear() { return static_cast<soft::Nonlinear>(chance(60) ? between(0, 2) : between(0, 5)); }

  Window window(int largest) {
    Window w;
    w.kernel_h = between(1, largest), w.kernel_w = chance(70) ? w.kernel_h : between(1, largest);
    w.stride_h = between(1, 3), w.stride_w = chance(70) ? w.stride_h : between(1, 3);
    w.pad_top = between(0, w.kernel_h - 1), w.pad_left = between(0, w.kernel_w - 1);
    w.pad_bottom = chance(50) ? w.pad_top : between(0, w.kernel_h - 1);
    w.pad_right = chance(50) ? w.pad_left : between(0, w.kernel_w - 1);
    return w;
  }

  /// An input size that the window fits into, and the output size.
  void extents(const Window& w, soft::Extent& in, soft::Extent& out) {
    const auto dimension = [&](int kernel, int stride, int dilation, int before, int after, std::int64_t& from, std::int64_t& to) {
      const int reach = (kernel - 1) * dilation + 1;
      from = std::max(1, reach - before - after) + between(0, 9);
      to = (from + before + after - reach) / stride + 1;
    };
    in.n = out.n = chance(85) ? 1 : 2;
    dimension(w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom, in.h, out.h);
    dimension(w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right, in.w, out.w);
  }

  soft::ConvSpec conv() {
    soft::ConvSpec s;
    s.name = "random";
    s.window = window(chance(90) ? 5 : 9);
    if (chance(25)) s.window.dilation_h = s.window.dilation_w = between(2, 3);
    extents(s.window, s.in, s.out);
    const int kind = between(0, 13);
    if (kind == 13) {  // for Winograd along the height: three kernel rows, stride 1 there
      s.window = window(3);
      s.window.kernel_h = 3, s.window.stride_h = 1, s.window.pad_top = between(0, 2), s.window.pad_bottom = between(0, 2);
      extents(s.window, s.in, s.out);
      s.in.c = between(1, 70), s.out.c = between(1, 150);
    } else if (kind > 9) {  // what networks have: 3 x 3 depthwise, 1 x 1, few input channels
      s.window = window(1);
      if (kind != 11) s.window.kernel_h = s.window.kernel_w = 3, s.window.pad_left = s.window.pad_top = between(0, 2), s.window.pad_right = s.window.pad_bottom = between(0, 2);
      extents(s.window, s.in, s.out);
      s.in.c = kind == 12 ? between(1, 4) : between(1, 200), s.out.c = between(1, 150);
      if (kind == 10) s.groups = s.out.c = s.in.c;
    } else if (kind < 5) {
      s.in.c = between(1, chance(80) ? 40 : 300), s.out.c = between(1, 40);
    } else if (kind < 8) {
      s.groups = between(1, 70), s.in.c = s.out.c = s.groups;
    } else {
      s.groups = between(2, 8), s.in.c = s.groups * between(1, 9), s.out.c = s.groups * between(1, 9);
    }
    s.nonlinear = nonlinear();
    s.source_non_negative = chance(kind == 13 ? 90 : 50);
    s.weights = bytes(s.out.c * s.window.kernel_h * s.window.kernel_w * s.in.c / s.groups, false);
    s.bias = bytes(s.out.c, false);
    s.fp_in = between(-2, 8), s.fp_weight = between(2, 12);
    const int sum = s.fp_in + s.fp_weight;
    s.fp_out = sum - (chance(80) ? between(0, 16) : between(-3, 24));
    s.fp_bias = sum - (chance(80) ? between(-8, 15) : between(-20, 20));
    return s;
  }

  soft::PoolSpec pool() {
    soft::PoolSpec s;
    s.window = window(chance(80) ? 4 : 14);
    s.average = chance(50);
    s.count_include_pad = chance(60);
    extents(s.window, s.in, s.out);
    if (chance(20)) ++s.out.h;  // ceil mode: the last window sticks out
    if ((s.out.h - 1) * s.window.stride_h >= s.in.h + s.window.pad_top) --s.out.h;
    s.in.c = s.out.c = between(1, 70);
    s.fp_in = between(0, 8), s.fp_out = chance(50) ? s.fp_in : between(-2, 12);
    s.nonlinear = nonlinear();
    return s;
  }

  soft::BinarySpec binary() {
    soft::BinarySpec s;
    const int rank = between(1, 4);
    for (int d = 0; d < rank; ++d) s.dims.push_back(between(1, 9));
    s.dims.back() = between(1, 70);
    const int broadcast = between(0, 5);  // which input repeats, if any
    for (std::size_t i = 0; i < 2; ++i) {
      std::int64_t stride = 1;
      s.strides[i].assign(s.dims.size(), 0);
      for (std::size_t d = s.dims.size(); d-- > 0;) {
        const bool repeats = broadcast == static_cast<int>(i) && (d + 1 != s.dims.size() ? d > 0 : chance(30));
        s.strides[i][d] = repeats ? 0 : stride;
        if (!repeats) stride *= s.dims[d];
      }
      s.fp_in[i] = between(-2, 12);
    }
    s.fp_out = between(-4, 16);
    s.nonlinear = nonlinear();
    return s;
  }

  soft::MoveSpec move(std::int64_t source_size) {
    soft::MoveSpec s;
    s.fp_in = between(-3, 12), s.fp_out = chance(40) ? s.fp_in : between(-6, 20);
    s.nonlinear = nonlinear();
    s.fill = static_cast<std::int8_t>(between(-128, 127));
    for (int r = between(1, 6); r > 0; --r) {
      const std::int64_t length = between(1, 90);
      s.runs.push_back({chance(20) ? -1 : between(0, static_cast<int>(source_size - length)), s.elements, length});
      s.elements += length;
    }
    return s;
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace splitcnn_test
