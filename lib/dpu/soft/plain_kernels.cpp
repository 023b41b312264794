// Compiled with -O3 (see CMakeLists.txt).
#include "dpu/soft/plain_kernels.hpp"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "dpu/soft/simd.hpp"
#include "dpu/soft/scalar_kernels.hpp"

namespace splitcnn::inline v0::soft {

namespace {

/// Calls f(begin, end) over [0, rows), on the calling thread's OpenMP thread count when there is enough to do.
template <class F>
void split_rows(std::int64_t rows, std::int64_t elements, const F& f) {
  const auto threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), rows));
  if (threads <= 1 || elements < 32768) return f(std::int64_t{0}, rows);
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    f(rows * part / parts, rows * (part + 1) / parts);
  }
}

/// value * 2^-shift with one half-up rounding, then a clamp: every linear, relu or relu6 result is this.
struct ShiftClamp {
  int right = 0, left = 0;
  std::int32_t half = 0, low = -128, high = 127;

  /// For |value| <= 2^limit_bits: longer right shifts give 0 as well, longer left shifts saturate as well.
  ShiftClamp(int shift, int limit_bits, Nonlinear nonlinear, int fp_out) {
    right = std::clamp(shift, 0, limit_bits + 2);
    left = std::clamp(-shift, 0, 9);
    half = right > 0 ? 1 << (right - 1) : 0;
    if (nonlinear != Nonlinear::none) low = 0;
    if (nonlinear == Nonlinear::relu6 && fp_out <= 4) high = 96;
  }
  __attribute__((always_inline)) std::int8_t operator()(std::int32_t value) const {
    const std::int32_t scaled = ((value << left) + half) >> right;
    return static_cast<std::int8_t>(std::min(std::max(scaled, low), high));
  }
};

bool is_clamp(Nonlinear nonlinear) {
  return nonlinear == Nonlinear::none || nonlinear == Nonlinear::relu || nonlinear == Nonlinear::relu6;
}

// ---- the end of a convolution ----

template <class Sum>
void finish_clamped(const Finish& f, const Sum* sums, std::int64_t pixels, std::int8_t* out) {
  const double low = f.nonlinear == Nonlinear::none ? -128 : 0;
  const double high = f.nonlinear == Nonlinear::relu6 && f.fp_out <= 4 ? 96 : 127;
  const auto channels = static_cast<std::int64_t>(f.bias.size());
  const double* bias = f.bias.data();
  const double scale = f.scale;
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      const Sum* row = sums + p * channels;
      std::int8_t* to = out + p * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        double y = (static_cast<double>(row[c]) + bias[c]) * scale;
        y = y > low ? y : low;
        y = y < high ? y : high;
        const auto whole = static_cast<std::int32_t>(y);  // towards zero; what is left decides the rounding
        const double rest = y - static_cast<double>(whole);
        to[c] = static_cast<std::int8_t>(whole + (rest >= 0.5 ? 1 : 0) - (rest < -0.5 ? 1 : 0));
      }
    }
  });
}

template <class Sum>
void finish_any(const Finish& f, const Sum* sums, std::int64_t pixels, std::int8_t* out) {
  if (is_clamp(f.nonlinear)) return finish_clamped(f, sums, pixels, out);
  const std::size_t channels = f.bias.size();
  for (std::int64_t p = 0; p < pixels; ++p, sums += channels, out += channels) {
    for (std::size_t c = 0; c < channels; ++c) {
      out[c] = finish((static_cast<double>(sums[c]) + f.bias[c]) * f.scale, f.nonlinear, f.fp_out);
    }
  }
}

}  // namespace

Finish make_finish(const ConvSpec& spec) {
  Finish f;
  for (const std::int8_t b : spec.bias) f.bias.push_back(b * power_of_two(spec.shift_bias()));
  f.scale = power_of_two(-spec.shift_cut());
  f.fp_out = spec.fp_out;
  f.nonlinear = spec.nonlinear;
  return f;
}

