#pragma once
/// Work of one kernel over the calling thread's OpenMP thread count.
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace splitcnn::inline v0::soft {

/// Calls f(begin, end) or f(begin, end, part) over [0, rows), split when there is enough to do (`elements`: about how many operations).
template <class F>
void split_rows(std::int64_t rows, std::int64_t elements, const F& work) {
  const auto f = [&work](std::int64_t begin, std::int64_t end, int part) {
    if constexpr (std::is_invocable_v<F, std::int64_t, std::int64_t, int>) {
      work(begin, end, part);
    } else {
      work(begin, end);
    }
  };
  const auto threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), rows));
  if (threads <= 1 || elements < 32768) return f(std::int64_t{0}, rows, 0);
#pragma omp parallel num_threads(threads)
  {
    const int part = omp_get_thread_num(), parts = omp_get_num_threads();
    f(rows * part / parts, rows * (part + 1) / parts, part);
  }
}

}  // namespace splitcnn::inline v0::soft
