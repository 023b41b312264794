// A build without VART and XIR.
#include "dpu/vart/runner.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

[[noreturn]] void absent() {
  throw Error{Errc::not_built, "DPU: this splitcnn-dpu-worker was built without VART; install VART and XIR and configure with -DSPLITCNN_WITH_VART=ON"};
}

}  // namespace

std::unique_ptr<Runner> open_runner(const ModelRequest&) { absent(); }
std::string runner_backend() { return {}; }
std::vector<SubgraphInfo> inspect_model(const std::string&) { absent(); }

}  // namespace splitcnn::inline v0::dpu
