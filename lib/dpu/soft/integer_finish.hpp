#pragma once
/// The end of a convolution in integers. With n = shift_cut >= 0,
///   R(y) = floor((sum + b * 2^shift_bias) / 2^n + 1/2) = (sum + c) >> n   with   c = floor(b * 2^shift_bias + 2^(n-1)),
/// because sum and 2^n are integers: what c loses by its floor cannot carry into the result. For every shift_bias, fraction or not.
#include <cstdint>
#include <optional>
#include <vector>

#include "dpu/soft/kernels.hpp"

namespace splitcnn::inline v0::soft {

struct IntegerFinish {
  std::vector<std::int32_t> constants;  ///< [out.c], c
  int shift = 0;                        ///< n
  std::int8_t low = -128, high = 127;   ///< of the result: relu and relu6 are clamps
};

/// Nothing when the non-linearity is no clamp, n is not in [0, 30], or sum + c may not fit 32 bits.
std::optional<IntegerFinish> integer_finish(const ConvSpec& spec);

/// Sum of the weights of each output channel: what a source raised by 128 must lose again.
std::vector<std::int32_t> weight_sums(const ConvSpec& spec);

}  // namespace splitcnn::inline v0::soft
