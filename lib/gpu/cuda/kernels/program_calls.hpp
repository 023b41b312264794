#pragma once
/// Addresses and groups of a TailProgram: what turns an op into an OpCall, and a TailGroup into the steps of
/// one block.
#include <vector>

#include "gpu/cuda/kernels/calls.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// Where a program's memory is for one context. Pointers as the kernels see them.
struct ProgramMemory {
  std::byte* arena = nullptr;  ///< for `frames` frames: offsets are multiplied
  const std::byte* weights = nullptr;
  const std::byte* host_weights = nullptr;  ///< may be null
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;
};

OpCall make_call(const TailView& program, std::uint64_t index, std::uint32_t frames,
                 const ProgramMemory& memory);

struct GroupPlan {
  std::vector<GroupStep> steps;  ///< copied to where the kernel reads them
  std::uint32_t shared_bytes = 0;
};

/// The steps of a group for a batch; empty when it needs more than `most_shared` bytes.
GroupPlan make_group(const TailView& program, const TailGroup& group, std::uint32_t frames,
                     const ProgramMemory& memory, std::uint32_t most_shared = 48u << 10);

}  // namespace splitcnn::inline v0::gpu::cuda
