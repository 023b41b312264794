#include "gpu/cuda/errata.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

constexpr Erratum table[] = {
    {91900, 92301, 120, 130, -1, true,
     "runtime-compiled engines read out of range now and then on sm_12x inside CUDA graphs "
     "(vllm-project/vllm#35566)"},
};

}  // namespace

std::span<const Erratum> errata() { return table; }

const char* find_erratum(std::span<const Erratum> entries, std::int64_t version, int sm,
                         const EngineTraits& traits) {
  for (const Erratum& e : entries) {
    if (version < e.from_version || version >= e.to_version || sm < e.from_sm || sm >= e.to_sm) continue;
    if (e.engine >= 0 && e.engine != traits.engine) continue;
    if (e.runtime_compiled_only && !traits.runtime_compiled) continue;
    return e.reason;
  }
  return nullptr;
}

}  // namespace splitcnn::inline v0::gpu::cuda
