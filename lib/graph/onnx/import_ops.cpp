// The table of operators.
#include <array>
#include <string_view>

#include "graph/onnx/node_context.hpp"

namespace splitcnn::inline v0 {

ImportFunction find_operator(std::string_view domain, std::string_view op_type) {
  if (!domain.empty() && domain != "ai.onnx") return nullptr;
  const std::array groups{window_operators(), math_operators(), shape_operators(), resize_operators(),
                          constant_operators()};
  for (const auto group : groups) {
    for (const OperatorEntry& entry : group) {
      if (entry.name == op_type) return entry.import;
    }
  }
  return nullptr;
}

}  // namespace splitcnn::inline v0
