#pragma once
/// Execution plans of one convolution: conv, +z, +bias, relu in the order for which cuDNN has precompiled
/// engines.
///
///     const ConvGraph graph{shape, device};
///     std::vector<ConvPlan> plans = find_plans(graph, device, {.workspace_cap = cap});
///     const std::string saved = plans[0].json();            // 2-3 KB; a cache may keep it
///     ConvPlan again = ConvPlan::from_json(saved, device);
///
/// No GPU is needed up to here (cuDNN >= 9.8). Threads: plans are read-only once built.
#include <memory>
#include <optional>

#include "gpu/cuda/conv_shape.hpp"
#include "gpu/cuda/device_properties.hpp"
#include "gpu/cuda/errata.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// Which tensor a variant pack's pointer belongs to.
enum ConvUid : std::int64_t { uid_x = 1, uid_w = 2, uid_bias = 3, uid_z = 4, uid_y = 5 };

/// The operation graph, finalized. Virtual intermediates are FP32.
class ConvGraph {
 public:
  ConvGraph(const ConvShape& shape, const DeviceProperties& device);
  [[nodiscard]] const ConvShape& shape() const noexcept { return shape_; }
  [[nodiscard]] const Descriptor& descriptor() const noexcept { return graph_; }

 private:
  ConvShape shape_;
  Descriptor graph_;
};

class ConvPlan {
 public:
  ConvPlan(Descriptor plan, EngineTraits traits);
  /// Throws CudnnError when cuDNN does not take it (another version, another device).
  static ConvPlan from_json(const std::string& json, const EngineTraits& traits,
                            const DeviceProperties& device);

  [[nodiscard]] const Descriptor& descriptor() const noexcept { return plan_; }
  [[nodiscard]] const EngineTraits& traits() const noexcept { return traits_; }
  [[nodiscard]] std::int64_t workspace() const noexcept { return workspace_; }
  [[nodiscard]] std::string json() const;

 private:
  Descriptor plan_;
  EngineTraits traits_;
  std::int64_t workspace_ = 0;
};

struct PlanFilter {
  std::int64_t workspace_cap = std::int64_t{64} << 20;
  std::size_t most = 16;          ///< plans, in the heuristics' order, which is not the order of time
  bool runtime_compiled = false;  ///< these instead of the precompiled ones; needs a driver and NVRTC
  bool deterministic = false;
  std::span<const Erratum> errata = cuda::errata();
};

/// Why configurations were left out; for reports.
struct PlanCensus {
  std::size_t asked = 0, other_kind = 0, by_erratum = 0, too_much_workspace = 0, not_deterministic = 0,
              reduced_precision = 0, not_finalized = 0;
  bool fallback = false;  ///< mode A had nothing, FALLBACK was asked
};

/// Heuristics mode A, then FALLBACK when that yields no plan. May be empty; never throws for a shape cuDNN
/// cannot do.
std::vector<ConvPlan> find_plans(const ConvGraph& graph, const DeviceProperties& device,
                                 const PlanFilter& filter, PlanCensus* census = nullptr);

}  // namespace splitcnn::inline v0::gpu::cuda
