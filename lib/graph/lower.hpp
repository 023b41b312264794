#pragma once
/// Lowering: a segment of the graph as a short list of device-neutral operations, with batch normalisation and other
/// channel-wise affine nodes folded into convolutions (in double), activations attached to their producers, fully
/// connected layers turned into convolutions, and identities gone. The CPU, the software DPU and the GPU all start from this.
///
/// Tensors are still named by TensorId of the graph. A tensor that leaves the segment or has several readers is never fused
/// away, so cutting anywhere is safe.
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// What is applied to each element of a result before it is stored.
struct Activation {
  enum class Kind : std::uint8_t { none, relu, clip, leaky_relu, hard_sigmoid, hard_swish };
  Kind kind = Kind::none;
  float alpha = 0, beta = 0;  ///< as in Node of that op: clip min/max, leaky_relu slope, hard_sigmoid
};

struct LoweredOp {
  Op op = Op::identity;             ///< conv also stands for gemm, matmul with constant weights and stand-alone affine nodes
  NodeId node = 0;                  ///< the node it came from (the first of those fused)
  NodeId folded_through = 0;        ///< last node folded into weights and bias (== node when none): key of WeightQuant
  std::vector<TensorId> inputs;     ///< activations (identities resolved); of ops other than conv also constants
  std::vector<TensorId> outputs;    ///< tensor of the last fused node
  Activation activation;            ///< conv, add, mul, sub, div, max_pool, average_pool, global_average_pool, concat may have one

  // op == conv only.
  Window window;                    ///< of the node; for dense layers kernel = H x W of the input, no padding
  int groups = 1;
  int in_channels = 0, out_channels = 0;
  bool dense = false;               ///< gemm or matmul: the input's storage is read as 1 x H x W x C with kernel H x W, output 1x1;
                                    ///< also an affine node of a rank-2 tensor (groups = channels, kernel 1x1)
  int dense_rows = 1;               ///< several rows (matmul, batch): independent inputs of in_channels each (kernel 1x1)
  std::vector<float> weights;       ///< [out][kernel_h][kernel_w][in/groups]
  std::vector<float> bias;          ///< [out]; zeros when the model has none
};

struct LowerOptions {
  bool fold = true;   ///< fold affine nodes into convolutions
  bool fuse = true;   ///< attach activations
};

struct LoweredSegment {
  Boundary boundary;                ///< what enters and leaves, as in boundary(graph, first, last)
  std::vector<LoweredOp> ops;
};

/// Nodes [first, last). The node behind each op stays reachable through LoweredOp::node for its other attributes.
LoweredSegment lower(const Graph& graph, NodeId first, NodeId last, const LowerOptions& options = {});

/// y = scale[c] * x + shift[c] of a stand-alone channel-wise affine node: batch_norm, or add/sub/mul/div of a rank-4 or rank-2
/// tensor with a constant that is a scalar or varies only along axis 1. False when the node is something else.
bool channel_affine(const Graph& graph, const Node& node, std::vector<double>& scale, std::vector<double>& shift);

/// The nodes that lower() folds into the conv, gemm, matmul or stand-alone affine node `node` when the segment reaches that far,
/// ascending. Besides `node` itself these are the values folded_through can take, whatever the cut.
std::vector<NodeId> fold_chain(const Graph& graph, NodeId node);

}  // namespace splitcnn::inline v0
