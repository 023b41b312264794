#pragma once
/// Little-endian bytes of messages. Reading is length-checked: whatever the other side sends, a Reader stays
/// inside its span.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0::dpu {

class ByteWriter {
 public:
  template <class T>
  void number(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    raw(std::as_bytes(std::span{value.data(), value.size()}));
  }
  void raw(std::span<const std::byte> value) { bytes_.insert(bytes_.end(), value.begin(), value.end()); }
  [[nodiscard]] std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Throws bad_file naming what was being read when the bytes end early or a count is out of bounds.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view what) : rest_{bytes}, what_{what} {}

  template <class T>
  T number() {
    std::uint64_t value = 0;
    const auto bytes = raw(sizeof(T));
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    return static_cast<T>(value);
  }
  /// A count or length that may be at most `most`.
  std::size_t count(std::size_t most) {
    const auto value = number<std::uint32_t>();
    if (value > most)
      bad("a count of " + std::to_string(value) + " where at most " + std::to_string(most) + " can be");
    return value;
  }
  std::string text(std::size_t most) {
    const auto bytes = raw(count(most));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::span<const std::byte> raw(std::size_t size) {
    if (size > rest_.size()) bad("it ends too early");
    const auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }
  /// Nothing may be left over.
  void end() const {
    if (!rest_.empty()) bad(std::to_string(rest_.size()) + " bytes too many");
  }
  [[noreturn]] void bad(const std::string& why) const {
    throw Error{Errc::bad_file, "DPU protocol, " + std::string{what_} + ": " + why +
                                    "; the other side is damaged or speaks another version"};
  }

 private:
  std::span<const std::byte> rest_;
  std::string_view what_;
};

}  // namespace splitcnn::inline v0::dpu
