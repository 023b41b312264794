#pragma once
/// The items of a range in one line of a message: "a, b, c".
#include <fmt/core.h>

#include <string>

namespace splitcnn::inline v0 {

template <class Range>
std::string listed(const Range& items) {
  std::string all;
  for (const auto& item : items) all += fmt::format("{}{}", all.empty() ? "" : ", ", item);
  return all;
}

}  // namespace splitcnn::inline v0
