#pragma once
/// FNV-1a, 64 bits (draft-eastlake-fnv): tells things apart that were not meant to be alike. No protection against intent.
#include <cstdint>
#include <span>
#include <string>

namespace splitcnn::inline v0 {

class Fnv1a {
 public:
  void add(std::span<const std::int8_t> bytes) noexcept {
    for (const std::int8_t b : bytes) byte(static_cast<std::uint8_t>(b));
  }
  void add(std::int64_t value) noexcept {
    for (int i = 0; i < 8; ++i) byte(static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> (8 * i)));
  }
  /// 16 hexadecimal digits.
  [[nodiscard]] std::string hex() const {
    std::string text(16, '0');
    for (int i = 0; i < 16; ++i) text[static_cast<std::size_t>(i)] = "0123456789abcdef"[hash_ >> (60 - 4 * i) & 15];
    return text;
  }

 private:
  void byte(std::uint8_t b) noexcept { hash_ = (hash_ ^ b) * 0x100000001b3u; }
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace splitcnn::inline v0
