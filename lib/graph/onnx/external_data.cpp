#include "graph/onnx/external_data.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

namespace {

namespace fs = std::filesystem;

struct ExternalEntry {
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
};

std::uint64_t number(const std::string& key, const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw Error{Errc::bad_model,
                fmt::format("external data: {} '{}' is no number of bytes; save the model again", key, text)};
  }
  return value;
}

ExternalEntry entry_of(const pb::TensorProto& tensor) {
  ExternalEntry entry;
  for (const auto& pair : tensor.external_data()) {
    if (pair.key() == "location") entry.location = pair.value();
    if (pair.key() == "offset") entry.offset = number("offset", pair.value());
    if (pair.key() == "length") entry.length = number("length", pair.value());
  }
  return entry;
}

}  // namespace

fs::path ExternalData::resolve(const std::string& location) const {
  const fs::path path{location};
  const bool climbs =
      std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  if (location.empty() || location.find('\0') != std::string::npos || path.is_absolute() || climbs) {
    throw Error{
        Errc::bad_model,
        fmt::format("external data '{}' is outside the model's folder; put the file beside the model and "
                    "name it by a relative path",
                    location)};
  }
  std::error_code error;
  const fs::path folder = fs::canonical(folder_, error);
  const fs::path file = error ? fs::path{} : fs::canonical(folder / path, error);
  if (error) {
    throw Error{Errc::io,
                fmt::format("external data '{}' cannot be opened ({}); copy it into the model's folder",
                            location, error.message())};
  }
  // Symbolic links are resolved by now: what is left must still lie in the folder.
  const auto [end, _] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  if (end != folder.end()) {
    throw Error{
        Errc::bad_model,
        fmt::format("external data '{}' is a link out of the model's folder; copy the file into the folder",
                    location)};
  }
  if (!fs::is_regular_file(file, error)) {
    throw Error{
        Errc::bad_model,
        fmt::format("external data '{}' is no regular file; copy it into the model's folder", location)};
  }
  return file;
}

std::string ExternalData::read(const pb::TensorProto& tensor, std::uint64_t bytes) {
  if (folder_.empty()) {
    throw Error{Errc::unsupported,
                "its values are in an external file, but the model was given in memory; load it from its "
                "file instead"};
  }
  const ExternalEntry entry = entry_of(tensor);
  const fs::path file = resolve(entry.location);
  std::error_code error;
  const std::uint64_t size = fs::file_size(file, error);
  if (error || entry.offset > size || bytes > size - entry.offset) {
    throw Error{
        Errc::bad_model,
        fmt::format("external data '{}' has {} bytes; {} bytes from {} are needed; the file is truncated or "
                    "belongs to another model",
                    entry.location, error ? 0 : size, bytes, entry.offset)};
  }
  if (entry.length && *entry.length != bytes) {
    throw Error{
        Errc::bad_model,
        fmt::format(
            "external data '{}': length {} does not fit the {} bytes of the shape; save the model again",
            entry.location, *entry.length, bytes)};
  }
  if (bytes > left_) {
    throw Error{Errc::unsupported,
                "model and external data are larger than LoadOptions::max_file_bytes; raise it to load them"};
  }
  left_ -= bytes;
  std::string data(bytes, '\0');
  std::ifstream stream{file, std::ios::binary};
  stream.seekg(static_cast<std::streamoff>(entry.offset));
  if (!stream.read(data.data(), static_cast<std::streamsize>(bytes))) {
    throw Error{Errc::io, fmt::format("external data '{}' cannot be read; check the file", entry.location)};
  }
  return data;
}

}  // namespace splitcnn::inline v0
