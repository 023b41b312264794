#pragma once
/// Allocations of the calling thread so far: linking allocations.cpp replaces operator new.
#include <cstddef>

namespace splitcnn_test {
std::size_t allocations() noexcept;
}
