#pragma once
/// A few measurements where a forecast is unsure. What the forecast gets wrong, it gets wrong alike for neighbouring cuts: a curve that
/// is corrected at one of them is nearly right around it. So every measurement says where the next one is worth most.
#include <functional>
#include <span>
#include <vector>

namespace splitcnn::inline v0 {

struct StageTimes {
  double head_ms = 0, tail_ms = 0;  ///< NaN: cannot run
};

struct MeasuredCut {
  int k = 0;
  StageTimes ms;
};

/// Measures the legal cut of the least interval, corrects both curves by it, and so on, until the best cut seen is also the best of the corrected
/// curves, or `most` cuts are measured. A correction is a factor: at a measured cut exact, between two of them interpolated, beyond them the
/// nearest one's. Best first; without those that cannot run.
std::vector<MeasuredCut> measure_few(std::span<const double> head_ms, std::span<const double> tail_ms, const std::vector<bool>& legal, int most,
                                     const std::function<StageTimes(int k)>& measure);

}  // namespace splitcnn::inline v0
