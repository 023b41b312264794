#pragma once
/// Interpolation from tables of sources and weights.
#include "gpu/cuda/kernels/walks.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// One interpolated value a thread, or eight where the innermost dimension is not interpolated.
template <int lanes>
struct ResampleBody {
  static constexpr int threads = 128, phases = 1;
  std::int32_t rank = 1;  ///< dimensions with taps; of eight lanes the innermost has none
  FastDiv dim[tail_dims];
  std::int32_t stride[tail_dims] = {}, offset = 0;
  const TailTap* taps[tail_dims] = {};
  Frames frames;
  FastDiv by_inner;  ///< groups of eight in the innermost dimension
  std::int32_t frame_in = 0, frame_out = 0;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    std::uint32_t i = t.global<threads>();
    if (i >= frames.total) return;
    const std::int32_t f = frames.split(i);
    std::int32_t base = f * frame_in, to = f * frame_out + offset;
    if constexpr (lanes == 8) {
      const auto inner = static_cast<std::int32_t>(by_inner.split(i)) * 8;
      base += inner;
      to += inner;
    }
    std::int32_t step[tail_dims] = {};
    float weight[tail_dims] = {};
    int split = 0;  // bit d: dimension d has two sources
    for (int d = tail_dims - 1; d >= 0; --d) {
      if (d >= rank) continue;
      const auto k = static_cast<std::int32_t>(dim[d].split(i));
      const TailTap tap = taps[d][k];
      base += tap.low;
      to += k * stride[d];
      step[d] = tap.high - tap.low;
      weight[d] = tap.weight;
      if (tap.weight != 0) split |= 1 << d;
    }
    float sum[lanes] = {};
    for (int corner = 0;; corner = (corner - split) & split) {  // the subsets of split
      float w = 1;
      std::int32_t at = base;
      for (int d = 0; d < tail_dims; ++d) {
        if ((split >> d & 1) == 0) continue;
        const bool high = (corner >> d & 1) != 0;
        w *= high ? weight[d] : 1 - weight[d];
        at += high ? step[d] : 0;
      }
      add(sum, w, at, split == 0);
      if (corner == split) break;
    }
    put(to, sum);
  }

 private:
  SPLITCNN_BOTH void add(float (&sum)[lanes], float w, std::int32_t at, bool alone) const {
    if constexpr (lanes == 8) {
      const Half8 v = load8(x + at);
      for (int l = 0; l < 8; ++l) sum[l] = alone ? v[l] : sum[l] + w * v[l];
    } else {
      const float v = from_bits(x[at]);
      sum[0] = alone ? v : sum[0] + w * v;
    }
  }
  SPLITCNN_BOTH void put(std::int32_t to, const float (&sum)[lanes]) const {
    if constexpr (lanes == 8) {
      store8(y + to, Half8::of(sum));
    } else {
      y[to] = to_bits(sum[0]);
    }
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
