#pragma once
/// A segment whose nodes do not all run on the GPU: GPU and CPU stages by turns, one batch at a time.
/// Internal to gpu/.
#include <memory>

#include "gpu/tail/build.hpp"
#include "splitcnn/gpu_stage.hpp"

namespace splitcnn::inline v0::gpu {

class PieceChain {
 public:
  PieceChain(const Plan& plan, const Segment& segment, const std::vector<TailPiece>& pieces,
             const GpuStageOptions& options);
  ~PieceChain();

  Status run(const Batch& batch);

 private:
  struct Place {         // where a piece's tensor comes from or goes to
    bool outer = false;  // a view of the batch, else a buffer between pieces
    std::size_t index = 0;
  };
  struct Piece {
    std::unique_ptr<Stage> stage;
    std::vector<Place> in, out;
    std::vector<TensorView> views_in, views_out;
  };

  std::vector<Tensor> between_;
  std::vector<Piece> pieces_;
  std::size_t n_in_, n_out_;
};

}  // namespace splitcnn::inline v0::gpu
