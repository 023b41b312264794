#include "gpu/cuda/layer_plan.hpp"

namespace splitcnn::inline v0::gpu::cuda {

void execute(cudnnHandle_t handle, const LayerPlan& layer, const ConvAddresses& at, void* workspace) {
  if (layer.legacy) return layer.legacy->run(handle, at.x, at.weights, at.bias, at.z, at.y, workspace);
  std::int64_t uids[5];
  void* pointers[5];
  std::size_t n = 0;
  const auto put = [&](std::int64_t uid, const void* p) {
    uids[n] = uid;
    pointers[n++] = const_cast<void*>(p);
  };
  put(uid_x, at.x);
  put(uid_w, at.weights);
  put(uid_bias, at.bias);
  if (at.z) put(uid_z, at.z);
  put(uid_y, at.y);
  Descriptor pack{CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR};
  pack.set_many(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>{uids, n})
      .set_many(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>{pointers, n})
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
      .finalize("the operands of a convolution");
  check(cudnnBackendExecute(handle, layer.plan->descriptor().raw(), pack.raw()),
        "a convolution cannot be started");
}

}  // namespace splitcnn::inline v0::gpu::cuda
