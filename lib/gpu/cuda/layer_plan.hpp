#pragma once
/// How one convolution or dense layer runs, and running it. Tiers as the reports name them.
#include <memory>

#include "gpu/cuda/conv_plan.hpp"
#include "gpu/cuda/legacy_conv.hpp"
#include "gpu/cuda/memory.hpp"

namespace splitcnn::inline v0::gpu::cuda {

enum class Tier : std::int32_t {
  cached = 0,       ///< a plan from the cache (precompiled or runtime-compiled, as its traits say)
  precompiled = 1,  ///< a plan of the heuristics
  runtime = 2,      ///< a runtime-compiled plan; only when it is more than 5 % faster
  legacy = 3,       ///< cudnnConvolutionBiasActivationForward
  own = 5,          ///< our own kernels: always there
};

struct ConvAddresses {
  const void *x = nullptr, *weights = nullptr, *bias = nullptr, *z = nullptr;
  void* y = nullptr;
};

struct LayerPlan {
  Tier tier = Tier::own;
  std::shared_ptr<const ConvPlan> plan;      ///< tiers cached, precompiled, runtime
  std::shared_ptr<const LegacyConv> legacy;  ///< tier legacy
  double micros = 0;                         ///< median, 0: not measured

  [[nodiscard]] std::int64_t workspace() const {
    return plan ? plan->workspace() : legacy ? legacy->workspace() : 0;
  }
};

/// Enqueues a plan or a legacy call on the handle's stream. Not for tier own. Throws CudnnError.
void execute(cudnnHandle_t handle, const LayerPlan& layer, const ConvAddresses& at, void* workspace);

}  // namespace splitcnn::inline v0::gpu::cuda