void finish_sums(const Finish& f, const std::int32_t* sums, std::int64_t pixels, std::int8_t* out) {
  const auto channels = static_cast<std::int64_t>(f.bias.size());
  split_rows(pixels, pixels * channels, [&](std::int64_t a, std::int64_t b) {
    finish_any(f, sums + a * channels, b - a, out + a * channels);
  });
}

void finish_sums(const Finish& f, const float* sums, std::int64_t pixels, std::int8_t* out) {
  const auto channels = static_cast<std::int64_t>(f.bias.size());
  split_rows(pixels, pixels * channels, [&](std::int64_t a, std::int64_t b) {
    finish_any(f, sums + a * channels, b - a, out + a * channels);
  });
}

void widen(const std::int8_t* in, std::int64_t count, float* out) {
  split_rows(count, count, [&](std::int64_t a, std::int64_t b) {
    simd([=]() __attribute__((always_inline)) {
      for (std::int64_t i = a; i < b; ++i) out[i] = in[i];
    });
  });
}

std::int64_t largest_sum(const ConvSpec& spec) {
  const std::size_t per_channel = spec.weights.size() / static_cast<std::size_t>(spec.out.c);
  std::int64_t largest = 0;
  for (std::size_t o = 0; o < spec.bias.size(); ++o) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < per_channel; ++i) sum += std::abs(static_cast<int>(spec.weights[o * per_channel + i]));
    largest = std::max(largest, sum);
  }
  return largest * (spec.source_non_negative ? 127 : 128);
}

// ---- convolution ----

PlainConv::PlainConv(const ConvSpec& spec) : spec_{spec}, finish_{make_finish(spec)} {
  if (largest_sum(spec) >= std::int64_t{1} << 31) {
    fits_ = false;
    return;
  }
  const auto outs = static_cast<std::size_t>(spec.out.c), per = spec.weights.size() / outs;
  weights_.resize(spec.weights.size());
  for (std::size_t o = 0; o < outs; ++o) {
    for (std::size_t i = 0; i < per; ++i) weights_[i * outs + o] = spec.weights[o * per + i];
  }
  spec_.weights.clear();
}

void PlainConv::pixel(const std::int8_t* in, std::int64_t n, std::int64_t y, std::int64_t x, std::int32_t* sums) const {
  const Window& w = spec_.window;
  const std::int64_t outs = spec_.out.c, per_in = spec_.in.c / spec_.groups, per_out = outs / spec_.groups;
  std::fill_n(sums, outs, 0);
  for (int ky = 0; ky < w.kernel_h; ++ky) {
    const std::int64_t iy = y * w.stride_h - w.pad_top + std::int64_t{ky} * w.dilation_h;
    if (iy < 0 || iy >= spec_.in.h) continue;
    for (int kx = 0; kx < w.kernel_w; ++kx) {
      const std::int64_t ix = x * w.stride_w - w.pad_left + std::int64_t{kx} * w.dilation_w;
      if (ix < 0 || ix >= spec_.in.w) continue;
      const std::int8_t* source = in + ((n * spec_.in.h + iy) * spec_.in.w + ix) * spec_.in.c;
      const std::int8_t* weights = weights_.data() + (std::int64_t{ky} * w.kernel_w + kx) * per_in * outs;
      if (per_in == 1 && per_out == 1) {
        simd([=]() __attribute__((always_inline)) {
          for (std::int64_t c = 0; c < outs; ++c) sums[c] += std::int32_t{source[c]} * weights[c];
        });
        continue;
      }
      const int groups = spec_.groups;
      simd([=]() __attribute__((always_inline)) {
        for (std::int64_t g = 0; g < groups; ++g) {
          std::int32_t* to = sums + g * per_out;
          for (std::int64_t i = 0; i < per_in; ++i) {
            const std::int32_t value = source[g * per_in + i];
            const std::int8_t* row = weights + i * outs + g * per_out;
            for (std::int64_t o = 0; o < per_out; ++o) to[o] += value * row[o];
          }
        }
      });
    }
  }
}

