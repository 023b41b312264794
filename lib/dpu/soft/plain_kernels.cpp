// Compiled with -O3 (see CMakeLists.txt).
#include "dpu/soft/plain_kernels.hpp"

#include <algorithm>
#include <cstring>

#include "dpu/soft/clamps.hpp"
#include "dpu/soft/parallel.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "dpu/soft/simd.hpp"

namespace splitcnn::inline v0::soft {

namespace {

/// value * 2^-shift with one half-up rounding, then a clamp: every linear, relu or relu6 result is this.
struct ShiftClamp {
  int right = 0, left = 0;
  std::int32_t half = 0, low = -128, high = 127;

  /// For |value| <= 2^limit_bits: longer right shifts give 0 as well, longer left shifts saturate as well.
  ShiftClamp(int shift, int limit_bits, Nonlinear nonlinear, int fp_out) {
    right = std::clamp(shift, 0, limit_bits + 2);
    left = std::clamp(-shift, 0, 9);
    half = right > 0 ? 1 << (right - 1) : 0;
    const Limits limits{nonlinear, fp_out};
    low = limits.low, high = limits.high;
  }
  __attribute__((always_inline)) std::int8_t operator()(std::int32_t value) const {
    const std::int32_t scaled = ((value << left) + half) >> right;
    return static_cast<std::int8_t>(std::min(std::max(scaled, low), high));
  }
};

// ---- the end of a convolution ----

template <class Sum>
void finish_clamped(const Finish& f, const Sum* sums, std::int64_t pixels, std::int8_t* out) {
  const Limits limits{f.nonlinear, f.fp_out};
  const auto channels = static_cast<std::int64_t>(f.bias.size());
  const double* bias = f.bias.data();
  const double scale = f.scale;
  simd([=]() __attribute__((always_inline)) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      const Sum* row = sums + p * channels;
      std::int8_t* to = out + p * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        to[c] = round_clamped((static_cast<double>(row[c]) + bias[c]) * scale, limits.low, limits.high);
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
  spec_.weights = std::vector<std::int8_t>{};
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

/// Both inputs with seven guard bits, and their sum, fit 16 bits; so does adding the half when the last shift is at most 8. Twice the elements
/// per vector.
struct NarrowAdd {
  std::int16_t right_a, right_b, half, right, low, high;
  std::int16_t up_a, up_b;  // factors: a shift of 16-bit values is computed in 32 bits
  __attribute__((always_inline)) std::int8_t operator()(std::int8_t x, std::int8_t y) const {
    const auto a = static_cast<std::int16_t>(static_cast<std::int16_t>(x * up_a) >> right_a);
    const auto b = static_cast<std::int16_t>(static_cast<std::int16_t>(y * up_b) >> right_b);
    const auto sum = static_cast<std::int16_t>(static_cast<std::int16_t>(a + b) + half);
    const auto scaled = static_cast<std::int16_t>(sum >> right);
    const std::int16_t raised = scaled > low ? scaled : low;
    return static_cast<std::int8_t>(raised < high ? raised : high);
  }
};

void plain_add(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  Rows rows;
  if (!is_clamp(spec.nonlinear) || !find_rows(spec, rows)) return scalar_add(spec, a, b, out);
  const int fp_min = std::min(spec.fp_in[0], spec.fp_in[1]);
  const int guard_a = 7 - (spec.fp_in[0] - fp_min), guard_b = 7 - (spec.fp_in[1] - fp_min);  // one of them is 7
  const int left_a = std::max(guard_a, 0), right_a = std::clamp(-guard_a, 0, 31);
  const int left_b = std::max(guard_b, 0), right_b = std::clamp(-guard_b, 0, 31);
  const int shift = 7 + fp_min - spec.fp_out;
  if (rows.outer == 0 && rows.moves[0] && rows.moves[1] && shift >= 1 && shift <= 8) {
    const Limits limits{spec.nonlinear, spec.fp_out};
    const auto narrow = [](int v) { return static_cast<std::int16_t>(v); };
    const NarrowAdd add{narrow(std::min(right_a, 15)), narrow(std::min(right_b, 15)), narrow(1 << (shift - 1)), narrow(shift),
                        narrow(limits.low), narrow(limits.high), narrow(1 << left_a), narrow(1 << left_b)};
    return split_rows(rows.count, rows.count, [&](std::int64_t from, std::int64_t to) {
      simd([=]() __attribute__((always_inline)) {
        for (std::int64_t i = from; i < to; ++i) out[i] = add(a[i], b[i]);
      });
    });
  }
  const ShiftClamp end{shift, 16, spec.nonlinear, spec.fp_out};
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

// ---- bytes that move ----

void requantise(const std::int8_t* in, std::int8_t* out, std::int64_t count, int fp_in, int fp_out, Nonlinear nonlinear) {
  if (is_clamp(nonlinear)) {
    const ShiftClamp end{fp_in - fp_out, 8, nonlinear, fp_out};
    return simd([=]() __attribute__((always_inline)) {
      for (std::int64_t i = 0; i < count; ++i) out[i] = end(in[i]);
    });
  }
  const auto table = requantise_table(fp_in, fp_out, nonlinear);
  for (std::int64_t i = 0; i < count; ++i) out[i] = table[static_cast<std::uint8_t>(in[i])];
}

void plain_move(const MoveSpec& s, const std::int8_t* in, std::int8_t* out) {
  const bool changes = s.fp_in != s.fp_out || s.nonlinear != Nonlinear::none;
  const auto part = [&](const Run& run) {
    std::int8_t* to = out + run.destination;
    const std::int8_t* from = in + run.source;
    if (run.source < 0) {
      std::memset(to, s.fill, static_cast<std::size_t>(run.length));
    } else if (changes) {
      requantise(from, to, run.length, s.fp_in, s.fp_out, s.nonlinear);
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(run.length));
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
