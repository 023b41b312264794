#pragma once
/// What calibration, fine tuning and quality ask of the frames they are given, and how they read them.
#include <cstddef>
#include <span>

#include "core/convert.hpp"
#include "splitcnn/graph.hpp"
#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

/// A whole number of frames, at least one, float and of the graph's input shapes. Throws bad_argument, mismatch.
void check_frames(const Graph& graph, std::span<const Tensor> frames);

/// The graph's input `id` of one checked frame (a tensor per input of the graph) in another representation.
void write_input(const Graph& graph, std::span<const Tensor> frame, TensorId id, const Representation& as, std::byte* to);

}  // namespace splitcnn::inline v0
