// For machines other than x86-64: one code path.
#include "predictor/net.hpp"

namespace splitcnn::inline v0 {

NetIsa net_isa() noexcept { return NetIsa::baseline; }
void run_net(const NetWeights& w, const NetCall& call) { run_net_baseline(w, call); }
void run_net_avx2(const NetWeights& w, const NetCall& call) { run_net_baseline(w, call); }
void run_net_avx512(const NetWeights& w, const NetCall& call) { run_net_baseline(w, call); }

}  // namespace splitcnn::inline v0
