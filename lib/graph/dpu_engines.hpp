#pragma once
/// What the engines of the DPUCVDX8G take: UG1414, PG389 and the target file; where they differ, the
/// strictest.
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

using Reason = std::optional<std::string>;  ///< what is wrong; nothing when all is well

Reason above(const char* what, std::int64_t value, std::int64_t limit);
Reason first_of(std::initializer_list<Reason> reasons);

/// The convolution engine; also dense layers, as convolutions whose kernel covers the map.
Reason conv_engine(const Window& w, std::int64_t in, std::int64_t out, bool covers_image);
/// The engine of depthwise convolutions and pools.
Reason alu_engine(const Window& w);

}  // namespace splitcnn::inline v0
