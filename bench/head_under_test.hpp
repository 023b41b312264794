#pragma once
/// A whole network on the software DPU the way an application runs it, with the inside visible to the bench.
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "splitcnn/graph.hpp"

namespace bench {

struct LayerTime {
  std::string name, kernel;
  std::int64_t macs = 0, bytes = 0;  ///< bytes: input, output and weights once
  double seconds = 0;                ///< best of the runs
};

/// From an 8-bit frame to float results: FrameConverter, DpuStage up to the last legal cut, CpuStage for what is left.
class HeadUnderTest {
 public:
  /// `net`: a zoo name or an ONNX file; calibrated on noise.
  HeadUnderTest(const std::string& net, int threads);
  ~HeadUnderTest();

  [[nodiscard]] const splitcnn::Graph& graph() const noexcept;
  [[nodiscard]] std::int64_t macs() const noexcept;  ///< of the head
  [[nodiscard]] int tail() const noexcept;           ///< nodes behind the head
  /// load_ms, weights_mb, activations_mb, memory_mb, memory_ratio.
  [[nodiscard]] nlohmann::json costs() const;
  /// Whether noise and extremes give the scalar kernels' bytes.
  bool exact();
  /// Milliseconds of each of `count` frames.
  std::vector<double> run(int count);
  std::vector<LayerTime> time_layers(int runs);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bench
