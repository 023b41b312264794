#pragma once
/// From float weights to int8, looking at what the layer will be fed.
#include <cstdint>
#include <vector>

#include "graph/lower.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// Rounds half away from zero, then moves single values to their other neighbour where that lowers the expected squared error of the
/// output. The expectation uses each input channel's mean and variance and takes a channel's pixels as strongly correlated: so errors of
/// a kernel's taps cancel, and what the coarse int8 bias misses is absorbed by weights. Without moments: plain rounding.
/// Deterministic. `in` and `out`: scales of equalised tensors, or null. `rise` is what the reader of the output adds on average by
/// rounding half up; the bias takes it off in advance.
WeightBytes round_weights(const LoweredOp& op, const WeightQuant& quant, const ChannelScale* in, const ChannelScale* out,
                          const ChannelMoments* moments, double rise = 0);

}  // namespace splitcnn::inline v0
