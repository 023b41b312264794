#include "dpu/soft/simd.hpp"

#include <algorithm>
#include <dnnl.hpp>

namespace splitcnn::inline v0 {

namespace {

SimdLevel of_machine() noexcept {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512vnni")) return __builtin_cpu_supports("amx-int8") ? SimdLevel::amx : SimdLevel::vnni;
  if (avx512) return SimdLevel::avx512;
  if (__builtin_cpu_supports("avx2")) return SimdLevel::avx2;
#endif
  return SimdLevel::baseline;
}

/// Sets of instructions are sets of bits: later ones, which oneDNN 2 has no name for, include AMX's.
bool includes_amx(dnnl::cpu_isa isa) noexcept {
  const auto bits = static_cast<unsigned>(isa), amx = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  return (bits & amx) == amx;
}

SimdLevel of_onednn() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  switch (isa) {
    case dnnl::cpu_isa::sse41:
    case dnnl::cpu_isa::avx: return SimdLevel::baseline;
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx2_vnni: return SimdLevel::avx2;
    case dnnl::cpu_isa::avx512_core: return SimdLevel::avx512;
    default: return includes_amx(isa) ? SimdLevel::amx : SimdLevel::vnni;
  }
}

}  // namespace

SimdLevel simd_level() noexcept {
  static const SimdLevel level = std::min(of_machine(), of_onednn());
  return level;
}

}  // namespace splitcnn::inline v0
