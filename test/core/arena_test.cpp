#include "core/arena.hpp"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/catch.hpp"

using splitcnn::Arena;

namespace {

std::uintptr_t address(const std::byte* p) { return reinterpret_cast<std::uintptr_t>(p); }

bool all_are(const std::byte* p, std::size_t bytes, int value) {
  for (std::size_t i = 0; i < bytes; ++i) {
    if (p[i] != static_cast<std::byte>(value)) return false;
  }
  return true;
}

/// The flags of the mapping that `p` is in: "rd wr ... hg".
std::string mapping_flags(const std::byte* p) {
  std::ifstream maps{"/proc/self/smaps"};
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (std::istringstream{line} >> std::hex >> begin >> dash >> end && dash == '-') inside = begin <= address(p) && address(p) < end;
    if (inside && line.starts_with("VmFlags:")) return line;
  }
  return {};
}

}  // namespace

TEST_CASE("an arena hands out zeroed, aligned pieces that do not overlap, more than it expected as well", "[core]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const std::size_t expected : {std::size_t{0}, std::size_t{1000}, std::size_t{5} << 20}) {
    Arena arena{expected};
    std::vector<std::pair<std::byte*, std::size_t>> pieces;
    for (int i = 0; i < 200; ++i) {
      const std::size_t bytes = random() % (i % 20 == 0 ? 3'000'000 : 5'000);
      std::byte* const at = arena.take(bytes);
      REQUIRE(at != nullptr);
      CHECK(address(at) % Arena::alignment == 0);
      CHECK(all_are(at, bytes, 0));
      std::memset(at, i, bytes);
      pieces.emplace_back(at, bytes);
    }
    const Arena moved = std::move(arena);
    for (std::size_t i = 0; i < pieces.size(); ++i) CHECK(all_are(pieces[i].first, pieces[i].second, static_cast<int>(i)));
  }
}

TEST_CASE("what an arena expected lies side by side", "[core]") {
  Arena arena{3 * 1024};
  const std::byte* const a = arena.take(1000);
  CHECK(arena.take(64) == a + 1024);
  CHECK(arena.take(1) == a + 1088);
  CHECK(arena.take(0) != nullptr);
}

TEST_CASE("large blocks of an arena begin on a huge page and ask for more of them", "[core]") {
  Arena arena{3 * Arena::huge_page + 5};
  const std::byte* const first = arena.take(100);
  CHECK(address(first) % Arena::huge_page == 0);
  const std::byte* const more = arena.take(4 * Arena::huge_page);  // does not fit any more
  CHECK(address(more) % Arena::huge_page == 0);
  if (!std::ifstream{"/sys/kernel/mm/transparent_hugepage/enabled"}) SPLITCNN_SKIP("huge pages", "this kernel has no transparent huge pages");
  CHECK(mapping_flags(first).find(" hg") != std::string::npos);
  CHECK(mapping_flags(more).find(" hg") != std::string::npos);
}

TEST_CASE("an arena that cannot be had throws bad_alloc", "[core]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t bytes : {most, most - 63, most / 2, most / 4}) {
    CHECK_THROWS_AS(Arena{bytes}, std::bad_alloc);
    Arena arena;
    CHECK_THROWS_AS(arena.take(bytes), std::bad_alloc);
    CHECK(all_are(arena.take(10), 10, 0));  // it goes on
  }
}
