#pragma once
/// Small questions about nodes that units, cuts and the DPU's limits share.
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// Shape in, same shape out, each element on its own, no second operand.
bool is_activation(Op op) noexcept;
/// Convolution, or dense layer with constant weights.
bool has_weights(const Graph& graph, const Node& node);
/// Passes its input on: identity, and pads, slices and reshapes that change nothing (exporters write them).
bool is_identity(const Graph& graph, const Node& node);
/// One filter (or more) per input channel.
bool is_depthwise(const Graph& graph, const Node& node);
/// 1x1 convolution over all channels, stride 1.
bool is_pointwise(const Graph& graph, const Node& node);
/// A node that channel_affine() of lower.hpp accepts.
bool is_channel_affine(const Graph& graph, const Node& node);
bool is_output(const Graph& graph, TensorId tensor);
/// What `writer` writes is read inside [first, last) only, and is no output of the graph.
bool feeds(const Graph& graph, NodeId writer, NodeId first, NodeId last);

}  // namespace splitcnn::inline v0
