#pragma once
/// A graph as ONNX in QDQ form: float operators between QuantizeLinear and DequantizeLinear pairs with power-of-two scales and zero point 0.
#include <filesystem>
#include <optional>
#include <span>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// How a tensor is stored: value = integer * 2^-fix_point.
struct ByteTensor {
  int fix_point = 0;
  bool wide = false;  ///< int32 instead of int8 (biases)
};

/// `tensors`: one entry per tensor of the graph; those without stay float. Values of constants must be multiples of 2^-fix_point. Throws io.
void save_qdq_model(const Graph& graph, std::span<const std::optional<ByteTensor>> tensors, const std::filesystem::path& path);

}  // namespace splitcnn::inline v0
