#pragma once
/// Engines that are known to be wrong, as data. Checked before a plan is built and again when one comes from
/// the cache.
#include <cstdint>
#include <span>
#include <string>

namespace splitcnn::inline v0::gpu::cuda {

/// What a plan is made of, as far as reports, filters and errata care.
struct EngineTraits {
  std::int64_t engine = -1;       ///< cuDNN's global index
  bool runtime_compiled = false;  ///< behaviour note RUNTIME_COMPILATION
  bool nondeterministic = false;
  bool reduced_precision = false;  ///< sums or inputs below FP32 / FP16
  bool needs_cublaslt = false;
};

struct Erratum {
  std::int64_t from_version = 0,
               to_version = 0;  ///< cuDNN versions [from, to) as cudnnGetVersion() says them
  int from_sm = 0, to_sm = 0;   ///< [from, to)
  std::int64_t engine = -1;     ///< -1: any
  bool runtime_compiled_only = false;
  const char* reason = "";  ///< what goes wrong and where that is written
};

std::span<const Erratum> errata();

/// The reason not to use this engine, or null.
const char* find_erratum(std::span<const Erratum> table, std::int64_t version, int sm,
                         const EngineTraits& traits);

}  // namespace splitcnn::inline v0::gpu::cuda
