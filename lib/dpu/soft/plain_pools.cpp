// Compiled with -O3 (see CMakeLists.txt).
#include <algorithm>
#include <cstring>

#include "dpu/soft/clamps.hpp"
#include "dpu/soft/parallel.hpp"
#include "dpu/soft/plain_kernels.hpp"
#include "dpu/soft/simd.hpp"

namespace splitcnn::inline v0::soft {

namespace {

/// Kernel positions [from, to) that lie inside the input.
struct Range {
  std::int64_t from, to;
  [[nodiscard]] std::int64_t count() const { return to - from; }
};

Range inside(std::int64_t start, int kernel, int dilation, std::int64_t size) {
  const std::int64_t from = start < 0 ? (-start + dilation - 1) / dilation : 0;
  const std::int64_t to = std::min<std::int64_t>(kernel, size > start ? (size - start + dilation - 1) / dilation : 0);
  return {from, std::max(to, from)};
}

std::int64_t padded(std::int64_t start, int kernel, int dilation, std::int64_t size, int after) {
  return std::min<std::int64_t>(kernel, (size + after - start + dilation - 1) / dilation);
}

std::size_t row_bytes(const PoolSpec& s) {
  const std::int64_t bytes = s.average ? s.out.c * 4 : s.in.w * s.in.c;
  return static_cast<std::size_t>((bytes + 63) / 64 * 64);
}

/// out = max(out, row) over a whole row.
void raise(std::int8_t* out, const std::int8_t* row, std::int64_t count) {
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = out[i] > row[i] ? out[i] : row[i];
  });
}

/// Largest of 3 or fewer pixels `step` bytes apart, for `pixels` windows `stride` bytes apart.
template <int Taps>
void windows(const std::int8_t* row, std::int64_t step, std::int64_t stride, std::int64_t pixels, std::int64_t channels, std::int8_t* out) {
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t x = 0; x < pixels; ++x) {
      const std::int8_t* a = row + x * stride;
      std::int8_t* to = out + x * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        std::int8_t best = a[c];
        if constexpr (Taps > 1) best = best > a[c + step] ? best : a[c + step];
        if constexpr (Taps > 2) best = best > a[c + 2 * step] ? best : a[c + 2 * step];
        to[c] = best;
      }
    }
  });
}

/// One output row from a row of column maxima.
void across(const PoolSpec& s, const std::int8_t* row, std::int8_t* out) {
  const Window& w = s.window;
  const std::int64_t channels = s.in.c, step = w.dilation_w * channels;
  const auto start = [&](std::int64_t x) { return x * w.stride_w - w.pad_left; };
  std::int64_t x = 0;
  while (x < s.out.w) {
    const Range taps = inside(start(x), w.kernel_w, w.dilation_w, s.in.w);
    std::int64_t same = 1;  // windows that are all inside
    if (taps.count() == w.kernel_w) {
      while (x + same < s.out.w && start(x + same) + std::int64_t{w.kernel_w - 1} * w.dilation_w < s.in.w) ++same;
    }
    const std::int8_t* first = row + (start(x) + taps.from * w.dilation_w) * channels;
    std::int8_t* to = out + x * channels;
    const std::int64_t stride = w.stride_w * channels;
    switch (taps.count()) {
      case 0: std::memset(to, -128, static_cast<std::size_t>(channels)); break;
      case 1: windows<1>(first, step, stride, same, channels, to); break;
      case 2: windows<2>(first, step, stride, same, channels, to); break;
      default:
        windows<3>(first, step, stride, same, channels, to);
        for (std::int64_t i = 0; i < same; ++i) {
          for (std::int64_t t = 3; t < taps.count(); ++t) raise(to + i * channels, first + i * stride + t * step, channels);
        }
    }
    x += same;
  }
}

