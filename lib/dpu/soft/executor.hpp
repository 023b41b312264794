#pragma once
/// Runs a segment on the software DPU. Buffers are int8, stored as storage_shape() says.
///
///     DpuExecutor run{quant, 0, n, {}};
///     fill(run.input(0)); run.run(); use(run.output(0));
///
/// Not thread-safe, but not tied to a thread: build on one, run on another.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

struct DpuExecutorOptions {
  bool scalar = false;  ///< reference kernels only
  int threads = 1;
};

/// One instruction, for tests and benches.
struct DpuStep {
  std::string name;      ///< of the node
  std::string kernel;    ///< what runs it
  TensorId tensor = 0;   ///< what it writes, or writes a part of
  int fix_point = 0;     ///< of that tensor
  std::int64_t macs = 0;   ///< multiplications with real input; those with padding are not counted
  std::int64_t bytes = 0;  ///< input, output and weights, each once
};

/// What one instruction reads and writes. Valid as long as the executor; other instructions share the memory.
struct DpuStepBuffers {
  std::vector<std::span<std::int8_t>> inputs;
  std::vector<bool> non_negative;  ///< per input: no byte may be below zero
  std::span<std::int8_t> output;
};

/// Bytes of a loaded segment.
struct DpuMemory {
  std::size_t weights = 0;      ///< int8 weights and biases as the model has them
  std::size_t activations = 0;  ///< the block all tensors share
  std::size_t peak_live = 0;    ///< least that any placement would need: the most that is alive at one time
};

class DpuExecutor {
 public:
  /// Throws unsupported (naming the node), mismatch (no fix points for some weights).
  DpuExecutor(const QuantizedGraph& quant, NodeId first, NodeId last, const DpuExecutorOptions& options = {});
  DpuExecutor(DpuExecutor&&) noexcept;
  DpuExecutor& operator=(DpuExecutor&&) noexcept;
  ~DpuExecutor();

  /// In the order of boundary(graph, first, last).
  [[nodiscard]] std::span<const TensorId> input_ids() const noexcept;
  [[nodiscard]] std::span<const TensorId> output_ids() const noexcept;
  /// Must be filled before every run(): its memory is reused while running.
  [[nodiscard]] std::span<std::int8_t> input(std::size_t i) noexcept;
  [[nodiscard]] std::span<const std::int8_t> output(std::size_t i) const noexcept;
  [[nodiscard]] int input_fix_point(std::size_t i) const noexcept;
  [[nodiscard]] int output_fix_point(std::size_t i) const noexcept;
  /// No allocation after the first call, no throw.
  void run();
  /// In the order they run.
  [[nodiscard]] std::vector<DpuStep> steps() const;
  /// One of them. Only in order do they make a run.
  void run_step(std::size_t i);
  [[nodiscard]] DpuStepBuffers buffers(std::size_t i);
  [[nodiscard]] DpuMemory memory() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
