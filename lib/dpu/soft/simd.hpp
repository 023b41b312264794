#pragma once
/// Runs a loop compiled for the best instruction set of this machine. The body is a lambda marked always_inline; it is compiled once
/// per instruction set and the vectoriser does the rest. No -march flags, no indirect functions (sanitizers dislike those).
///
///     simd([&]() __attribute__((always_inline)) { for (...) out[i] = ...; });
namespace splitcnn::inline v0 {

enum class SimdLevel { baseline, avx2, avx512 };

inline SimdLevel simd_level() noexcept {
#if defined(__x86_64__)
  static const SimdLevel level = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512f")
                                     ? SimdLevel::avx512
                                 : __builtin_cpu_supports("avx2") ? SimdLevel::avx2
                                                                  : SimdLevel::baseline;
  return level;
#else
  return SimdLevel::baseline;
#endif
}

#if defined(__x86_64__)
template <class Body>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"), noinline)) void simd_avx512(const Body& body) {
  body();
}
template <class Body>
__attribute__((target("avx2"), noinline)) void simd_avx2(const Body& body) {
  body();
}
#endif

template <class Body>
void simd(const Body& body) {
#if defined(__x86_64__)
  if (simd_level() == SimdLevel::avx512) return simd_avx512(body);
  if (simd_level() == SimdLevel::avx2) return simd_avx2(body);
#endif
  body();
}

}  // namespace splitcnn::inline v0
