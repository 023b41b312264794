#pragma once
/// What the kernels of the software DPU compute, as plain data. The scalar, plain and oneDNN implementations take the same structs
/// and must give the same bytes. Tensors are int8, channels last.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dpu/soft/arithmetic.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0::soft {

struct Extent {
  std::int64_t n = 1, h = 1, w = 1, c = 1;
  [[nodiscard]] std::int64_t elements() const noexcept { return n * h * w * c; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

/// out = R(nonlinear((sum(x * w) + bias * 2^shift_bias) * 2^-shift_cut)).
struct ConvSpec {
  std::string name;  ///< of the node, for messages
  Extent in, out;
  Window window;
  int groups = 1;
  std::vector<std::int8_t> weights;  ///< [out.c][kernel_h][kernel_w][in.c / groups]
  std::vector<std::int8_t> bias;     ///< [out.c]
  int fp_in = 0, fp_weight = 0, fp_bias = 0, fp_out = 0;
  Nonlinear nonlinear = Nonlinear::none;
  bool source_non_negative = false;  ///< every input byte is known to be 0..127

  [[nodiscard]] int shift_bias() const noexcept { return fp_in + fp_weight - fp_bias; }
  [[nodiscard]] int shift_cut() const noexcept { return fp_in + fp_weight - fp_out; }
  [[nodiscard]] bool depthwise() const noexcept { return groups > 1 && groups == in.c && in.c == out.c; }
};

/// Addition and multiplication of two tensors with broadcasting: dims is the output in storage order, a stride of 0 repeats.
struct BinarySpec {
  std::vector<std::int64_t> dims;
  std::array<std::vector<std::int64_t>, 2> strides;
  std::array<int, 2> fp_in{};
  int fp_out = 0;
  Nonlinear nonlinear = Nonlinear::none;

  [[nodiscard]] std::int64_t elements() const noexcept;
  [[nodiscard]] bool same_layout() const noexcept;  ///< both inputs look exactly like the output
};

struct PoolSpec {
  Extent in, out;
  Window window;
  bool average = false;
  bool count_include_pad = true;  ///< false: the divisor of an average is the number of real elements in the window
  int fp_in = 0, fp_out = 0;
  Nonlinear nonlinear = Nonlinear::none;
};

/// Bytes that change place: slice, split, pad, concat, reshape, transpose, nearest resize, gather. A run copies `length` bytes and
/// brings them to the output's fix point; source -1 fills with `fill`.
struct Run {
  std::int64_t source = 0, destination = 0, length = 0;
  friend bool operator==(const Run&, const Run&) = default;
};
struct MoveSpec {
  std::vector<Run> runs;
  std::int64_t elements = 0;  ///< of the output part written
  int fp_in = 0, fp_out = 0;
  Nonlinear nonlinear = Nonlinear::none;  ///< also a stand-alone activation: one run over everything
  std::int8_t fill = 0;

  [[nodiscard]] bool identity() const noexcept;  ///< a plain copy: nothing moves and no value changes
};

/// The 256 results of bringing a byte from fp_in to fp_out through a non-linearity, indexed by the byte as unsigned.
std::array<std::int8_t, 256> requantise_table(int fp_in, int fp_out, Nonlinear nonlinear) noexcept;

}  // namespace splitcnn::inline v0::soft
