#pragma once
/// Runs a TailProgram on the CPU: FP16 storage, f32 sums, one rounding where the device rounds. The oracle of the GPU, op by op.
///
///     HostTail tail{program.view(), 4};                          // up to 4 frames
///     tail.run({inputs}, {outputs}, 3);                          // io buffers: frames one behind the other
///     tail.run_op(7, 3); tail.tensor(program.ops[7].y, 3);       // one layer, and what it wrote
///
/// Plain loops, one thread, no allocation in run(). Not thread-safe. Owns copies of everything; the view may go away.
#include <cstdint>
#include <span>
#include <vector>

#include "gpu/tail/tail_ir.hpp"

namespace splitcnn::inline v0::gpu {

class HostTail {
 public:
  HostTail(const TailView& program, std::uint32_t max_frames);

  /// n_inputs and n_outputs pointers to `frames` consecutive frames each.
  void run(std::span<const void* const> inputs, std::span<void* const> outputs, std::uint32_t frames) noexcept;

  /// One op; entry and exit use the buffers given to bind().
  void bind(std::span<const void* const> inputs, std::span<void* const> outputs);
  void run_op(std::size_t index, std::uint32_t frames) noexcept;
  /// FP16 bits of a tensor of a batch, padding and all: frames * frame_elements values, `frames` as run.
  [[nodiscard]] std::span<std::uint16_t> tensor(std::uint32_t index, std::uint32_t frames) noexcept;

  [[nodiscard]] std::span<const TailOp> ops() const noexcept { return ops_; }
  [[nodiscard]] std::span<const TailTensor> tensors() const noexcept { return tensors_; }
  [[nodiscard]] std::span<const TailIo> inputs() const noexcept { return inputs_; }
  [[nodiscard]] std::span<const TailIo> outputs() const noexcept { return outputs_; }
  [[nodiscard]] std::uint32_t max_frames() const noexcept { return max_frames_; }

 private:
  friend struct HostOps;
  std::vector<TailTensor> tensors_;
  std::vector<TailOp> ops_;
  std::vector<TailIo> inputs_, outputs_;
  std::vector<std::byte> weights_;
  std::vector<std::vector<float>> packed_;  // per conv, fc: weights as [tap][in][out] for the inner loop
  std::vector<std::byte> arena_;
  std::vector<float> x_, z_, sums_, row_;   // scratch: one frame of the largest tensors
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::uint32_t max_frames_;
};

}  // namespace splitcnn::inline v0::gpu