void PlainConv::run(const std::int8_t* in, std::int8_t* out) const {
  if (!fits_) return scalar_conv(spec_, in, out);
  const Extent& e = spec_.out;
  split_rows(e.n * e.h, e.elements() * 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(e.c));
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t x = 0; x < e.w; ++x) {
        pixel(in, row / e.h, row % e.h, x, sums.data());
        finish_any(finish_, sums.data(), 1, out + (row * e.w + x) * e.c);
      }
    }
  });
}

// ---- element-wise ----

namespace {

/// Calls row(a, b, out, count) for the longest runs in which each input has stride 1 or 0. False when there is no such layout.
struct Rows {
  std::int64_t count = 1;           // elements per row
  std::array<bool, 2> moves{};      // stride 1 (true) or 0 within a row
  std::size_t outer = 0;            // dimensions [0, outer) are walked
};

bool find_rows(const BinarySpec& spec, Rows& rows) {
  std::size_t d = spec.dims.size();
  while (d > 0 && spec.dims[d - 1] == 1) --d;
  rows.outer = d;
  if (d == 0) return true;
  for (std::size_t i = 0; i < 2; ++i) {
    if (spec.strides[i][d - 1] > 1) return false;
    rows.moves[i] = spec.strides[i][d - 1] == 1;
  }
  while (d > 0) {
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t expected = rows.moves[i] ? rows.count : 0;
      if (spec.dims[d - 1] != 1 && spec.strides[i][d - 1] != expected) return true;
    }
    rows.count *= spec.dims[--d];
    rows.outer = d;
  }
  return true;
}

template <class Row>
void for_each_row(const BinarySpec& spec, const Rows& rows, const Row& row) {
  std::int64_t outer = 1;
  for (std::size_t d = 0; d < rows.outer; ++d) outer *= spec.dims[d];
  split_rows(outer, outer * rows.count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::int64_t rest = r, a = 0, b = 0;
      for (std::size_t d = rows.outer; d-- > 0; rest /= spec.dims[d]) {
        a += rest % spec.dims[d] * spec.strides[0][d];
        b += rest % spec.dims[d] * spec.strides[1][d];
      }
      row(a, b, r * rows.count, rows.count);
    }
  });
}

/// One row of combine(a, b) then shift and clamp, in blocks so that one long row can use several threads.
template <class Combine>
void binary_row(const std::int8_t* a, bool a_moves, const std::int8_t* b, bool b_moves, std::int8_t* out, std::int64_t count,
                const ShiftClamp& end, const Combine& combine) {
  if (a_moves && b_moves) {
    simd([=]() __attribute__((always_inline)) {
      for (std::int64_t i = 0; i < count; ++i) out[i] = end(combine(a[i], b[i]));
    });
  } else {
    const std::int64_t sa = a_moves ? 1 : 0, sb = b_moves ? 1 : 0;
    for (std::int64_t i = 0; i < count; ++i) out[i] = end(combine(a[i * sa], b[i * sb]));
  }
}

template <class Combine>
void binary(const BinarySpec& spec, const Rows& rows, const std::int8_t* a, const std::int8_t* b, std::int8_t* out,
            const ShiftClamp& end, const Combine& combine) {
  if (rows.outer == 0 && rows.moves[0] && rows.moves[1]) {  // one row: split it
    return split_rows(rows.count, rows.count, [&](std::int64_t from, std::int64_t to) {
      binary_row(a + from, true, b + from, true, out + from, to - from, end, combine);
    });
  }
  for_each_row(spec, rows, [&](std::int64_t ia, std::int64_t ib, std::int64_t io, std::int64_t count) {
    binary_row(a + ia, rows.moves[0], b + ib, rows.moves[1], out + io, count, end, combine);
  });
}

}  // namespace

