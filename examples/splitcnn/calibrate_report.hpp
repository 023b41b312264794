#pragma once
// The second half of `splitcnn calibrate --report`.
#include "tool.hpp"

namespace tool {

/// Measures on the first frames and prints: per layer fix points, saturation and SQNR, per legal cut SQNR and agreement.
void report_calibration(const sc::QuantizedGraph& quant, std::span<const sc::Tensor> frames, sc::Granularity granularity, bool json);

}  // namespace tool
