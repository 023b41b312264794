#include "dpu/soft/scalar_kernels.hpp"

#include <limits>

namespace splitcnn::inline v0::soft {

AverageFactor average_factor(int kernel_h, int kernel_w, std::int64_t count) noexcept {
  if (kernel_h == kernel_w && count == static_cast<std::int64_t>(kernel_h) * kernel_w) {
    switch (kernel_h) {
      case 2: return {1, 2};
      case 3: return {7, 6};
      case 5: return {10, 8};
      case 6: return {7, 8};
      case 7: return {21, 10};
      case 8: return {1, 6};
      case 14: return {21, 12};
      default: break;
    }
  }
  const double exact = 1.0 / static_cast<double>(count);
  const int limit = static_cast<int>(std::ceil(std::log2(static_cast<double>(count) * 128)));
  AverageFactor best;
  double best_error = std::numeric_limits<double>::infinity();
  for (int m = 0; m < limit; ++m) {
    const double n = std::round(power_of_two(m) * exact);
    const double error = std::abs(n * power_of_two(-m) - exact);
    if (error < best_error) {
      best_error = error;
      best = {static_cast<std::int64_t>(n), m};
    }
  }
  return best;
}

std::array<std::int8_t, 256> requantise_table(int fp_in, int fp_out, Nonlinear nonlinear) noexcept {
  std::array<std::int8_t, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    const double x = static_cast<std::int8_t>(byte);
    table[static_cast<std::size_t>(byte)] = finish(x * power_of_two(fp_out - fp_in), nonlinear, fp_out);
  }
  return table;
}

std::int64_t BinarySpec::elements() const noexcept {
  std::int64_t n = 1;
  for (const std::int64_t d : dims) n *= d;
  return n;
}

bool BinarySpec::same_layout() const noexcept {
  std::int64_t dense = 1;
  for (std::size_t d = dims.size(); d-- > 0; dense *= dims[d]) {
    for (const auto& s : strides) {
      if (dims[d] != 1 && s[d] != dense) return false;
    }
  }
  return true;
}

bool MoveSpec::identity() const noexcept {
  return fp_in == fp_out && nonlinear == Nonlinear::none && runs.size() == 1 && runs[0] == Run{0, 0, elements};
}

void scalar_conv(const ConvSpec& spec, const std::int8_t* in, std::int8_t* out) {
  const Window& w = spec.window;
  const std::int64_t in_per_group = spec.in.c / spec.groups;
  const std::int64_t out_per_group = spec.out.c / spec.groups;
  const double bias_scale = power_of_two(spec.shift_bias());
  const double cut_scale = power_of_two(-(spec.shift_cut() + 1));
  for (std::int64_t n = 0; n < spec.out.n; ++n) {
    for (std::int64_t y = 0; y < spec.out.h; ++y) {
      for (std::int64_t x = 0; x < spec.out.w; ++x) {
        for (std::int64_t o = 0; o < spec.out.c; ++o) {
          std::int64_t sum = 0;
          for (int ky = 0; ky < w.kernel_h; ++ky) {
            const std::int64_t iy = y * w.stride_h - w.pad_top + std::int64_t{ky} * w.dilation_h;
            if (iy < 0 || iy >= spec.in.h) continue;
            for (int kx = 0; kx < w.kernel_w; ++kx) {
              const std::int64_t ix = x * w.stride_w - w.pad_left + std::int64_t{kx} * w.dilation_w;
              if (ix < 0 || ix >= spec.in.w) continue;
              const std::int8_t* pixel = in + ((n * spec.in.h + iy) * spec.in.w + ix) * spec.in.c + o / out_per_group * in_per_group;
              const std::int8_t* weight = spec.weights.data() + ((o * w.kernel_h + ky) * w.kernel_w + kx) * in_per_group;
              for (std::int64_t i = 0; i < in_per_group; ++i) sum += std::int64_t{pixel[i]} * weight[i];
            }
          }
          const double bias = spec.bias[static_cast<std::size_t>(o)];
          const double value = (2.0 * static_cast<double>(sum) + 2.0 * bias * bias_scale) * cut_scale;
          out[((n * spec.out.h + y) * spec.out.w + x) * spec.out.c + o] = finish(value, spec.nonlinear, spec.fp_out);
        }
      }
    }
  }
}

