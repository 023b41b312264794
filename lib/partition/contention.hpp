#pragma once
/// How much two devices slow each other down when both are busy: shared memory, shared caches, shared power.
#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

/// Runs prefixes on `a` and the suffixes behind them on `b`, alone and side by side, `runs` times each, at up
/// to `cuts` cuts: the one where both take about as long, and those where one takes twice the time of the
/// other. A cut that seems to cost much is measured a second time, for a job that came between. Medians over the
/// cuts; nothing where there is no cut that both can run.
std::vector<Contention> measure_contention(const Pieces& a, const DeviceProfile& a_times, const Pieces& b,
                                           const DeviceProfile& b_times, int cuts, int runs);

}  // namespace splitcnn::inline v0
