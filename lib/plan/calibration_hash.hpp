#pragma once
#include <string>

#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// 16 hex digits over every fix point and channel scale: plans and profiles must not be used with another
/// calibration than they were made for.
std::string calibration_hash(const QuantizedGraph& quant);

}  // namespace splitcnn::inline v0
