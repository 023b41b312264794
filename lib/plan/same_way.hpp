#pragma once
/// Whether two routes run the same pieces on the same devices.
#include "splitcnn/plan.hpp"

namespace splitcnn::inline v0 {

bool same_way(const Route& a, const Route& b) noexcept;

}  // namespace splitcnn::inline v0