void plain_add(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  Rows rows;
  if (!is_clamp(spec.nonlinear) || !find_rows(spec, rows)) return scalar_add(spec, a, b, out);
  const int fp_min = std::min(spec.fp_in[0], spec.fp_in[1]);
  const int guard_a = 7 - (spec.fp_in[0] - fp_min), guard_b = 7 - (spec.fp_in[1] - fp_min);  // one of them is 7
  const int left_a = std::max(guard_a, 0), right_a = std::clamp(-guard_a, 0, 31);
  const int left_b = std::max(guard_b, 0), right_b = std::clamp(-guard_b, 0, 31);
  const ShiftClamp end{7 + fp_min - spec.fp_out, 16, spec.nonlinear, spec.fp_out};
  binary(spec, rows, a, b, out, end, [=](std::int32_t x, std::int32_t y) __attribute__((always_inline)) {
    return ((x << left_a) >> right_a) + ((y << left_b) >> right_b);
  });
}

void plain_mul(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  Rows rows;
  if (!is_clamp(spec.nonlinear) || !find_rows(spec, rows)) return scalar_mul(spec, a, b, out);
  const ShiftClamp end{spec.fp_in[0] + spec.fp_in[1] - spec.fp_out, 14, spec.nonlinear, spec.fp_out};
  binary(spec, rows, a, b, out, end, [](std::int32_t x, std::int32_t y) __attribute__((always_inline)) { return x * y; });
}

// ---- pooling ----

namespace {

/// The part of a window inside the input, and how many of its elements count.
struct Inside {
  std::int64_t y0, y1, x0, x1;  // kernel positions [y0, y1) x [x0, x1)
};

Inside inside(const PoolSpec& s, std::int64_t y, std::int64_t x) {
  const auto range = [](std::int64_t start, int kernel, int dilation, std::int64_t size, std::int64_t& from, std::int64_t& to) {
    from = start < 0 ? (-start + dilation - 1) / dilation : 0;
    to = std::min<std::int64_t>(kernel, size > start ? (size - start + dilation - 1) / dilation : 0);
    to = std::max(to, from);
  };
  Inside i{};
  range(y * s.window.stride_h - s.window.pad_top, s.window.kernel_h, s.window.dilation_h, s.in.h, i.y0, i.y1);
  range(x * s.window.stride_w - s.window.pad_left, s.window.kernel_w, s.window.dilation_w, s.in.w, i.x0, i.x1);
  return i;
}

/// Calls f(pixel) for every input pixel of the window.
template <class F>
void for_each_tap(const PoolSpec& s, const std::int8_t* in, std::int64_t n, std::int64_t y, std::int64_t x, const Inside& i, const F& f) {
  const Window& w = s.window;
  for (std::int64_t ky = i.y0; ky < i.y1; ++ky) {
    const std::int64_t iy = y * w.stride_h - w.pad_top + ky * w.dilation_h;
    for (std::int64_t kx = i.x0; kx < i.x1; ++kx) {
      const std::int64_t ix = x * w.stride_w - w.pad_left + kx * w.dilation_w;
      f(in + ((n * s.in.h + iy) * s.in.w + ix) * s.in.c);
    }
  }
}

void max_pixel(const PoolSpec& s, const std::int8_t* in, std::int64_t n, std::int64_t y, std::int64_t x, std::int8_t* to) {
  const std::int64_t channels = s.out.c;
  std::memset(to, -128, static_cast<std::size_t>(channels));
  for_each_tap(s, in, n, y, x, inside(s, y, x), [&](const std::int8_t* from) {
    simd([=]() __attribute__((always_inline)) {
      for (std::int64_t c = 0; c < channels; ++c) to[c] = from[c] > to[c] ? from[c] : to[c];
    });
  });
}

void average_pixel(const PoolSpec& s, const std::int8_t* in, std::int64_t n, std::int64_t y, std::int64_t x, std::int32_t* sums,
                   std::int8_t* to) {
  const std::int64_t channels = s.out.c;
  std::fill_n(sums, channels, 0);
  const Inside i = inside(s, y, x);
  for_each_tap(s, in, n, y, x, i, [&](const std::int8_t* from) {
    simd([=]() __attribute__((always_inline)) {
      for (std::int64_t c = 0; c < channels; ++c) sums[c] += from[c];
    });
  });
  std::int64_t count = (i.y1 - i.y0) * (i.x1 - i.x0);
  if (s.count_include_pad) {
    const auto padded = [](std::int64_t at, int stride, int before, int after, int kernel, int dilation, std::int64_t size) {
      const std::int64_t room = size + after - (at * stride - before);
      return std::min<std::int64_t>(kernel, (room + dilation - 1) / dilation);
    };
    const Window& w = s.window;
    count = padded(y, w.stride_h, w.pad_top, w.pad_bottom, w.kernel_h, w.dilation_h, s.in.h) *
            padded(x, w.stride_w, w.pad_left, w.pad_right, w.kernel_w, w.dilation_w, s.in.w);
  }
  const AverageFactor factor = average_factor(s.window.kernel_h, s.window.kernel_w, std::max<std::int64_t>(count, 1));
  const double scale = static_cast<double>(factor.n) * power_of_two(s.fp_out - s.fp_in - factor.m);
  for (std::int64_t c = 0; c < channels; ++c) to[c] = finish(sums[c] * scale, s.nonlinear, s.fp_out);
}

}  // namespace

