#include "predictor/weights.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/listed.hpp"
#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

namespace {

[[noreturn]] void bad(const std::string& name, const std::string& what) {
  throw Error{Errc::bad_file, fmt::format("{}: {}; use a weight file that the training wrote", name, what)};
}

/// Brackets outside strings: nested JSON would be parsed by recursion.
bool nested_too_deep(std::string_view text) noexcept {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > 16) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

std::size_t number_of(const nlohmann::json& value, const std::string& name, const std::string& key) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > SafeTensors::most_bytes) {
    bad(name, fmt::format("tensor '{}' has a size or an offset that no file of 16 MiB can have", key));
  }
  return value.get<std::size_t>();
}

}  // namespace

std::vector<std::byte> SafeTensors::read(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in) throw Error{Errc::io, fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno))};
  std::vector<std::byte> bytes;
  std::vector<char> block(1 << 16);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    const auto* first = reinterpret_cast<const std::byte*>(block.data());
    bytes.insert(bytes.end(), first, first + in.gcount());
    if (bytes.size() > most_bytes) bad(path.string(), "larger than 16 MiB");
  }
  if (!in.eof()) throw Error{Errc::io, path.string() + ": cannot be read; is it a file?"};
  return bytes;
}

SafeTensors SafeTensors::parse(std::span<const std::byte> file, const std::string& name) {
  static_assert(std::endian::native == std::endian::little, "weight files are little-endian");
  std::uint64_t length = 0;
  if (file.size() < 8 || file.size() > most_bytes) bad(name, fmt::format("{} bytes are no weight file", file.size()));
  std::memcpy(&length, file.data(), 8);
  if (length > most_header || length > file.size() - 8) bad(name, fmt::format("its header of {} bytes does not fit", length));
  const std::string_view text{reinterpret_cast<const char*>(file.data()) + 8, static_cast<std::size_t>(length)};
  if (nested_too_deep(text)) bad(name, "its header is nested too deep");
  const nlohmann::json header = nlohmann::json::parse(text, nullptr, false);
  if (!header.is_object()) bad(name, "its header is no JSON object");

  SafeTensors out;
  out.name_ = name;
  const std::span<const std::byte> data = file.subspan(8 + static_cast<std::size_t>(length));
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      out.metadata_ = value;
      continue;
    }
    if (!value.is_object() || !value.contains("dtype") || value["dtype"] != "F32") bad(name, fmt::format("tensor '{}' is not F32", key.substr(0, 64)));
    if (!value.contains("shape") || !value["shape"].is_array() || value["shape"].size() > 4) bad(name, fmt::format("tensor '{}' has no shape", key.substr(0, 64)));
    if (!value.contains("data_offsets") || !value["data_offsets"].is_array() || value["data_offsets"].size() != 2) {
      bad(name, fmt::format("tensor '{}' has no data_offsets", key.substr(0, 64)));
    }
    Entry entry;
    entry.count = 1;
    for (const nlohmann::json& d : value["shape"]) {
      const std::size_t size = number_of(d, name, key.substr(0, 64));
      entry.shape.push_back(static_cast<std::int64_t>(size));
      entry.count *= size;  // at most 2^24 * 2^24: no overflow, and checked before the next factor
      if (entry.count > most_bytes) bad(name, fmt::format("tensor '{}' is larger than the file can be", key.substr(0, 64)));
    }
    const std::size_t first = number_of(value["data_offsets"][0], name, key.substr(0, 64)), last = number_of(value["data_offsets"][1], name, key.substr(0, 64));
    if (first > last || last > data.size() || last - first != entry.count * 4 || first % 4 != 0) {
      bad(name, fmt::format("tensor '{}' lies outside the file or has another size than its shape", key.substr(0, 64)));
    }
    entry.first = first / 4;
    ranges.emplace_back(first, last);
    out.tensors_.emplace(key, std::move(entry));
  }
  std::sort(ranges.begin(), ranges.end());
  std::size_t end = 0;
  for (const auto& [first, last] : ranges) {
    if (first != end) bad(name, "its tensors overlap or leave holes");
    end = last;
  }
  if (end != data.size()) bad(name, fmt::format("{} bytes belong to no tensor", data.size() - end));
  out.numbers_.resize(data.size() / 4);
  if (!data.empty()) std::memcpy(out.numbers_.data(), data.data(), data.size());
  for (const auto& [key, entry] : out.tensors_) {
    const auto* first = out.numbers_.data() + entry.first;
    if (!std::all_of(first, first + entry.count, [](float v) { return std::isfinite(v); })) bad(name, fmt::format("tensor '{}' has numbers that are not finite", key.substr(0, 64)));
  }
  return out;
}

const float* SafeTensors::tensor(const std::string& key, const std::vector<std::int64_t>& shape) const {
  const auto found = tensors_.find(key);
  if (found == tensors_.end()) bad(name_, fmt::format("tensor '{}' is missing", key));
  if (found->second.shape != shape) bad(name_, fmt::format("tensor '{}' has another shape than [{}]", key, listed(shape)));
  return numbers_.data() + found->second.first;
}

}  // namespace splitcnn::inline v0
