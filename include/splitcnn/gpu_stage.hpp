#pragma once
/// A segment in FP16 on an NVIDIA GPU. In this version no GPU kernels exist yet: `automatic` runs the CPU in FP16-storage
/// mode and says so; `cudnn` throws.
///
///     GpuStage tail{plan, plan.tail()};
///     fmt::print("{}\n", tail.backend());          // "cpu-f16" and not a GPU
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

enum class GpuBackend : std::uint8_t {
  automatic,  ///< the GPU where one answers, else the CPU in FP16-storage mode, with a warning through the log handler
  cudnn,      ///< the GPU or no_device
};

struct GpuStageOptions {
  GpuBackend backend = GpuBackend::automatic;
  int threads = 1;  ///< of the CPU stand-in
};

class SPLITCNN_API GpuStage : public Stage {
 public:
  /// Throws no_device (with the reason) for GpuBackend::cudnn without a GPU; else what CpuStage throws.
  GpuStage(const Plan& plan, const Segment& segment, const GpuStageOptions& options = {});
  ~GpuStage() override;

  /// True when a GPU answers. `why` (may be null) receives the reason when not.
  [[nodiscard]] static bool available(std::string* why = nullptr);
  /// "cudnn" or "cpu-f16".
  [[nodiscard]] const char* backend() const noexcept;

  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] const std::string& device() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept override;
  void prepare() override;
  Ticket submit(const Batch& batch) override;
  Status wait(Ticket ticket, Clock::time_point deadline) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
