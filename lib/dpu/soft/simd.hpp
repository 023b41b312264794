#pragma once
/// Runs a loop compiled for the best instruction set of this machine. The body is a lambda marked always_inline that captures BY VALUE; it is
/// compiled once per instruction set and the vectoriser does the rest. By value matters twice: bytes written through an int8 pointer could
/// otherwise be the captured pointers themselves, and nothing would become vector code. No -march flags, no indirect functions
/// (sanitizers dislike those).
///
///     simd([=]() __attribute__((always_inline)) { for (...) out[i] = ...; });
#include <cstdint>

namespace splitcnn::inline v0 {

/// amx: oneDNN has tiles of it; our own code has none and runs as for vnni.
enum class SimdLevel : std::uint8_t { baseline, avx2, avx512, vnni, amx };

/// The best level of this machine, held to what oneDNN is held to (ONEDNN_MAX_CPU_ISA): one setting selects the path of all kernels.
SimdLevel simd_level() noexcept;

#if defined(__x86_64__)
template <class Body>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"), noinline)) void simd_avx512(Body body) {
  body();
}
template <class Body>
__attribute__((target("avx2"), noinline)) void simd_avx2(Body body) {
  body();
}
#endif

template <class Body>
void simd(Body body) {
#if defined(__x86_64__)
  if (simd_level() >= SimdLevel::avx512) return simd_avx512(body);
  if (simd_level() == SimdLevel::avx2) return simd_avx2(body);
#endif
  body();
}

}  // namespace splitcnn::inline v0
