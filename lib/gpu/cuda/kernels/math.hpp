#pragma once
/// What every kernel body needs, for nvcc and for the host compiler alike: FP16 bits, 16-byte vectors,
/// division by a number that is known at launch, walks, activations. A body is the same source on both sides;
/// the tests run it as host code (emulate.hpp).
#include <math.h>

#include <cstdint>

#include "gpu/tail/tail_ir.hpp"

// The one thing the two compilers do not share is how a function for both is declared and what knows FP16.
#ifdef __CUDACC__
#include <cuda_fp16.h>
#define SPLITCNN_BOTH __host__ __device__ __forceinline__
#else
#include "core/half.hpp"
#define SPLITCNN_BOTH inline
#endif

namespace splitcnn::inline v0::gpu::cuda {

SPLITCNN_BOTH float from_bits(std::uint16_t half) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(half));
#else
  return from_half(half);
#endif
}

/// Round to nearest even.
SPLITCNN_BOTH std::uint16_t to_bits(float value) {
#ifdef __CUDACC__
  return __half_as_ushort(__float2half_rn(value));
#else
  return to_half(value);
#endif
}

/// Eight FP16 numbers, loaded and stored as one.
struct alignas(16) Half8 {
  std::uint32_t word[4];

  SPLITCNN_BOTH float operator[](int i) const {
    return from_bits(static_cast<std::uint16_t>(word[i / 2] >> (i % 2 * 16)));
  }
  SPLITCNN_BOTH static Half8 of(const float (&v)[8]) {
    Half8 h;
    for (int i = 0; i < 4; ++i) {
      h.word[i] = std::uint32_t{to_bits(v[2 * i])} | std::uint32_t{to_bits(v[2 * i + 1])} << 16;
    }
    return h;
  }
};
SPLITCNN_BOTH Half8 load8(const std::uint16_t* from) { return *reinterpret_cast<const Half8*>(from); }
SPLITCNN_BOTH void store8(std::uint16_t* to, const Half8& v) { *reinterpret_cast<Half8*>(to) = v; }

/// min(v, limit) that keeps NaN, as the host executor does.
SPLITCNN_BOTH float at_most(float v, float limit) { return limit < v ? limit : v; }

/// n / divisor by multiplication, for n < 2^31 (Granlund and Montgomery, "Division by invariant integers").
struct FastDiv {
  std::uint32_t divisor = 1, multiplier = 1, shift = 0;

  FastDiv() = default;
  explicit FastDiv(std::int64_t d) : divisor{static_cast<std::uint32_t>(d)} {
    while ((std::uint64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<std::uint32_t>((((std::uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
  }
  SPLITCNN_BOTH std::uint32_t quotient(std::uint32_t n) const {
    return (static_cast<std::uint32_t>(std::uint64_t{n} * multiplier >> 32) + n) >> shift;
  }
  /// n becomes the quotient; returns the remainder.
  SPLITCNN_BOTH std::uint32_t split(std::uint32_t& n) const {
    const std::uint32_t q = quotient(n), r = n - q * divisor;
    n = q;
    return r;
  }
};

/// Walks over the same box by N operands: where element i of each lies.
template <int N>
struct Walks {
  std::int32_t rank = 0;
  std::uint32_t elements = 1;  ///< per frame
  FastDiv dim[tail_dims];
  std::int32_t stride[N][tail_dims] = {}, offset[N] = {};

  SPLITCNN_BOTH void at(std::uint32_t i, std::int32_t (&where)[N]) const {
    for (int o = 0; o < N; ++o) where[o] = offset[o];
    for (int d = tail_dims - 1; d >= 0; --d) {
      if (d >= rank) continue;
      const auto step = static_cast<std::int32_t>(dim[d].split(i));
      for (int o = 0; o < N; ++o) where[o] += step * stride[o][d];
    }
  }
};

struct Act {
  TailAct kind = TailAct::none;
  float alpha = 0, beta = 0;

  SPLITCNN_BOTH float operator()(float v) const {
    switch (kind) {
      case TailAct::none:
        return v;
      case TailAct::relu:
        return v > 0 ? v : (v != v ? v : 0.0f);
      case TailAct::clip: {
        const float low = v < alpha ? alpha : v;
        return beta < low ? beta : low;
      }
      case TailAct::leaky_relu:
        return v < 0 ? alpha * v : v;
      case TailAct::hard_sigmoid: {
        const float s = alpha * v + beta, top = s < 1.0f ? s : 1.0f;
        return 0.0f < top ? top : 0.0f;
      }
      case TailAct::hard_swish: {
        const float s = v * (1.0f / 6.0f) + 0.5f, top = s < 1.0f ? s : 1.0f;
        return v * (0.0f < top ? top : 0.0f);
      }
    }
    return v;
  }
};

/// Where a body runs. Phases of one block are separated by a barrier; what one phase leaves for the next is
/// in `shared`. All of a block's threads are called in every phase.
struct Thread {
  std::uint32_t block = 0, index = 0;
  unsigned char* shared = nullptr;

  template <int N>
  SPLITCNN_BOTH std::uint32_t global() const {
    return block * N + index;
  }
  SPLITCNN_BOTH float* floats(std::uint32_t byte_offset = 0) const {
    return reinterpret_cast<float*>(shared + byte_offset);
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
