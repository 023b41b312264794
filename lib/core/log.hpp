#pragma once
/// The library's own messages. Never called from the hot path.
#include <string_view>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

void log(LogLevel level, std::string_view message);

}  // namespace splitcnn::inline v0