void max_row(const PoolSpec& s, const std::int8_t* image, std::int64_t y, std::int8_t* columns, std::int8_t* out) {
  const Window& w = s.window;
  const std::int64_t start = y * w.stride_h - w.pad_top, bytes = s.in.w * s.in.c;
  const Range rows = inside(start, w.kernel_h, w.dilation_h, s.in.h);
  const auto row = [&](std::int64_t ky) { return image + (start + ky * w.dilation_h) * bytes; };
  if (rows.count() == 0) {
    std::memset(out, -128, static_cast<std::size_t>(s.out.w * s.out.c));
  } else if (rows.count() == 1) {
    across(s, row(rows.from), out);
  } else {
    std::memcpy(columns, row(rows.from), static_cast<std::size_t>(bytes));
    for (std::int64_t ky = rows.from + 1; ky < rows.to; ++ky) raise(columns, row(ky), bytes);
    across(s, columns, out);
  }
}

/// Sums of the window's pixels, per channel.
void add_window(const std::int8_t* first, Range rows, Range columns, std::int64_t row_step, std::int64_t step, std::int64_t channels,
                std::int32_t* sums) {
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t c = 0; c < channels; ++c) sums[c] = 0;
    for (std::int64_t ky = rows.from; ky < rows.to; ++ky) {
      for (std::int64_t kx = columns.from; kx < columns.to; ++kx) {
        const std::int8_t* from = first + ky * row_step + kx * step;
        for (std::int64_t c = 0; c < channels; ++c) sums[c] += from[c];
      }
    }
  });
}

void finish_average(const PoolSpec& s, double scale, const std::int32_t* sums, std::int8_t* out) {
  const std::int64_t channels = s.out.c;
  if (!is_clamp(s.nonlinear)) {
    for (std::int64_t c = 0; c < channels; ++c) out[c] = finish(sums[c] * scale, s.nonlinear, s.fp_out);
    return;
  }
  const Limits limits{s.nonlinear, s.fp_out};
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t c = 0; c < channels; ++c) out[c] = round_clamped(sums[c] * scale, limits.low, limits.high);
  });
}

void average_row(const PoolSpec& s, const std::int8_t* image, std::int64_t y, std::int32_t* sums, std::int8_t* out) {
  const Window& w = s.window;
  const std::int64_t top = y * w.stride_h - w.pad_top;
  const Range rows = inside(top, w.kernel_h, w.dilation_h, s.in.h);
  for (std::int64_t x = 0; x < s.out.w; ++x) {
    const std::int64_t left = x * w.stride_w - w.pad_left;
    const Range columns = inside(left, w.kernel_w, w.dilation_w, s.in.w);
    add_window(image + (top * s.in.w + left) * s.in.c, rows, columns, w.dilation_h * s.in.w * s.in.c, w.dilation_w * s.in.c, s.out.c, sums);
    std::int64_t count = rows.count() * columns.count();
    if (s.count_include_pad) {
      count = padded(top, w.kernel_h, w.dilation_h, s.in.h, w.pad_bottom) * padded(left, w.kernel_w, w.dilation_w, s.in.w, w.pad_right);
    }
    const AverageFactor factor = average_factor(w.kernel_h, w.kernel_w, std::max<std::int64_t>(count, 1));
    finish_average(s, static_cast<double>(factor.n) * power_of_two(s.fp_out - s.fp_in - factor.m), sums, out + x * s.out.c);
  }
}

}  // namespace

std::size_t pool_scratch_bytes(const PoolSpec& s, int threads) { return row_bytes(s) * static_cast<std::size_t>(threads); }

void plain_pool(const PoolSpec& s, const std::int8_t* in, std::int8_t* out, std::byte* scratch) {
  const bool changes = s.fp_in != s.fp_out || s.nonlinear != Nonlinear::none;
  const std::int64_t row = s.out.w * s.out.c;
  split_rows(s.out.n * s.out.h, s.out.elements() * s.window.kernel_h * s.window.kernel_w, [&](std::int64_t begin, std::int64_t end, int part) {
    std::byte* own = scratch + row_bytes(s) * static_cast<std::size_t>(part);
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int8_t* image = in + r / s.out.h * s.in.h * s.in.w * s.in.c;
      std::int8_t* to = out + r * row;
      if (s.average) {
        average_row(s, image, r % s.out.h, reinterpret_cast<std::int32_t*>(own), to);
      } else {
        max_row(s, image, r % s.out.h, reinterpret_cast<std::int8_t*>(own), to);
        if (changes) requantise(to, to, row, s.fp_in, s.fp_out, s.nonlinear);
      }
    }
  });
}

}  // namespace splitcnn::inline v0::soft
