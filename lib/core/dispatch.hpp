#pragma once
/// Plain loops compiled twice, for the baseline and for AVX2, chosen at run time. Without function
/// multi-versioning: its resolvers run before a sanitizer is ready.

namespace splitcnn::inline v0 {

#if defined(__x86_64__)

inline bool has_avx2() noexcept {
  static const bool found = __builtin_cpu_supports("avx2");
  return found;
}

template <auto Body, class... Args>
__attribute__((target("avx2"))) void run_avx2(Args... args) noexcept {
  Body(args...);
}

/// Calls Body, an `inline __attribute__((always_inline))` function, in the fastest version this machine runs.
template <auto Body, class... Args>
void run_best(Args... args) noexcept {
  if (has_avx2()) return run_avx2<Body>(args...);
  Body(args...);
}

#else

template <auto Body, class... Args>
void run_best(Args... args) noexcept {
  Body(args...);
}

#endif

}  // namespace splitcnn::inline v0
