#pragma once
/// Weight files: safetensors (8 bytes of header length, JSON, raw numbers) holding little-endian float32, read into memory and checked
/// before anything is used. Read, not mapped: a mapped file that shrinks under us would end the process.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace splitcnn::inline v0 {

class SafeTensors {
 public:
  static constexpr std::size_t most_bytes = 16u << 20, most_header = 1u << 20;

  /// Throws bad_file: header, types, shapes, offsets outside, overlapping or with holes, numbers that are not finite.
  static SafeTensors parse(std::span<const std::byte> file, const std::string& name);
  static std::vector<std::byte> read(const std::filesystem::path& path);  ///< throws io, bad_file

  [[nodiscard]] const nlohmann::json& metadata() const noexcept { return metadata_; }
  /// The tensor's numbers; throws bad_file unless it is there with exactly this shape.
  [[nodiscard]] const float* tensor(const std::string& key, const std::vector<std::int64_t>& shape) const;
  [[nodiscard]] bool has(const std::string& key) const { return tensors_.contains(key); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  struct Entry {
    std::vector<std::int64_t> shape;
    std::size_t first = 0, count = 0;  // floats
  };
  std::string name_;
  nlohmann::json metadata_;
  std::map<std::string, Entry> tensors_;
  std::vector<float> numbers_;
};

}  // namespace splitcnn::inline v0