void plain_pool(const PoolSpec& s, const std::int8_t* in, std::int8_t* out) {
  const bool changes = s.fp_in != s.fp_out || s.nonlinear != Nonlinear::none;
  const auto table = requantise_table(s.fp_in, s.fp_out, s.nonlinear);
  split_rows(s.out.n * s.out.h, s.out.elements() * s.window.kernel_h * s.window.kernel_w, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sums(s.average ? static_cast<std::size_t>(s.out.c) : 0);
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t x = 0; x < s.out.w; ++x) {
        std::int8_t* to = out + (row * s.out.w + x) * s.out.c;
        if (s.average) {
          average_pixel(s, in, row / s.out.h, row % s.out.h, x, sums.data(), to);
        } else {
          max_pixel(s, in, row / s.out.h, row % s.out.h, x, to);
          if (changes) {
            for (std::int64_t c = 0; c < s.out.c; ++c) to[c] = table[static_cast<std::uint8_t>(to[c])];
          }
        }
      }
    }
  });
}

// ---- bytes that move ----

void plain_move(const MoveSpec& s, const std::int8_t* in, std::int8_t* out) {
  const bool changes = s.fp_in != s.fp_out || s.nonlinear != Nonlinear::none;
  const ShiftClamp end{s.fp_in - s.fp_out, 8, s.nonlinear, s.fp_out};
  const bool clamp = is_clamp(s.nonlinear);
  const auto table = clamp ? std::array<std::int8_t, 256>{} : requantise_table(s.fp_in, s.fp_out, s.nonlinear);
  const auto part = [&](const Run& run) {
    std::int8_t* to = out + run.destination;
    const std::int8_t* from = in + run.source;
    const std::int64_t count = run.length;
    if (run.source < 0) {
      std::memset(to, s.fill, static_cast<std::size_t>(count));
    } else if (!changes) {
      std::memcpy(to, from, static_cast<std::size_t>(count));
    } else if (clamp) {
      simd([=]() __attribute__((always_inline)) {
        for (std::int64_t i = 0; i < count; ++i) to[i] = end(from[i]);
      });
    } else {
      for (std::int64_t i = 0; i < count; ++i) to[i] = table[static_cast<std::uint8_t>(from[i])];
    }
  };
  if (s.runs.size() == 1 && s.runs[0].source >= 0) {
    return split_rows(s.runs[0].length, s.runs[0].length, [&](std::int64_t a, std::int64_t b) {
      part({s.runs[0].source + a, s.runs[0].destination + a, b - a});
    });
  }
  for (const Run& run : s.runs) part(run);
}

}  // namespace splitcnn::inline v0::soft
