#pragma once
/// One frame whose result is known: a worker that does not reproduce it bit for bit gets no traffic.
#include <cstdint>
#include <string>
#include <vector>

#include "dpu/remote/link.hpp"
#include "dpu/soft_head.hpp"

namespace splitcnn::inline v0 {

/// What two tensors that should be equal look like to each other: "transposed (channels first)", "scaled by
/// 2^1", "shifted by 3 bytes", or "another model's". Channels last, one frame.
std::string compare_tensors(const TensorSpec& spec, std::span<const std::int8_t> expected,
                            std::span<const std::int8_t> got);

/// The frame itself: the same numbers everywhere and always.
void fill_golden(std::span<const std::span<std::int8_t>> inputs);

class GoldenFrame {
 public:
  /// Seeded noise through the software DPU. `inputs`, `outputs`: per port of `soft`, the worker's tensor.
  GoldenFrame(SoftHead& soft, std::vector<std::size_t> inputs, std::vector<std::size_t> outputs);
  /// Runs it on the worker. Throws mismatch naming the tensor and what it looks like, device_failed when
  /// there is no answer.
  void check(dpu::WorkerLink& link, Clock::time_point deadline) const;

 private:
  std::vector<std::size_t> input_of_, output_of_;
  std::vector<std::vector<std::int8_t>> inputs_, expected_;
};

}  // namespace splitcnn::inline v0
