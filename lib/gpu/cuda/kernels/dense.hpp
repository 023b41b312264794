#pragma once
/// Bodies of dense layers: weight streaming for few rows, mean and dense layer in one, general products.
#include "gpu/cuda/kernels/math.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// y[row] = act(w . x[row] + bias). 32 threads share one output and stream its weights 16 bytes at a time,
/// for `rows` rows at once.
template <int rows>
struct FcBody {
  static constexpr int threads = 256, phases = 2, lanes = 32, outputs = threads / lanes;
  static constexpr std::uint32_t shared_bytes = threads * rows * 4;
  std::int32_t in = 8, k = 1, kp = 8, n = 1;  ///< n: rows there are
  const std::uint16_t *x = nullptr, *weights = nullptr, *bias = nullptr;
  std::uint16_t* y = nullptr;
  Act act;
  FastDiv by_tiles;  ///< blocks per set of rows

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t set = t.block;
    const auto first = static_cast<std::int32_t>(by_tiles.split(set)) * outputs;  // of the outputs
    const std::int32_t row0 = static_cast<std::int32_t>(set) * rows;
    if constexpr (phase == 0) {
      partial(t, first + static_cast<std::int32_t>(t.index) / lanes, row0);
    } else {
      // One thread a result: outputs x rows of them.
      for (std::uint32_t i = t.index; i < outputs * rows; i += threads) {
        const std::uint32_t o = i % outputs, r = i / outputs;
        const std::int32_t out = first + static_cast<std::int32_t>(o),
                           row = row0 + static_cast<std::int32_t>(r);
        if (out >= kp || row >= n) continue;
        float sum = 0;
        for (std::uint32_t l = 0; l < lanes; ++l) sum += t.floats()[r * threads + o * lanes + l];
        y[row * kp + out] = out < k ? to_bits(act(sum + from_bits(bias[out]))) : std::uint16_t{0};
      }
    }
  }

 private:
  SPLITCNN_BOTH void partial(const Thread& t, std::int32_t out, std::int32_t row0) const {
    float sums[rows] = {};
    if (out < k) {
      const std::uint16_t* w = weights + static_cast<std::int64_t>(out) * in;
      for (auto i = static_cast<std::int32_t>(t.index % lanes) * 8; i < in; i += lanes * 8) {
        const Half8 f = load8(w + i);
        for (int r = 0; r < rows; ++r) {
          if (row0 + r >= n) continue;
          const Half8 v = load8(x + (row0 + r) * in + i);
          for (int l = 0; l < 8; ++l) sums[r] += v[l] * f[l];
        }
      }
    }
    for (int r = 0; r < rows; ++r) t.floats()[static_cast<std::uint32_t>(r) * threads + t.index] = sums[r];
  }
};

/// Mean over an image, rounded to FP16, then a dense layer: each block makes the whole mean (from the cache)
/// and 32 outputs.
struct GapFcBody {
  static constexpr int threads = 256, phases = 3, outputs = 32, lanes = threads / outputs;
  std::int32_t area = 1, in = 8, k = 1, kp = 8;
  const std::uint16_t *x = nullptr, *weights = nullptr, *bias = nullptr;
  std::uint16_t* y = nullptr;
  Act act;
  float load_max = 0;
  FastDiv by_tiles;  ///< blocks per image

  /// Means as FP16, then one partial sum a thread.
  [[nodiscard]] std::uint32_t shared_bytes() const {
    return static_cast<std::uint32_t>(in) * 2 + threads * 4;
  }

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t image = t.block;
    const auto first = static_cast<std::int32_t>(by_tiles.split(image)) * outputs;
    auto* means = reinterpret_cast<std::uint16_t*>(t.shared);
    float* partial = t.floats(static_cast<std::uint32_t>(in) * 2);
    const auto thread = static_cast<std::int32_t>(t.index);
    if constexpr (phase == 0) {
      for (std::int32_t c = thread * 8; c < in; c += threads * 8) {
        float sums[8] = {};
        const std::uint16_t* from = x + static_cast<std::int32_t>(image) * area * in + c;
        for (std::int32_t i = 0; i < area; ++i) {
          const Half8 v = load8(from + i * in);
          for (int l = 0; l < 8; ++l) sums[l] += at_most(v[l], load_max);
        }
        for (int l = 0; l < 8; ++l) sums[l] = sums[l] / static_cast<float>(area);
        store8(means + c, Half8::of(sums));
      }
    } else if constexpr (phase == 1) {
      const std::int32_t out = first + thread / lanes;
      float sum = 0;
      if (out < k) {
        const std::uint16_t* w = weights + static_cast<std::int64_t>(out) * in;
        for (std::int32_t i = thread % lanes * 8; i < in; i += lanes * 8) {
          const Half8 v = load8(means + i), f = load8(w + i);
          for (int l = 0; l < 8; ++l) sum += v[l] * f[l];
        }
      }
      partial[thread] = sum;
    } else {
      const std::int32_t out = first + thread;
      if (thread >= outputs || out >= kp) return;
      float sum = 0;
      for (int l = 0; l < lanes; ++l) sum += partial[thread * lanes + l];
      y[static_cast<std::int32_t>(image) * kp + out] =
          out < k ? to_bits(act(sum + from_bits(bias[out]))) : std::uint16_t{0};
    }
  }
};

/// y[m][n] = alpha sum_k a[m][k] b[k][n] + beta c[m][n] over the walk's batches; one result a thread.
struct ProductBody {
  static constexpr int threads = 128, phases = 1;
  Walks<4> walks;
  std::int32_t frame[4] = {};  ///< elements from frame to frame of a, b, c, y
  const std::uint16_t *a = nullptr, *b = nullptr, *c = nullptr;
  std::uint16_t* y = nullptr;
  std::int32_t k = 1, a_m = 0, a_k = 0, b_k = 0, b_n = 0, c_m = 0, c_n = 0, y_m = 0, y_n = 0;
  float alpha = 1, beta = 0;
  FastDiv by_n, by_m, by_batch;
  std::uint32_t total = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t rest = t.global<threads>();
    if (rest >= total) return;
    const auto n = static_cast<std::int32_t>(by_n.split(rest)),
               m = static_cast<std::int32_t>(by_m.split(rest));
    const std::uint32_t batch = by_batch.split(rest);
    const auto f = static_cast<std::int32_t>(rest);
    std::int32_t at[4];
    walks.at(batch, at);
    const std::uint16_t *row = a + f * frame[0] + at[0] + m * a_m,
                        *column = b + f * frame[1] + at[1] + n * b_n;
    float sum = 0;
    for (std::int32_t i = 0; i < k; ++i) sum += from_bits(row[i * a_k]) * from_bits(column[i * b_k]);
    float v = alpha * sum;
    if (c) v += beta * from_bits(c[f * frame[2] + m * c_m + n * c_n]);
    y[f * frame[3] + at[3] + m * y_m + n * y_n] = to_bits(v);
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
