#pragma once
/// A network, or the tail of one, as the benches of the GPU use it: frames, and what the float CPU makes of them.
///
///     Case c{"resnet50@layer3"};                    // the nodes behind the cut after that unit
///     const Error e = c.compare(results, 8);        // of 8 frames
///
/// Inputs are float32 in the model's own layout, seeded noise; results likewise.
#include <cstddef>
#include <string>
#include <vector>

#include "splitcnn/splitcnn.hpp"

namespace bench {

using splitcnn::Graph;

struct Difference {
  double rel_l2 = 0;       ///< over all outputs of all frames
  bool top1_equal = true;  ///< of every frame; scores closer than FP16 can tell apart count as equal. Of the first output
};

class Case {
 public:
  static constexpr std::size_t frames = 16;

  /// A zoo network, an ONNX file, or either with "@UNIT" or "@K": the tail behind that cut, in blocks. Throws splitcnn::Error.
  explicit Case(const std::string& name);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Graph& graph() const noexcept { return graph_; }
  /// Everything on one device: "cpu" or "gpu:0".
  [[nodiscard]] splitcnn::Plan plan(const char* device) const;
  /// Frame-major, as Batch wants them.
  [[nodiscard]] const std::vector<splitcnn::Tensor>& inputs() const noexcept { return in_; }
  [[nodiscard]] std::vector<splitcnn::Tensor> room_for_results() const;

  [[nodiscard]] Difference compare(const std::vector<splitcnn::Tensor>& results, std::size_t frames) const;

 private:
  std::string name_;
  Graph graph_;
  std::vector<splitcnn::Tensor> in_, expected_;
};

}  // namespace bench
