#pragma once
/// How many frames a pipeline has in flight.
#include <cstddef>

#include "pipeline/wiring.hpp"

namespace splitcnn::inline v0 {

/// `wanted`, or with 0 what PipelineOptions::depth says. `wiring` is of `plan`, which may be null. Throws bad_argument for more than a million.
std::size_t choose_depth(const Stages& stages, const Wiring& wiring, const Plan* plan, std::size_t wanted);

}  // namespace splitcnn::inline v0
