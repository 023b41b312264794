#pragma once
/// oneDNN as packaged computes with OpenMP. A stage sets the thread count of ITS OWN thread only: the setting is per thread,
/// so the application's OpenMP is untouched.
#include <omp.h>

namespace splitcnn::inline v0 {

/// Sets the calling thread's OpenMP thread count for the scope and restores it.
class OmpThreads {
 public:
  explicit OmpThreads(int threads) noexcept : before_{omp_get_max_threads()} { omp_set_num_threads(threads); }
  ~OmpThreads() { omp_set_num_threads(before_); }
  OmpThreads(const OmpThreads&) = delete;
  OmpThreads& operator=(const OmpThreads&) = delete;

 private:
  int before_;
};

}  // namespace splitcnn::inline v0
