#pragma once
/// Runs a kernel body on the host: every block, phase by phase, every thread. What the GPU would do, one
/// thread at a time; for tests.
#include <cstring>
#include <vector>

#include "gpu/cuda/kernels/group.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// `grid` blocks with `bytes` of shared memory, which starts as garbage in every block, as it does on the
/// device.
template <class Body>
void emulate(const Body& body, std::uint32_t grid, std::uint32_t bytes) {
  std::vector<Half8> memory(bytes / sizeof(Half8) + 1);
  Thread t;
  t.shared = reinterpret_cast<unsigned char*>(memory.data());
  const auto phase = [&](const auto& run) {
    for (t.index = 0; t.index < static_cast<std::uint32_t>(Body::threads); ++t.index) run();
  };
  for (t.block = 0; t.block < grid; ++t.block) {
    std::memset(t.shared, 0xff, memory.size() * sizeof(Half8));
    phase([&] { body.template run<0>(t); });
    if constexpr (Body::phases > 1) phase([&] { body.template run<1>(t); });
    if constexpr (Body::phases > 2) phase([&] { body.template run<2>(t); });
  }
}

inline void emulate_group(const GroupBody& body, std::uint32_t frames, std::uint32_t bytes) {
  std::vector<Half8> memory(bytes / sizeof(Half8) + 1);
  Thread t;
  t.shared = reinterpret_cast<unsigned char*>(memory.data());
  for (t.block = 0; t.block < frames; ++t.block) {
    std::memset(t.shared, 0xff, memory.size() * sizeof(Half8));
    for (std::int32_t s = 0; s < body.n_steps; ++s) {
      for (t.index = 0; t.index < GroupBody::threads; ++t.index) body.run_step(s, t);
    }
  }
}

}  // namespace splitcnn::inline v0::gpu::cuda
