#pragma once
/// JSON files of the library: bounded reading, atomic writing, errors that name file and key.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

/// Reads at most 64 MiB, nesting at most 64 deep. Throws io or bad_file naming the file.
nlohmann::json read_json(const std::filesystem::path& path);
/// Writes to a temporary beside the file and renames it. Throws io.
void write_text(const std::filesystem::path& path, std::string_view text);
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

/// value.at(key) as T; throws bad_file naming `where` (the file) and the key when it is missing or of another type.
template <class T>
T require(const nlohmann::json& value, const char* key, const std::string& where) {
  const auto found = value.is_object() ? value.find(key) : value.end();
  if (!value.is_object() || found == value.end()) throw Error{Errc::bad_file, where + ": '" + key + "' is missing"};
  try {
    return found->template get<T>();
  } catch (const nlohmann::json::exception&) {
    throw Error{Errc::bad_file, where + ": '" + key + "' has the wrong type"};
  }
}

/// The same for an integer in low..high. Unlike require<int> it refuses fractions and never wraps.
std::int64_t require_integer(const nlohmann::json& value, const char* key, const std::string& where, std::int64_t low,
                             std::int64_t high);
/// The same for a finite number.
double require_number(const nlohmann::json& value, const char* key, const std::string& where);

/// Checks {"format": format, "version": n} with n <= version; throws bad_file.
void check_format(const nlohmann::json& value, const char* format, int version, const std::string& where);

}  // namespace splitcnn::inline v0
