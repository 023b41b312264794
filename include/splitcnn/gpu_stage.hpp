#pragma once
/// A segment in FP16 on an NVIDIA GPU, through the plug-in libsplitcnn_cuda.so: CUDA and cuDNN are in there
/// and nowhere else. Where the plug-in, the driver or the GPU is missing, `automatic` runs the CPU in
/// FP16-storage mode and says so; `cudnn` throws.
///
///     GpuStage tail{plan, plan.tail(), {.tune = GpuTuning::full}};
///     fmt::print("{}\n", tail.backend());          // "cudnn", or "cpu-f16" and not a GPU
///
/// A sticky CUDA error costs a rebuild: everything on the device is made anew once and the frames in flight
/// run again. At the second within 1,000 batches the CPU takes over for good. Both are said through the log
/// handler; no frame is lost either way. Nodes that the device refuses run on the CPU between two pieces on
/// the GPU; the reason is logged and in pieces().
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

enum class GpuBackend : std::uint8_t {
  automatic,  ///< the GPU where one answers, else the CPU in FP16-storage mode, with a warning through the
              ///< log handler
  cudnn,      ///< the GPU or no_device
};

enum class GpuTuning : std::uint8_t {
  off,   ///< the first plan that works
  fast,  ///< plans from the cache, else a short timing of the heuristics' choice
  full,  ///< every candidate is timed
};

/// Memory on the producer's device that this process sees and the GPU may reach: the frames then go from
/// there to the GPU without a copy by the CPU. The inputs offered to the producer are carved out of it, page
/// by page. It must outlive the stage.
struct GpuDirectMemory {
  void* mapped = nullptr;  ///< null: there is none
  std::size_t bytes = 0;
  int dmabuf = -1;  ///< descriptor of a dma-buf over the same bytes; -1: `mapped` is a device's BAR
};

struct GpuStageOptions {
  GpuBackend backend = GpuBackend::automatic;
  int threads = 1;  ///< of the CPU stand-in
  GpuTuning tune = GpuTuning::fast;
  bool deterministic = false;  ///< only engines whose results never differ from run to run
  bool batch_invariant =
      false;          ///< one engine for all batch sizes: a frame's result does not depend on its batch
  bool spin = false;  ///< wait by spinning (lowest latency, one core busy) instead of sleeping
  int max_batch = 8;  ///< 1, 2, 3, 4, 6, 8, 12 or 16
  GpuDirectMemory
      direct{};  ///< prepare() times this path beside staging through pinned memory and keeps the faster
  std::string cache_dir{};  ///< of the plan cache; empty = $XDG_CACHE_HOME/splitcnn or ~/.cache/splitcnn
};

class SPLITCNN_API GpuStage : public Stage {
 public:
  /// Throws no_device (with the reason) for GpuBackend::cudnn without a GPU; bad_argument for a max_batch of
  /// another size; else what CpuStage throws.
  GpuStage(const Plan& plan, const Segment& segment, const GpuStageOptions& options = {});
  ~GpuStage() override;

  /// True when GPU `index` answers. `why` (may be null) receives the card and its libraries, or the reason
  /// when not.
  [[nodiscard]] static bool available(std::string* why = nullptr, int index = 0);
  /// "cudnn" or "cpu-f16"; what it is now, after errors, too.
  [[nodiscard]] const char* backend() const noexcept;
  /// One line per piece of the segment: "gpu:0 nodes [0, 41)", "cpu node 'x' (lrn): why".
  [[nodiscard]] const std::vector<std::string>& pieces() const noexcept;
  /// How inputs reach the GPU: "direct" or "staged", after prepare() with the times of both; "none" on the
  /// CPU.
  [[nodiscard]] std::string transfer() const;

  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] const std::string& device() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept override;
  [[nodiscard]] std::size_t preferred_batch() const noexcept override;
  [[nodiscard]] std::size_t max_in_flight() const noexcept override;  ///< the ring's 4 slots on a GPU
  void prepare() override;
  Ticket submit(const Batch& batch) override;
  Status wait(Ticket ticket, Clock::time_point deadline) override;
  /// Pinned memory, which the GPU copies from without staging.
  std::optional<std::vector<TensorView>> try_input_buffers(std::size_t slot) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
