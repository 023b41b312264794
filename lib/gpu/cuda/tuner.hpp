#pragma once
/// Chooses how a convolution runs on this GPU: candidates from the heuristics, a correctness gate against our
/// own kernel, then timing inside a CUDA graph. Needs a GPU; nothing of it has run on one yet.
///
///     Tuner tuner{device, weights, largest};
///     LayerPlan best = tuner.choose(op, tensors, batch, pinned_engine);
#include "gpu/cuda/objects.hpp"

namespace splitcnn::inline v0::gpu::cuda {

class Tuner {
 public:
  /// Takes device memory for the largest layer of the program at this batch.
  Tuner(GpuSegment& segment, std::uint32_t batch);

  /// The fastest candidate that computes the right thing; tier own when there is none. `engine` >= 0 pins
  /// cuDNN's engine.
  LayerPlan choose(const TailOp& op, std::int64_t engine);

 private:
  struct Measured {
    double micros = 0;
    bool steady = false;  ///< runs differ by less than 5 %
  };

  std::vector<LayerPlan> candidates(const ConvShape& shape, std::int64_t engine);
  void own_kernel(const OpCall& call) const;
  bool is_right(const LayerPlan& layer, const OpCall& call);
  /// Median of some launches of a graph of repeats; nothing when it cannot be captured.
  std::optional<Measured> time(const LayerPlan& layer, const OpCall& call);
  void run(const LayerPlan& layer, const OpCall& call, std::size_t turn);
  OpCall call_of(const TailOp& op) const;

  GpuSegment& segment_;
  GpuDevice& device_;
  std::uint32_t batch_;
  Stream stream_;
  Event start_, stop_;
  DnnHandle handle_;
  DeviceMemory workspace_, x_, z_, y_, expected_;
  std::size_t rotate_ = 1;  ///< copies of x and y, so that the cache does not flatter
  std::uint64_t x_bytes_ = 0, y_bytes_ = 0;
};

}  // namespace splitcnn::inline v0::gpu::cuda
