#include "core/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace splitcnn::inline v0 {

namespace {

/// Ordinary pages are 4 to 64 KiB (arm64).
constexpr std::size_t smallest_page = std::size_t{4} << 10, largest_page = std::size_t{64} << 10;

std::size_t round_up(std::size_t bytes, std::size_t to) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc{};
  return (bytes + to - 1) / to * to;
}

/// So that the first frame need not wait for the kernel to find the pages.
std::byte* touched(std::byte* p, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += smallest_page) static_cast<volatile std::byte*>(p)[i] = std::byte{0};
  return p;
}

}  // namespace

Arena::Arena(std::size_t expected) {
  if (expected == 0) return;
  left_ = round_up(expected, alignment);
  blocks_.push_back(allocate(left_));
  next_ = blocks_.back().get();
}

std::byte* Arena::take(std::size_t bytes) {
  const std::size_t need = std::max(round_up(bytes, alignment), alignment);
  if (need > left_) {
    blocks_.push_back(allocate(need));
    return touched(blocks_.back().get(), need);
  }
  left_ -= need;
  return touched(std::exchange(next_, next_ + need), need);
}

Arena::Block Arena::allocate(std::size_t bytes) {
  if (bytes >= huge_page) return map(bytes);
  Block block{static_cast<std::byte*>(std::aligned_alloc(alignment, bytes))};
  if (!block) throw std::bad_alloc{};
  std::memset(block.get(), 0, bytes);
  return block;
}

/// The first byte on a huge page. The end is not rounded up: a page that would be only half used stays small.
Arena::Block Arena::map(std::size_t bytes) {
  const std::size_t size = round_up(bytes, largest_page), room = size + huge_page;
  void* const mapped = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc{};
  auto* const begin = static_cast<std::byte*>(mapped);
  const std::size_t before = (huge_page - reinterpret_cast<std::uintptr_t>(begin) % huge_page) % huge_page;
  if (before > 0) ::munmap(begin, before);
  if (before < huge_page) ::munmap(begin + before + size, huge_page - before);
  Block block{begin + before, Release{size}};
  ::madvise(block.get(), size, MADV_HUGEPAGE);  // a wish: fails where the kernel has no huge pages
  return block;
}

void Arena::Release::operator()(std::byte* p) const noexcept {
  if (mapped > 0) {
    ::munmap(p, mapped);
  } else {
    std::free(p);
  }
}

}  // namespace splitcnn::inline v0
