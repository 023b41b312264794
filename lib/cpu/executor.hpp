#pragma once
/// Runs a lowered segment in float on the CPU. Buffers are f32, stored as storage_shape() says.
///
///     CpuExecutor run{graph, 0, n, {}};
///     fill(run.input(0)); run.run(); use(run.output(0));
///
/// Not thread-safe. May be built on one thread and run on another: the thread count belongs to the executor (set around building and
/// around every run, for the calling thread only), and oneDNN's scratch memory is the executor's own.
#include <memory>
#include <span>
#include <vector>

#include "splitcnn/graph.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

struct CpuExecutorOptions {
  bool f16_storage = false;  ///< weights once, inputs and every lowered op's result rounded to FP16 (not between a conv
                             ///< and the add that takes it in: graph/residual.hpp); sums stay f32
  bool reference = false;    ///< slow obvious loops for everything
  bool keep_all = false;     ///< nothing folded, fused or overwritten: value() of every tensor (calibration)
  int threads = 1;
};

class CpuExecutor {
 public:
  CpuExecutor(const Graph& graph, NodeId first, NodeId last, const CpuExecutorOptions& options = {});
  CpuExecutor(CpuExecutor&&) noexcept;
  ~CpuExecutor();

  /// In the order of boundary(graph, first, last).
  [[nodiscard]] std::span<const TensorId> input_ids() const noexcept;
  [[nodiscard]] std::span<const TensorId> output_ids() const noexcept;
  [[nodiscard]] std::span<float> input(std::size_t i) noexcept;
  [[nodiscard]] std::span<const float> output(std::size_t i) const noexcept;
  /// keep_all only: any activation of the segment after run().
  [[nodiscard]] std::span<const float> value(TensorId id) const;
  /// No allocation after the first call (except with `reference`), no throw.
  void run();
  /// The same with a timestamp after every lowered op: ms since the start of the run. Allocates.
  std::vector<NodeTime> run_timed();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
