#pragma once
/// The nodes that only move bytes, as lists of runs over the channels-last storage. Everything is derived from logical coordinates, so
/// layout needs no special cases.
#include <vector>

#include "dpu/soft/kernels.hpp"

namespace splitcnn::inline v0::soft {

/// slice, split, pad, reshape, transpose, nearest resize, gather: what output number `output` of the node is made of. Throws
/// unsupported for a resize that interpolates and for other nodes.
std::vector<Run> move_runs(const Graph& graph, const Node& node, std::size_t output);
/// Where input number `input` of a concat goes.
std::vector<Run> concat_runs(const Graph& graph, const Node& node, std::size_t input);

/// Stride in storage of each logical dimension.
std::vector<std::int64_t> storage_strides(const Shape& logical);

}  // namespace splitcnn::inline v0::soft
