#include "graph/affine.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "graph/lower.hpp"

namespace splitcnn::inline v0 {

namespace {

bool batch_norm_affine(const Graph& graph, const Node& node, Affine& affine) {
  for (std::size_t i = 1; i < 5; ++i) {
    if (!is_constant(graph, node.inputs[i])) return false;
  }
  const auto gamma = graph.constant(node.inputs[1]), beta = graph.constant(node.inputs[2]);
  const auto mean = graph.constant(node.inputs[3]), variance = graph.constant(node.inputs[4]);
  for (std::size_t c = 0; c < affine.scale.size(); ++c) {
    affine.scale[c] = static_cast<double>(gamma[c]) /
                      std::sqrt(static_cast<double>(variance[c]) + static_cast<double>(node.alpha));
    affine.shift[c] = static_cast<double>(beta[c]) - static_cast<double>(mean[c]) * affine.scale[c];
  }
  return true;
}

/// The constant of a binary node, when it is a scalar or varies along axis 1 of `x` only and does not enlarge
/// it.
bool per_channel(const Shape& x, const Shape& constant) {
  if (constant.rank() > x.rank()) return false;
  const std::size_t offset = x.rank() - constant.rank();
  for (std::size_t d = 0; d < constant.rank(); ++d) {
    if (constant[d] != 1 && (d + offset != 1 || constant[d] != x[1])) return false;
  }
  return true;
}

bool binary_affine(const Graph& graph, const Node& node, Affine& affine, bool constant_first) {
  const TensorId id = node.inputs[constant_first ? 0 : 1];
  if (!per_channel(graph.tensor(node.outputs[0]).shape, graph.tensor(id).shape)) return false;
  if (constant_first && node.op == Op::div) return false;
  const auto values = graph.constant(id);
  for (std::size_t c = 0; c < affine.scale.size(); ++c) {
    const double v = values[values.size() == 1 ? 0 : c];
    switch (node.op) {
      case Op::add:
        affine.shift[c] = v;
        break;
      case Op::sub:
        affine.scale[c] = constant_first ? -1 : 1;
        affine.shift[c] = constant_first ? v : -v;
        break;
      case Op::mul:
        affine.scale[c] = v;
        break;
      default:
        affine.scale[c] = 1 / v;
        break;
    }
  }
  return true;
}

}  // namespace

TensorId affine_input(const Graph& graph, const Node& node) {
  return node.op != Op::batch_norm && is_constant(graph, node.inputs[0]) ? node.inputs[1] : node.inputs[0];
}

bool channel_affine(const Graph& graph, const Node& node, std::vector<double>& scale,
                    std::vector<double>& shift) {
  const bool binary = node.op == Op::add || node.op == Op::sub || node.op == Op::mul || node.op == Op::div;
  if (!binary && node.op != Op::batch_norm) return false;
  const bool first = binary && is_constant(graph, node.inputs[0]),
             second = binary && is_constant(graph, node.inputs[1]);
  if (binary && first == second) return false;
  const Shape& x = graph.tensor(affine_input(graph, node)).shape;
  if ((x.rank() != 4 && x.rank() != 2) || x != graph.tensor(node.outputs[0]).shape || x.elements() == 0)
    return false;
  const auto channels = static_cast<std::size_t>(x[1]);
  Affine affine{std::vector<double>(channels, 1.0), std::vector<double>(channels, 0.0)};
  if (!(binary ? binary_affine(graph, node, affine, first) : batch_norm_affine(graph, node, affine)))
    return false;
  const auto finite = [](double v) { return std::isfinite(static_cast<float>(v)); };
  if (!std::all_of(affine.scale.begin(), affine.scale.end(), finite) ||
      !std::all_of(affine.shift.begin(), affine.shift.end(), finite)) {
    return false;
  }
  scale = std::move(affine.scale);
  shift = std::move(affine.shift);
  return true;
}

}  // namespace splitcnn::inline v0
