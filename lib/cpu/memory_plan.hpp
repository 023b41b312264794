#pragma once
/// Places buffers with known lifetimes into one block of memory.
#include <cstddef>
#include <vector>

namespace splitcnn::inline v0::cpu {

struct Lifetime {
  std::size_t first = 0, last = 0;  ///< steps, both included
  std::size_t size = 0;
  std::size_t offset = 0;  ///< result, a multiple of `alignment`
};

/// Buffers whose lifetimes meet do not overlap. Largest first, each at the lowest place that is free all its
/// life. Returns the size of the block.
std::size_t plan_memory(std::vector<Lifetime>& buffers, std::size_t alignment);

}  // namespace splitcnn::inline v0::cpu
