#pragma once
/// Splits a loop over the threads of a stage.
#include <omp.h>

#include <cstdint>

namespace splitcnn::inline v0::cpu {

/// Calls f(begin, end) for parts of [0, n). Fewer than `grain` items per thread are not worth a parallel
/// region.
template <class F>
void split_work(int threads, std::int64_t n, std::int64_t grain, const F& f) noexcept {
  if (threads > 1 && n > grain) {
#pragma omp parallel num_threads(threads)
    {
      const std::int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
      f(n * part / parts, n * (part + 1) / parts);
    }
  } else {
    f(std::int64_t{0}, n);
  }
}

}  // namespace splitcnn::inline v0::cpu
