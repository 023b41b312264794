#pragma once
/// What calibration and fine tuning ask of the frames they are given.
#include <span>

#include "splitcnn/graph.hpp"
#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

/// A whole number of frames, at least one, float and of the graph's input shapes. Throws bad_argument, mismatch.
void check_frames(const Graph& graph, std::span<const Tensor> frames);

}  // namespace splitcnn::inline v0
