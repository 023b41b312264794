#pragma once
/// What stands for a time nobody knows, and for one that never comes.
#include <limits>

namespace splitcnn::inline v0 {

inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double infinite = std::numeric_limits<double>::infinity();

}  // namespace splitcnn::inline v0
