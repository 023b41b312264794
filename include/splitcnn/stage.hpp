#pragma once
/// The contract between a pipeline and what runs in it.
///
///     class Blur : public Stage { ... };                    // asynchronous device: implement submit and wait
///     HostStage nms{"nms", inputs, outputs, [](std::span<const TensorView> in, std::span<const TensorView> out) { ... }};
///
/// A stage turns input tensors into output tensors, several of each, for batches of frames. The pipeline owns every
/// buffer; a stage borrows them from submit() until wait() has returned for that ticket. One pipeline worker calls a
/// stage; stages on the same device() share that worker and are never called concurrently. Constructors throw; submit
/// and wait do not (a throw is caught and becomes a failed Status).
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::duration<double, std::milli>;

/// Some frames to run. Views are frame-major: inputs[f * n_inputs + i] is input i of frame f, each of one frame.
struct Batch {
  std::size_t frames = 0;
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
};

/// A moment inside a batch: `ms` after its start, everything for the node was done (and, where nodes are fused, for those fused with it).
struct NodeTime {
  std::size_t node = 0;  ///< NodeId in the stage's graph
  double ms = 0;
};

/// Names one submitted batch of one stage. Tickets are waited for in the order they were submitted.
struct Ticket {
  std::uint64_t id = 0;
};

class SPLITCNN_API Stage {
 public:
  virtual ~Stage();
  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// The device whose worker runs this stage: "dpu:0", "gpu:0", "cpu". Stages that name the same device share a thread.
  [[nodiscard]] virtual const std::string& device() const noexcept = 0;
  /// Tensors of one frame. Fixed for the stage's life; the order is the order of Batch::inputs and outputs.
  [[nodiscard]] virtual std::span<const TensorSpec> inputs() const noexcept = 0;
  [[nodiscard]] virtual std::span<const TensorSpec> outputs() const noexcept = 0;

  /// Frames per batch at which the device works best. Batches of any size from 1 to this must be accepted.
  [[nodiscard]] virtual std::size_t preferred_batch() const noexcept { return 1; }
  /// Batches that may be submitted before the first is waited for.
  [[nodiscard]] virtual std::size_t max_in_flight() const noexcept { return 1; }

  /// Called once by the worker thread before the first submit; the place for per-thread set-up and warm-up.
  virtual void prepare() {}
  /// Starts a batch. The span contents of `batch` may be gone after submit() returns (copy the views if needed); the
  /// buffers they point to stay until wait().
  virtual Ticket submit(const Batch& batch) = 0;
  /// Blocks until the ticket's batch is complete or the deadline has passed (Errc::timeout; wait may be called again).
  /// Errc::device_failed means the stage will never work again; any other failure concerns this batch only.
  virtual Status wait(Ticket ticket, Clock::time_point deadline) = 0;

  /// Buffers this stage would like its inputs to be written into by the stage before (zero copy): one view per input, for
  /// `slot` in 0..depth-1. nullopt (the default) lets the pipeline allocate. Asked once per slot, before prepare().
  virtual std::optional<std::vector<TensorView>> try_input_buffers(std::size_t slot);

  /// Runs a batch with timestamps inside, for profiling: one entry per instruction, in order; the rest of the batch's time is conversions. Empty
  /// where the stage cannot look inside (the default) or the batch failed. May allocate. Called like submit(), with nothing in flight.
  virtual std::vector<NodeTime> time_nodes(const Batch& batch);

 private:
  virtual void reserved_0();  // room for one more virtual within an ABI version
};

/// A user's own function as a stage; runs synchronously, one frame per call, on its own worker unless `device` names a
/// shared one.
class SPLITCNN_API HostStage : public Stage {
 public:
  /// Views are one frame's inputs and outputs in the order of the specs. A throw fails that frame only.
  using Function = std::function<void(std::span<const TensorView> inputs, std::span<const TensorView> outputs)>;

  HostStage(std::string name, std::vector<TensorSpec> inputs, std::vector<TensorSpec> outputs, Function function,
            std::string device = {});
  ~HostStage() override;

  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] const std::string& device() const noexcept override;  ///< "host:<name>" when none was given
  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept override;
  Ticket submit(const Batch& batch) override;
  Status wait(Ticket ticket, Clock::time_point deadline) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
