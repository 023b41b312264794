#pragma once
/// Bodies of the ops along an axis: softmax, log_softmax, lrn.
#include "gpu/cuda/kernels/walks.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// What both softmax bodies share: rows found by a walk, an axis in each.
struct AxisRows : FrameWalks<2> {  // x (0) and y (1), over everything but the axis; an element is a row
  std::int32_t n = 1, step_x = 1, step_y = 1;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;

  SPLITCNN_BOTH void find(std::uint32_t row, const std::uint16_t*& from, std::uint16_t*& to) const {
    const Spot s = spot(row);
    from = x + s.at[0];
    to = y + s.at[1];
  }
};

SPLITCNN_BOTH std::uint16_t softmax_result(float v, float top, float sum, bool logarithm) {
  return to_bits(logarithm ? v - top - logf(sum) : expf(v - top) / sum);
}

/// A block a row: partial maxima, partial sums, results.
struct SoftmaxBody {
  static constexpr int threads = 128, phases = 3;
  static constexpr std::uint32_t shared_bytes = 2 * threads * 4;
  AxisRows rows;
  std::int32_t logarithm = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint16_t* from = nullptr;
    std::uint16_t* to = nullptr;
    rows.find(t.block, from, to);
    const auto first = static_cast<std::int32_t>(t.index);
    float *tops = t.floats(), *sums = t.floats() + threads;
    float top = -INFINITY;
    if constexpr (phase == 0) {
      for (std::int32_t k = first; k < rows.n; k += threads)
        top = larger(top, from_bits(from[k * rows.step_x]));
      tops[first] = top;
    } else {
      for (int k = 0; k < threads; ++k) top = larger(top, tops[k]);
    }
    if constexpr (phase == 1) {
      float sum = 0;
      for (std::int32_t k = first; k < rows.n; k += threads)
        sum += expf(from_bits(from[k * rows.step_x]) - top);
      sums[first] = sum;
    } else if constexpr (phase == 2) {
      float sum = 0;
      for (int k = 0; k < threads; ++k) sum += sums[k];
      for (std::int32_t k = first; k < rows.n; k += threads)
        to[k * rows.step_y] = softmax_result(from_bits(from[k * rows.step_x]), top, sum, logarithm != 0);
    }
  }

 private:
  SPLITCNN_BOTH static float larger(float a, float b) { return a < b ? b : a; }
};

/// A thread a row, for short axes.
struct SoftmaxShortBody {
  static constexpr int threads = 64, phases = 1, longest = 32;
  AxisRows rows;
  std::int32_t logarithm = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t row = t.global<threads>();
    if (row >= rows.frames.total) return;
    const std::uint16_t* from = nullptr;
    std::uint16_t* to = nullptr;
    rows.find(row, from, to);
    float top = -INFINITY, sum = 0;
    for (std::int32_t k = 0; k < rows.n; ++k) {
      const float v = from_bits(from[k * rows.step_x]);
      top = top < v ? v : top;
    }
    for (std::int32_t k = 0; k < rows.n; ++k) sum += expf(from_bits(from[k * rows.step_x]) - top);
    for (std::int32_t k = 0; k < rows.n; ++k)
      to[k * rows.step_y] = softmax_result(from_bits(from[k * rows.step_x]), top, sum, logarithm != 0);
  }
};

/// x / (bias + alpha * sum of squares around it)^beta; one result a thread.
struct LrnBody {
  static constexpr int threads = 128, phases = 1;
  AxisRows rows;
  FastDiv by_n;
  std::int32_t before = 0, after = 0;
  float alpha = 0, beta = 0, bias = 1;
  std::uint32_t total = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t row = t.global<threads>();
    if (row >= total) return;
    const auto c = static_cast<std::int32_t>(by_n.split(row));
    const std::uint16_t* from = nullptr;
    std::uint16_t* to = nullptr;
    rows.find(row, from, to);
    const std::int32_t low = c < before ? 0 : c - before, high = c + after < rows.n ? c + after : rows.n - 1;
    float squares = 0;
    for (std::int32_t k = low; k <= high; ++k) {
      const float v = from_bits(from[k * rows.step_x]);
      squares += v * v;
    }
    to[c * rows.step_y] = to_bits(from_bits(from[c * rows.step_x]) / powf(bias + alpha * squares, beta));
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
