#pragma once
/// Memory that ends where it says: one byte further is a page that nobody may touch. Generated code, which no sanitizer sees into, stops at it.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

namespace splitcnn_test {

class Guarded {
 public:
  /// `bytes` that end at the forbidden page, or, with `alignment`, up to alignment - 1 bytes before it.
  explicit Guarded(std::size_t bytes, std::size_t alignment = 1) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t wanted = (bytes + alignment - 1) / alignment * alignment;
    size_ = (wanted + page - 1) / page * page + 2 * page;
    base_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc{};
    mprotect(base_, page, PROT_NONE);
    mprotect(static_cast<char*>(base_) + size_ - page, page, PROT_NONE);
    data_ = static_cast<std::byte*>(base_) + size_ - page - wanted;
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  template <class T>
  [[nodiscard]] T* as() const noexcept {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void* base_ = nullptr;
  std::size_t size_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace splitcnn_test
