#pragma once
/// Bodies of the layers: naive convolution (always right, for any shape), fused depthwise, pools.
/// A body has `threads` per block, a number of `phases`, and run<phase>(). Activations are NHWC with channels
/// padded to 8; a body writes the pad lanes of what it writes.
#include "gpu/cuda/kernels/math.hpp"

namespace splitcnn::inline v0::gpu::cuda {

struct Geometry {
  std::int32_t n = 1, h = 1, w = 1, c = 8, cp = 8;  ///< n over all frames; cp: c with padding
  std::int32_t p = 1, q = 1, k = 8, kp = 8;
  TailWindow window;
  std::int32_t groups = 1;
};

/// Row or column of x for output o and tap t, -1 outside.
SPLITCNN_BOTH std::int32_t source(std::int32_t o, std::int32_t stride, std::int32_t before, std::int32_t t,
                                  std::int32_t dilation, std::int32_t size) {
  const std::int32_t at = o * stride - before + t * dilation;
  return at >= 0 && at < size ? at : -1;
}

/// sum of n (a multiple of 8) products.
SPLITCNN_BOTH float dot(const std::uint16_t* a, const std::uint16_t* b, std::int32_t n, float sum) {
  for (std::int32_t i = 0; i < n; i += 8) {
    const Half8 x = load8(a + i), w = load8(b + i);
    for (int l = 0; l < 8; ++l) sum += x[l] * w[l];
  }
  return sum;
}

/// One result of a convolution, without z, bias and activation.
SPLITCNN_BOTH float conv_sum(const Geometry& g, const std::uint16_t* x, const std::uint16_t* weights,
                             std::int32_t image, std::int32_t p, std::int32_t q, std::int32_t k) {
  const TailWindow& w = g.window;
  const std::int32_t per_in = g.c / g.groups, per_out = g.k / g.groups;
  float sum = 0;
  for (std::int32_t i = 0; i < w.kernel_h; ++i) {
    const std::int32_t row = source(p, w.stride_h, w.pad_top, i, w.dilation_h, g.h);
    if (row < 0) continue;
    for (std::int32_t j = 0; j < w.kernel_w; ++j) {
      const std::int32_t column = source(q, w.stride_w, w.pad_left, j, w.dilation_w, g.w);
      if (column < 0) continue;
      const std::uint16_t* pixel = x + ((image * g.h + row) * g.w + column) * g.cp;
      const std::int32_t tap = (k * w.kernel_h + i) * w.kernel_w + j;
      if (g.groups == 1) {
        sum = dot(pixel, weights + static_cast<std::int64_t>(tap) * g.cp, g.cp, sum);
      } else {
        const std::uint16_t* mine = pixel + k / per_out * per_in;
        for (std::int32_t c = 0; c < per_in; ++c)
          sum += from_bits(mine[c]) * from_bits(weights[static_cast<std::int64_t>(tap) * per_in + c]);
      }
    }
  }
  return sum;
}

/// y = act(conv + z + bias), one result a thread.
struct ConvBody {
  static constexpr int threads = 128, phases = 1;
  Geometry g;
  const std::uint16_t *x = nullptr, *z = nullptr, *weights = nullptr, *bias = nullptr;
  std::uint16_t* y = nullptr;
  Act act;
  FastDiv by_k, by_q, by_p;
  std::uint32_t total = 0;

  SPLITCNN_BOTH std::uint16_t result(std::uint32_t i, const std::uint16_t* in,
                                     const std::uint16_t* addend) const {
    std::uint32_t rest = i;
    const auto k = static_cast<std::int32_t>(by_k.split(rest)),
               q = static_cast<std::int32_t>(by_q.split(rest));
    const auto p = static_cast<std::int32_t>(by_p.split(rest)), image = static_cast<std::int32_t>(rest);
    if (k >= g.k) return 0;
    float v = conv_sum(g, in, weights, image, p, q, k);
    if (addend) v += from_bits(addend[i]);
    return to_bits(act(v + from_bits(bias[k])));
  }
  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t i = t.global<threads>();
    if (i < total) y[i] = result(i, x, z);
  }
};

