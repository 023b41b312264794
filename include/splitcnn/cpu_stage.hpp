#pragma once
/// A segment on the CPU, in float.
///
///     CpuStage tail{plan, plan.tail(), {.storage = DType::f16}};     // rounds like an FP16 GPU tail does
///
/// Tensors at the segment's edge: graph inputs and outputs are f32 in the model's own layout (or an 8-bit frame, see
/// below); tensors shared with a DPU segment are int8 with their fix point; tensors shared with other float segments
/// are f32, or f16 in f16 storage mode; all of these are channels last.
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

struct CpuStageOptions {
  DType storage = DType::f32;  ///< f16: every layer's result and all weights are rounded to FP16, sums stay f32 (the oracle of the GPU)
  int threads = 1;             ///< threads this stage computes with; never changes the application's own OpenMP settings
  bool reference = false;      ///< the slow, obvious loops instead of oneDNN, for tests
};

class SPLITCNN_API CpuStage : public Stage {
 public:
  /// Throws unsupported naming the node, bad_argument when the segment is not one of the plan's.
  CpuStage(const Plan& plan, const Segment& segment, const CpuStageOptions& options = {});
  ~CpuStage() override;

  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] const std::string& device() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept override;
  void prepare() override;
  Ticket submit(const Batch& batch) override;
  Status wait(Ticket ticket, Clock::time_point deadline) override;
  std::vector<NodeTime> time_nodes(const Batch& batch) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
