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
  /// One line per instruction: node, kind, kernel. For tests and tools.
  [[nodiscard]] std::vector<std::string> describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
