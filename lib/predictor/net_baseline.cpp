#define Eigen splitcnn_eigen_baseline
#include "predictor/net_eigen.hpp"

namespace splitcnn::inline v0 {
void run_net_baseline(const NetWeights& w, const NetCall& call) { run(w, call); }
}  // namespace splitcnn::inline v0
