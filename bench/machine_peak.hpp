#pragma once
/// What this core can do at best, measured: the two lines of a roofline.
#include <optional>
#include <string>

namespace bench {

/// int8 operations per second (a multiply-add is two) of back-to-back VPDPBUSD on 512-bit registers; nothing without AVX512-VNNI.
std::optional<double> vnni_peak();
/// Bytes per second one core reads from an array larger than the caches.
double read_bandwidth();

/// Model name of the CPU and how many this process may use.
std::string machine();
/// Leaves the calling process (and children) one core, the last it may use. Returns its number; -1 where that is refused.
int pin_to_one_core();

}  // namespace bench
