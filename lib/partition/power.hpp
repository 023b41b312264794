#pragma once
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

/// Whether the processor's energy counters are there and may be read.
bool can_read_power() noexcept;

/// Watts the machine draws above idle while the stage runs, by the processor's own energy counters (RAPL,
/// /sys/class/powercap/intel-rapl:N/energy_uj of Linux: Documentation/power/powercap/powercap.rst). NaN where
/// there are none, or where only root may read them. Takes about a second; prepares the stage.
double watts_of(Stage& stage);

}  // namespace splitcnn::inline v0
