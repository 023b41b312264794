#include "splitcnn/error.hpp"

#include <cstdio>
#include <mutex>
#include <utility>

#include "core/log.hpp"

namespace splitcnn::inline v0 {

const char* to_string(Errc code) noexcept {
  switch (code) {
    case Errc::ok: return "ok";
    case Errc::io: return "io";
    case Errc::bad_model: return "bad_model";
    case Errc::bad_file: return "bad_file";
    case Errc::bad_argument: return "bad_argument";
    case Errc::unsupported: return "unsupported";
    case Errc::mismatch: return "mismatch";
    case Errc::not_calibrated: return "not_calibrated";
    case Errc::not_a_split: return "not_a_split";
    case Errc::not_built: return "not_built";
    case Errc::no_device: return "no_device";
    case Errc::device_failed: return "device_failed";
    case Errc::stage_failed: return "stage_failed";
    case Errc::timeout: return "timeout";
    case Errc::closed: return "closed";
  }
  return "unknown";
}

Error::Error(Errc code, const std::string& message) : std::runtime_error{message}, code_{code} {}

namespace {

void log_to_stderr(LogLevel level, std::string_view message) {
  if (level < LogLevel::warning) return;
  std::fprintf(stderr, "splitcnn: %.*s\n", static_cast<int>(message.size()), message.data());
}

std::mutex log_mutex;
std::function<void(LogLevel, std::string_view)> log_handler = log_to_stderr;

}  // namespace

void set_log_handler(std::function<void(LogLevel, std::string_view)> handler) {
  const std::lock_guard lock{log_mutex};
  log_handler = std::move(handler);
}

void log(LogLevel level, std::string_view message) {
  const std::lock_guard lock{log_mutex};
  if (log_handler) log_handler(level, message);
}

}  // namespace splitcnn::inline v0
