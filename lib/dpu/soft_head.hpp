#pragma once
/// A segment on the software DPU with the conversions at its edges: what a DpuStage without a worker runs,
/// and the fallback of one with.
#include <string>
#include <vector>

#include "dpu/soft/executor.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/dpu_stage.hpp"

namespace splitcnn::inline v0 {

/// One tensor at the edge and the executor's buffer behind it.
struct DpuPort {
  std::size_t buffer = 0;  ///< index of the executor's input or output
  Shape logical;
  Representation outside, inside;
};

class SoftHead {
 public:
  /// Throws as DpuStage does.
  SoftHead(const Plan& plan, const Segment& segment, const DpuStageOptions& options);

  void run_frame(std::span<const TensorView> in, std::span<const TensorView> out);
  /// The same, saying when each node was done.
  std::vector<NodeTime> time_nodes(std::span<const TensorView> in, std::span<const TensorView> out);
  void warm_up();

  DpuExecutor executor;
  std::vector<TensorSpec> input_specs, output_specs;
  std::vector<DpuPort> inputs, outputs;

 private:
  template <class Compute>
  void run_around(std::span<const TensorView> in, std::span<const TensorView> out, Compute compute);

  std::vector<NodeId> step_nodes_;  // per instruction
  int threads_ = 1;
};

}  // namespace splitcnn::inline v0
