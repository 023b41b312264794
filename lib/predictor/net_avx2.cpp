#define Eigen splitcnn_eigen_avx2
#include "predictor/net_eigen.hpp"

namespace splitcnn::inline v0 {
void run_net_avx2(const NetWeights& w, const NetCall& call) { run(w, call); }
}  // namespace splitcnn::inline v0
