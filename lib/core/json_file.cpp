#include "core/json_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t max_bytes = 64u << 20;
constexpr int max_depth = 64;

std::string read_bounded(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in) throw Error{Errc::io, path.string() + ": cannot be opened: " + std::strerror(errno)};
  std::string text;
  char block[1 << 16];
  while (in.read(block, sizeof block) || in.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(in.gcount()));
    if (text.size() > max_bytes) {
      throw Error{Errc::bad_file, path.string() + ": larger than 64 MiB; not a file of this library"};
    }
  }
  if (in.bad() || !in.eof()) throw Error{Errc::io, path.string() + ": cannot be read; is it a file?"};
  return text;
}

/// Depth of brackets outside strings, checked before parsing so that hostile nesting costs one linear scan.
bool nested_too_deep(std::string_view text) noexcept {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

/// Closes and, unless kept, removes the temporary.
class Temporary {
 public:
  explicit Temporary(const std::filesystem::path& target) {
    static std::atomic<unsigned> counter{0};
    name_ = target.string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) fail(target, "cannot be written");
  }
  ~Temporary() {
    if (fd_ >= 0) ::close(fd_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  void write_and_rename(std::string_view text, const std::filesystem::path& target) {
    while (!text.empty()) {
      const ssize_t n = ::write(fd_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(target, "cannot be written");
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    // Data must be on the disk before the name points to it; some file systems cannot sync and say EINVAL.
    if (::fsync(fd_) != 0 && errno != EINVAL) fail(target, "cannot be written");
    if (::close(std::exchange(fd_, -1)) != 0) fail(target, "cannot be written");
    if (::rename(name_.c_str(), target.c_str()) != 0) fail(target, "cannot be replaced");
    name_.clear();
  }

 private:
  [[noreturn]] static void fail(const std::filesystem::path& target, const char* what) {
    throw Error{Errc::io, target.string() + ": " + what + ": " + std::strerror(errno)};
  }

  std::string name_;
  int fd_ = -1;
};

}  // namespace

nlohmann::json read_json(const std::filesystem::path& path) {
  const std::string text = read_bounded(path);
  if (nested_too_deep(text)) {
    throw Error{Errc::bad_file, path.string() + ": nested more than 64 deep; not a file of this library"};
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    throw Error{Errc::bad_file, path.string() + ": not valid JSON: " + e.what()};
  }
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  Temporary temporary{path};
  temporary.write_and_rename(text, path);
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  // Names come from model files and need not be UTF-8; a replacement character beats a file that cannot be
  // written.
  write_text(path, value.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
}

std::int64_t require_integer(const nlohmann::json& value, const char* key, const std::string& where,
                             std::int64_t low, std::int64_t high) {
  const auto number = require<nlohmann::json>(value, key, where);
  if (!number.is_number_integer()) throw Error{Errc::bad_file, where + ": '" + key + "' is not an integer"};
  const bool too_large =
      number.is_number_unsigned() && number.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  if (too_large || number.get<std::int64_t>() < low || number.get<std::int64_t>() > high) {
    throw Error{Errc::bad_file,
                where + ": '" + key + "' is outside " + std::to_string(low) + ".." + std::to_string(high)};
  }
  return number.get<std::int64_t>();
}

double require_number(const nlohmann::json& value, const char* key, const std::string& where) {
  const auto number = require<nlohmann::json>(value, key, where);
  if (!number.is_number() || !std::isfinite(number.get<double>())) {
    throw Error{Errc::bad_file, where + ": '" + key + "' is not a finite number"};
  }
  return number.get<double>();
}

void check_format(const nlohmann::json& value, const char* format, int version, const std::string& where) {
  if (!value.is_object())
    throw Error{Errc::bad_file, where + ": not a JSON object; expected a " + format + " file"};
  const auto found = require<std::string>(value, "format", where);
  if (found != format) {
    throw Error{Errc::bad_file,
                where + ": is a '" + found.substr(0, 64) + "' file; expected '" + format + "'"};
  }
  const std::int64_t n = require_integer(value, "version", where, 1, INT32_MAX);
  if (n > version) {
    throw Error{Errc::bad_file, where + ": version " + std::to_string(n) + " of " + format +
                                    " is newer than this library (" + std::to_string(version) +
                                    "); update the library"};
  }
}

}  // namespace splitcnn::inline v0