/// Eight channels of `tile` neighbouring results a thread; rows of x are read once for all of them. kernel 0:
/// any window, tile 1.
template <int kernel, int stride, int tile>
struct DepthwiseBody {
  static constexpr int threads = 128, phases = 1;
  static constexpr int columns = (tile - 1) * stride + kernel;
  Geometry g;
  const std::uint16_t *x = nullptr, *weights = nullptr, *bias = nullptr;
  std::uint16_t* y = nullptr;
  Act act;
  float load_max = 0;
  FastDiv by_c8, by_tiles, by_p;
  std::uint32_t total = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t rest = t.global<threads>();
    if (rest >= total) return;
    const auto c = static_cast<std::int32_t>(by_c8.split(rest)) * 8;
    const auto q0 = static_cast<std::int32_t>(by_tiles.split(rest)) * tile;
    const auto p = static_cast<std::int32_t>(by_p.split(rest)), image = static_cast<std::int32_t>(rest);
    float sums[tile][8] = {};
    if constexpr (kernel == 0) {
      any_window(image, p, q0, c, sums[0]);
    } else {
      for (int i = 0; i < kernel; ++i) add_row(image, p, q0, c, i, sums);
    }
    const Half8 b = load8(bias + c);
    std::uint16_t* to = y + ((image * g.p + p) * g.q + q0) * g.cp + c;
    for (int o = 0; o < tile; ++o) {
      if (q0 + o >= g.q) return;
      float v[8];
      for (int l = 0; l < 8; ++l) v[l] = c + l < g.c ? act(sums[o][l] + b[l]) : 0.0f;
      store8(to + o * g.cp, Half8::of(v));
    }
  }

 private:
  SPLITCNN_BOTH void add_row(std::int32_t image, std::int32_t p, std::int32_t q0, std::int32_t c, int i,
                             float (&sums)[tile][8]) const {
    const std::int32_t row = p * stride - g.window.pad_top + i;
    if (row < 0 || row >= g.h) return;
    Half8 w[kernel > 0 ? kernel : 1];
    for (int j = 0; j < kernel; ++j) w[j] = load8(weights + (i * kernel + j) * g.cp + c);
    const std::uint16_t* line = x + ((image * g.h + row) * g.w) * g.cp + c;
    const std::int32_t first = q0 * stride - g.window.pad_left;
    for (int column = 0; column < columns; ++column) {
      const std::int32_t at = first + column;
      if (at < 0 || at >= g.w) continue;
      const Half8 in = load8(line + at * g.cp);
      float v[8];
      for (int l = 0; l < 8; ++l) v[l] = at_most(in[l], load_max);
      for (int o = 0; o < tile; ++o) {
        const int tap = column - o * stride;
        if (tap < 0 || tap >= kernel) continue;
        for (int l = 0; l < 8; ++l) sums[o][l] += v[l] * w[tap][l];
      }
    }
  }
  SPLITCNN_BOTH void any_window(std::int32_t image, std::int32_t p, std::int32_t q, std::int32_t c,
                                float (&sums)[8]) const {
    const TailWindow& w = g.window;
    for (std::int32_t i = 0; i < w.kernel_h; ++i) {
      const std::int32_t row = source(p, w.stride_h, w.pad_top, i, w.dilation_h, g.h);
      if (row < 0) continue;
      for (std::int32_t j = 0; j < w.kernel_w; ++j) {
        const std::int32_t at = source(q, w.stride_w, w.pad_left, j, w.dilation_w, g.w);
        if (at < 0) continue;
        const Half8 in = load8(x + ((image * g.h + row) * g.w + at) * g.cp + c),
                    f = load8(weights + (i * w.kernel_w + j) * g.cp + c);
        for (int l = 0; l < 8; ++l) sums[l] += at_most(in[l], load_max) * f[l];
      }
    }
  }
};

/// Eight channels of one result of a pool.
struct PoolAt {
  Geometry g;
  const std::uint16_t* x = nullptr;
  Act act;
  float load_max = 0;
  std::int32_t count_include_pad = 0;

