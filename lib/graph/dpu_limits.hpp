#pragma once
/// What a DPU can run, node by node. Two devices: the software DPU of this library, and the DPUCVDX8G of a
/// VCK190 with the strictest of its published limits (docs/vck190.md).
#include <string>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

struct DpuLimits {
  bool legal = true;        ///< the software DPU runs the node
  bool board_legal = true;  ///< the board does, too
  /// For a node the board runs only as part of a later one (a flatten that becomes the addressing of a dense
  /// layer): the last node that must be in the same head. 0 for all others.
  NodeId board_until = 0;
  /// Why not legal, else why not board_legal (or what board_until waits for), else empty. Names the node, its
  /// op and the limit.
  std::string reason;
};

/// Looks at the node and at those it is fused with or folded into.
DpuLimits dpu_limits(const Graph& graph, NodeId node);

}  // namespace splitcnn::inline v0
