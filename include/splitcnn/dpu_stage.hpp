#pragma once
/// A segment in INT8 on a DPU. Without a board this is the software DPU: the same arithmetic, bit for bit
/// (docs/arithmetic.md).
///
///     DpuStage head{plan, plan.head()};
///     DpuStage oracle{plan, plan.head(), {.backend = DpuBackend::scalar}};    // slow and obvious, same bytes
///
/// Every tensor at the segment's edge is int8 with its fix point, channels last, except graph inputs and outputs: those
/// are f32 in the model's own layout, converted on entry (R(x * 2^fix_point)) and exit (x * 2^-fix_point). With an
/// input transform in the plan, the graph input is an 8-bit frame already turned into int8 (see Pipeline::push).
#include <filesystem>

#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

enum class DpuBackend : std::uint8_t {
  automatic,  ///< oneDNN kernels where the start-up self-test proves them exact on this machine, scalar elsewhere
  scalar,     ///< reference kernels only
};

struct DpuStageOptions {
  DpuBackend backend = DpuBackend::automatic;
  int threads = 1;  ///< threads this stage computes with; never changes the application's own OpenMP settings
};

class SPLITCNN_API DpuStage : public Stage {
 public:
  /// Throws not_calibrated, unsupported (naming the node and the limit), bad_argument.
  DpuStage(const Plan& plan, const Segment& segment, const DpuStageOptions& options = {});
  ~DpuStage() override;

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

/// Writes nodes [first, last) as ONNX in QDQ form (power-of-two scales, int8, zero point 0), with the DPU's own weight bytes, so that other
/// runtimes run and check it. Inputs and outputs are float, in the model's own layout and names. Runtimes round ties to even and the DPU
/// up: results differ by at most one step per layer. Throws unsupported (naming the node), mismatch, io.
SPLITCNN_API void save_qdq(const QuantizedGraph& quant, NodeId first, NodeId last, const std::filesystem::path& path);

}  // namespace splitcnn::inline v0