  template <bool maximum>
  SPLITCNN_BOTH Half8 at(const std::uint16_t* from, std::int32_t image, std::int32_t p, std::int32_t q,
                         std::int32_t c) const {
    const TailWindow& w = g.window;
    float v[8];
    for (int l = 0; l < 8; ++l) v[l] = maximum ? -3.402823466e38f : 0.0f;
    std::int32_t inside = 0, padded = 0;
    for (std::int32_t i = 0; i < w.kernel_h; ++i) {
      const std::int32_t row = p * w.stride_h - w.pad_top + i * w.dilation_h;
      for (std::int32_t j = 0; j < w.kernel_w; ++j) {
        const std::int32_t column = q * w.stride_w - w.pad_left + j * w.dilation_w;
        padded += row < g.h + w.pad_bottom && column < g.w + w.pad_right;
        if (row < 0 || row >= g.h || column < 0 || column >= g.w) continue;
        ++inside;
        const Half8 in = load8(from + ((image * g.h + row) * g.w + column) * g.cp + c);
        for (int l = 0; l < 8; ++l) {
          const float s = at_most(in[l], load_max);
          v[l] = !maximum ? v[l] + s : (v[l] < s ? s : v[l]);
        }
      }
    }
    const std::int32_t count = count_include_pad ? padded : inside;
    for (int l = 0; l < 8; ++l) {
      if (!maximum) v[l] = v[l] / static_cast<float>(count < 1 ? 1 : count);
      v[l] = c + l < g.c ? act(v[l]) : 0.0f;
    }
    return Half8::of(v);
  }
};

template <bool maximum>
struct PoolBody {
  static constexpr int threads = 128, phases = 1;
  PoolAt pool;
  std::uint16_t* y = nullptr;
  FastDiv by_c8, by_q, by_p;
  std::uint32_t total = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t rest = t.global<threads>();
    if (rest >= total) return;
    std::uint16_t* to = y + rest * 8;  // c is fastest and y is packed
    const auto c = static_cast<std::int32_t>(by_c8.split(rest)) * 8,
               q = static_cast<std::int32_t>(by_q.split(rest));
    const auto p = static_cast<std::int32_t>(by_p.split(rest));
    store8(to, pool.at<maximum>(pool.x, static_cast<std::int32_t>(rest), p, q, c));
  }
};

/// Mean over an image; 32 x 8 channels by 8 parts of the area a block.
struct GlobalPoolBody {
  static constexpr int threads = 256, phases = 2, parts = 8, groups = 32;
  static constexpr std::uint32_t shared_bytes = threads * 8 * 4;
  std::int32_t area = 1, c = 8, cp = 8;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;
  Act act;
  float load_max = 0;
  FastDiv by_blocks;  ///< blocks per image

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t image = t.block;
    const std::uint32_t group = t.index % groups, part = t.index / groups;
    const auto channel = static_cast<std::int32_t>((by_blocks.split(image) * groups + group) * 8);
    if (channel >= cp) return;
    if constexpr (phase == 0) {
      float sums[8] = {};
      const std::uint16_t* from = x + static_cast<std::int32_t>(image) * area * cp + channel;
      for (auto i = static_cast<std::int32_t>(part); i < area; i += parts) {
        const Half8 in = load8(from + i * cp);
        for (int l = 0; l < 8; ++l) sums[l] += at_most(in[l], load_max);
      }
      for (int l = 0; l < 8; ++l)
        t.floats()[(part * 8 + static_cast<std::uint32_t>(l)) * groups + group] = sums[l];
    } else {
      if (part != 0) return;
      float v[8];
      for (int l = 0; l < 8; ++l) {
        float sum = 0;
        for (int k = 0; k < parts; ++k)
          sum += t.floats()[static_cast<std::uint32_t>(k * 8 + l) * groups + group];
        v[l] = channel + l < c ? act(sum / static_cast<float>(area)) : 0.0f;
      }
      store8(y + static_cast<std::int32_t>(image) * cp + channel, Half8::of(v));
    }
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
