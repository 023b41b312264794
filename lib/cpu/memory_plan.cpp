#include "cpu/memory_plan.hpp"

#include <algorithm>

namespace splitcnn::inline v0::cpu {

std::size_t plan_memory(std::vector<Lifetime>& buffers, std::size_t alignment) {
  std::vector<Lifetime*> order;
  for (Lifetime& b : buffers) order.push_back(&b);
  std::stable_sort(order.begin(), order.end(),
                   [](const Lifetime* a, const Lifetime* b) { return a->size > b->size; });
  std::vector<const Lifetime*> placed;  // by offset
  std::size_t total = 0;
  for (Lifetime* b : order) {
    const std::size_t size = (b->size + alignment - 1) / alignment * alignment;
    std::size_t at = 0;
    for (const Lifetime* other : placed) {
      if (other->last < b->first || b->last < other->first) continue;
      if (at + size <= other->offset) break;
      at = std::max(at, other->offset + (other->size + alignment - 1) / alignment * alignment);
    }
    b->offset = at;
    total = std::max(total, at + size);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), b,
                         [](const Lifetime* x, const Lifetime* y) { return x->offset < y->offset; }),
        b);
  }
  return total;
}

}  // namespace splitcnn::inline v0::cpu
