#pragma once
/// A whole small tail (LeNet's) in one block a frame: every activation in shared memory, one step after
/// another. Results also go to the arena, so that what follows finds them there.
#include "gpu/cuda/kernels/layers.hpp"

namespace splitcnn::inline v0::gpu::cuda {

enum class StepKind : std::int32_t { load, conv, max_pool, average_pool };

struct GroupStep {
  StepKind kind = StepKind::load;
  ConvBody conv;  ///< x, z, y are null: they are in shared memory
  PoolAt pool;
  std::int32_t x = 0, z = -1, y = 0;  ///< byte offsets in shared memory
  std::uint16_t* arena = nullptr;     ///< load: read from, else written to; null: nowhere
  std::int32_t frame_elements = 0;    ///< of the arena's tensor
  std::uint32_t work = 0;             ///< results (conv) or groups of eight (load, pool) of a frame
  FastDiv by_c8, by_q, by_p;          ///< pool
};

struct GroupBody {
  static constexpr int threads = 512;
  const GroupStep* steps = nullptr;
  std::int32_t n_steps = 0;

  SPLITCNN_BOTH void run_step(std::int32_t index, const Thread& t) const {
    const GroupStep& s = steps[index];
    std::uint16_t* arena =
        s.arena ? s.arena + static_cast<std::int64_t>(t.block) * s.frame_elements : nullptr;
    auto* y = reinterpret_cast<std::uint16_t*>(t.shared + s.y);
    const auto* x = reinterpret_cast<const std::uint16_t*>(t.shared + s.x);
    if (s.kind == StepKind::conv) {
      const auto* z = s.z < 0 ? nullptr : reinterpret_cast<const std::uint16_t*>(t.shared + s.z);
      for (std::uint32_t i = t.index; i < s.work; i += threads) {
        const std::uint16_t v = s.conv.result(i, x, z);
        y[i] = v;
        if (arena) arena[i] = v;
      }
      return;
    }
    for (std::uint32_t i = t.index; i < s.work; i += threads) {
      if (s.kind == StepKind::load) {
        store8(y + i * 8, load8(arena + i * 8));
        continue;
      }
      std::uint32_t rest = i;
      const auto c = static_cast<std::int32_t>(s.by_c8.split(rest)) * 8,
                 q = static_cast<std::int32_t>(s.by_q.split(rest));
      const auto p = static_cast<std::int32_t>(s.by_p.split(rest));
      const auto image = static_cast<std::int32_t>(rest);
      const Half8 v = s.kind == StepKind::max_pool ? s.pool.at<true>(x, image, p, q, c)
                                                   : s.pool.at<false>(x, image, p, q, c);
      store8(y + i * 8, v);
      if (arena) store8(arena + i * 8, v);
    }
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
