#pragma once
/// What filling in a body needs again and again. Host only; internal to kernels/.
#include <array>
#include <cmath>

#include "gpu/cuda/kernels/calls.hpp"

namespace splitcnn::inline v0::gpu::cuda {

inline const std::uint16_t* halves_at(const std::byte* arena, std::uint64_t offset) {
  return reinterpret_cast<const std::uint16_t*>(arena + offset);
}

inline Act act_of(const TailOp& op) { return {op.act, op.act_alpha, op.act_beta}; }

/// What a load is clamped to: an FP16 number, because that is what was stored in the unsunk program.
float limit_of(const TailOp& op, int operand);

/// The walks of some operands as one; dimensions are those of the last.
template <int N>
Walks<N> walks_of(const TailOp& op, const std::array<int, N>& which) {
  const TailWalk& leader = op.walk[which[N - 1]];
  Walks<N> w;
  w.rank = leader.rank;
  for (int d = 0; d < leader.rank; ++d) {
    w.dim[d] = FastDiv{leader.dims[d]};
    w.elements *= static_cast<std::uint32_t>(leader.dims[d]);
    for (int o = 0; o < N; ++o) w.stride[o][d] = op.walk[which[static_cast<std::size_t>(o)]].strides[d];
  }
  for (int o = 0; o < N; ++o) w.offset[o] = op.walk[which[static_cast<std::size_t>(o)]].offset;
  return w;
}

inline Frames frames_of(std::uint32_t elements, const OpCall& call) {
  return {FastDiv{elements}, elements * call.frames};
}

}  // namespace splitcnn::inline v0::gpu::cuda
