// A build without VART and XIR.
#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_program.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

[[noreturn]] void absent() {
  throw Error{Errc::not_built,
              "DPU: this splitcnn-dpu-worker was built without VART; install VART and XIR and configure with "
              "-DSPLITCNN_WITH_VART=ON"};
}

}  // namespace

std::unique_ptr<Runner> open_runner(const ModelRequest&) { absent(); }
std::string runner_backend() { return {}; }
void write_xmodel(const XmodelProgram&, const std::string&) { absent(); }

}  // namespace splitcnn::inline v0::dpu
