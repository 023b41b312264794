#include "predictor/net.hpp"

namespace splitcnn::inline v0 {

namespace {

using Run = void (*)(const NetWeights&, const NetCall&);

Run best() noexcept {
  switch (net_isa()) {
    case NetIsa::avx512: return run_net_avx512;
    case NetIsa::avx2: return run_net_avx2;
    case NetIsa::baseline: break;
  }
  return run_net_baseline;
}

}  // namespace

NetIsa net_isa() noexcept {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) return NetIsa::avx512;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? NetIsa::avx2 : NetIsa::baseline;
}

void run_net(const NetWeights& w, const NetCall& call) {
  static const Run run = best();
  run(w, call);
}

}  // namespace splitcnn::inline v0
