#pragma once
/// Memory for what an executor reads every frame: packed weights, activations, scratch.
///
///     Arena arena{expected_bytes};
///     std::byte* weights = arena.take(bytes);  // zeroed, aligned to 64, valid as long as the arena
///
/// Why not one allocation per tensor: a CNN streams its weights once per frame, tens of megabytes, and with 4 KiB pages it waits for address
/// translation as well. Side by side they fill whole huge pages (2 MiB), which the arena asks Linux for; where the system has none, they
/// are ordinary pages. On a two-core Xeon a float ResNet50 or MobileNetV2 gained 1 to 4 % (measured).
#include <cstddef>
#include <memory>
#include <vector>

namespace splitcnn::inline v0 {

/// Move-only; moving leaves what was taken where it is. Not thread-safe. Frees everything at once.
class Arena {
 public:
  static constexpr std::size_t alignment = 64, huge_page = std::size_t{2} << 20;

  /// `expected`: the bytes that all take() together are likely to need. What no longer fits gets memory of its own, with 0 everything (as tests like
  /// it: the address sanitizer then sees the end of every piece). Throws std::bad_alloc.
  explicit Arena(std::size_t expected = 0);

  /// Zeroed. Throws std::bad_alloc. Never null, also for 0 bytes.
  std::byte* take(std::size_t bytes);
  template <class T>
  T* take_array(std::size_t count) {
    return reinterpret_cast<T*>(take(count * sizeof(T)));
  }

 private:
  struct Release {
    std::size_t mapped = 0;  // bytes; 0: from the heap
    void operator()(std::byte* p) const noexcept;
  };
  using Block = std::unique_ptr<std::byte, Release>;
  static Block allocate(std::size_t bytes);
  static Block map(std::size_t bytes);

  std::vector<Block> blocks_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace splitcnn::inline v0
