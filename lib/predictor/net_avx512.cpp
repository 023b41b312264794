#define Eigen splitcnn_eigen_avx512
#include "predictor/net_eigen.hpp"

namespace splitcnn::inline v0 {
void run_net_avx512(const NetWeights& w, const NetCall& call) { run(w, call); }
}  // namespace splitcnn::inline v0
