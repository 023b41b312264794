#pragma once
/// Measured truth for the predictor: a random network on two CPU cores, the software DPU as the head's
/// device, float as the tail's.
#include <array>
#include <span>
#include <vector>

#include "predictor/net_file.hpp"
#include "splitcnn/device.hpp"

namespace splitcnn_training {

/// What the network corrects, of one core each: rough numbers from no measurement of this data set.
/// Microseconds per frame.
splitcnn::BaseModel base_of_int8_core();
splitcnn::BaseModel base_of_float_core();

struct MeasureNetOptions {
  int runs = 7;     ///< per timed piece and per look inside
  int anchors = 5;  ///< pieces of each device that are timed as they are
  int rounds = 4;   ///< of five runs per half and cut, where cuts are timed directly
};

struct MeasuredNet {
  Sample sample;
  Measurement times;
};

/// `devices`: a DPU and another. The network needs weights (RandomCnnLimits::noise). Throws the stages'
/// errors.
MeasuredNet measure_net(const RandomCnn& net, const splitcnn::Devices& devices, bool direct,
                        const MeasureNetOptions& options = {});

/// The times per layer whose sums are nearest to `curve_ms` (per cut, NaN where unknown) and never fall: what
/// a curve gains from one cut to the next is shared among the layers between as `looked_us` says.
std::vector<double> layers_of_curve(std::span<const double> looked_us, std::span<const int> cut_layer,
                                    std::vector<double> curve_ms);

/// Both ends and the nine legal cuts around the one where the larger of the two curves is least, ascending.
std::vector<int> cuts_to_time(std::span<const double> head_ms, std::span<const double> tail_ms,
                              std::span<const int> legal);

}  // namespace splitcnn_training
