#pragma once
/// Where a frame lies in the network's input, and which source pixels make each output pixel. All integers,
/// all exact: ratios are kept as fractions, so that one rounding at the very end is the only one.
#include <vector>

#include "splitcnn/input_transform.hpp"

namespace splitcnn::inline v0 {

constexpr int max_frame_side = 16384;

/// One side's resampling. Output i is the sum of weight[t] * source[pixel[t]] over t in [begin[i],
/// begin[i+1]), divided by `denominator` (the sum of those weights, at most 2 * max_frame_side).
struct Axis {
  bool bilinear = true;  ///< exactly two taps per output; else (area) taps are neighbours, ascending
  int denominator = 1;
  std::vector<int> begin, pixel, weight;
};

/// The resampled part is a rectangle of the output; what lies outside is border.
struct Placement {
  int left = 0, top = 0, width = 0, height = 0;
  Axis x, y;
};

/// A side of `in` pixels resampled to `scaled` pixels, of which outputs [offset, offset + count) are wanted.
Axis make_axis(int in, int scaled, int offset, int count, Sampling sampling);

/// Fills `placement` for a frame of frame_w x frame_h (1..max_frame_side); mismatch when the transform cannot
/// take that size.
Status place(const InputTransform& transform, int network_w, int network_h, int frame_w, int frame_h,
             Placement& placement);

}  // namespace splitcnn::inline v0
