#pragma once
/// What a chain of channel-wise affine nodes amounts to. channel_affine() itself is declared in lower.hpp.
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// y = scale * x + shift per channel: what a chain of affine nodes
/// amounts to.
struct Affine {
  std::vector<double> scale, shift;

  void then(const std::vector<double>& s, const std::vector<double>& t) {
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] *= s[c];
      shift[c] = shift[c] * s[c] + t[c];
    }
  }
};

inline bool is_constant(const Graph& graph, TensorId id) { return graph.tensor(id).constant; }

/// The activation a channel-wise affine node reads.
TensorId affine_input(const Graph& graph, const Node& node);

}  // namespace splitcnn::inline v0