namespace {

/// Calls f(index of output, index of a, index of b) for every element of the output, in storage order.
template <class F>
void for_each_element(const BinarySpec& spec, F&& f) {
  std::vector<std::int64_t> at(spec.dims.size(), 0);
  const std::int64_t count = spec.elements();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t a = 0, b = 0;
    for (std::size_t d = 0; d < at.size(); ++d) {
      a += at[d] * spec.strides[0][d];
      b += at[d] * spec.strides[1][d];
    }
    f(i, a, b);
    for (std::size_t d = at.size(); d-- > 0;) {
      if (++at[d] < spec.dims[d]) break;
      at[d] = 0;
    }
  }
}

}  // namespace

void scalar_add(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  const int fp_min = std::min(spec.fp_in[0], spec.fp_in[1]);
  const double scale_a = power_of_two(7 - (spec.fp_in[0] - fp_min));  // 7 guard bits
  const double scale_b = power_of_two(7 - (spec.fp_in[1] - fp_min));
  const double scale_out = power_of_two(spec.fp_out - fp_min - 7);
  for_each_element(spec, [&](std::int64_t i, std::int64_t ia, std::int64_t ib) {
    const double sum = std::floor(a[ia] * scale_a) + std::floor(b[ib] * scale_b);
    out[i] = finish(sum * scale_out, spec.nonlinear, spec.fp_out);
  });
}

void scalar_mul(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  const double scale = power_of_two(spec.fp_out - spec.fp_in[0] - spec.fp_in[1]);
  for_each_element(spec, [&](std::int64_t i, std::int64_t ia, std::int64_t ib) {
    out[i] = finish(a[ia] * static_cast<double>(b[ib]) * scale, spec.nonlinear, spec.fp_out);
  });
}

void scalar_pool(const PoolSpec& spec, const std::int8_t* in, std::int8_t* out) {
  const Window& w = spec.window;
  for (std::int64_t n = 0; n < spec.out.n; ++n) {
    for (std::int64_t y = 0; y < spec.out.h; ++y) {
      for (std::int64_t x = 0; x < spec.out.w; ++x) {
        for (std::int64_t c = 0; c < spec.out.c; ++c) {
          int best = -128;
          std::int64_t sum = 0, count = 0;
          for (int ky = 0; ky < w.kernel_h; ++ky) {
            for (int kx = 0; kx < w.kernel_w; ++kx) {
              const std::int64_t iy = y * w.stride_h - w.pad_top + std::int64_t{ky} * w.dilation_h;
              const std::int64_t ix = x * w.stride_w - w.pad_left + std::int64_t{kx} * w.dilation_w;
              const bool real = iy >= 0 && iy < spec.in.h && ix >= 0 && ix < spec.in.w;
              const bool padding = !real && iy < spec.in.h + w.pad_bottom && ix < spec.in.w + w.pad_right;
              if (real || (padding && spec.count_include_pad)) ++count;
              if (!real) continue;
              const int value = in[((n * spec.in.h + iy) * spec.in.w + ix) * spec.in.c + c];
              best = std::max(best, value);
              sum += value;
            }
          }
          double value = best;
          if (spec.average) {
            const AverageFactor factor = average_factor(w.kernel_h, w.kernel_w, std::max<std::int64_t>(count, 1));
            value = static_cast<double>(sum) * static_cast<double>(factor.n) * power_of_two(-factor.m);
          }
          out[((n * spec.out.h + y) * spec.out.w + x) * spec.out.c + c] =
              finish(value * power_of_two(spec.fp_out - spec.fp_in), spec.nonlinear, spec.fp_out);
        }
      }
    }
  }
}

void scalar_move(const MoveSpec& spec, const std::int8_t* in, std::int8_t* out) {
  const double scale = power_of_two(spec.fp_out - spec.fp_in);
  for (const Run& run : spec.runs) {
    for (std::int64_t i = 0; i < run.length; ++i) {
      out[run.destination + i] =
          run.source < 0 ? spec.fill : finish(in[run.source + i] * scale, spec.nonlinear, spec.fp_out);
    }
  }
}

}  // namespace splitcnn::inline v0::soft
