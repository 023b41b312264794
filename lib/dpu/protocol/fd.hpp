#pragma once
/// File descriptors, sockets and deadlines. Everything is opened close-on-exec; nothing raises SIGPIPE.
#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0::dpu {

using Clock = std::chrono::steady_clock;

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_{fd} {}
  Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }
  void reset(int fd = -1) noexcept;
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// "<what>: <the system's reason>". Keep errno until the call.
[[noreturn]] void throw_errno(Errc code, const std::string& what);

/// Milliseconds for poll(): rounded up, 0 when past, -1 for Clock::time_point::max().
int poll_ms(Clock::time_point deadline) noexcept;

/// Two connected sockets, both ends close-on-exec and non-blocking.
std::pair<Fd, Fd> socket_pair();
/// "board:7700" or "[::1]:7700". Non-blocking, no delay. Throws no_device when nobody answers until the
/// deadline.
Fd connect_tcp(const std::string& address, Clock::time_point deadline);
/// Throws no_device. Port 0 takes a free one; see port_of().
Fd listen_tcp(const std::string& address);
int port_of(const Fd& listener);
/// Sets what every accepted or connected TCP socket wants: non-blocking, no delay, a dead peer noticed within
/// seconds.
void tune_tcp(const Fd& socket);

/// Writes all of it. False when the peer is gone or the deadline has passed (then the stream is of no further
/// use).
bool write_all(int fd, std::span<iovec> parts, Clock::time_point deadline);
/// Reads exactly `size` bytes. False likewise.
bool read_all(int fd, std::span<std::byte> bytes, Clock::time_point deadline);

/// One byte with descriptors over a Unix socket; throws device_failed.
void send_fds(int socket, std::span<const int> fds, Clock::time_point deadline);
std::vector<Fd> receive_fds(int socket, std::size_t count, Clock::time_point deadline);

/// True when the other end has closed, without reading anything.
bool hung_up(int fd) noexcept;

}  // namespace splitcnn::inline v0::dpu
