#include "dpu/protocol/fd.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace splitcnn::inline v0::dpu {

namespace {

/// False when the deadline has passed. Hang-ups count as ready: the read or write says what happened.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    pollfd p{.fd = fd, .events = events, .revents = 0};
    const int n = poll(&p, 1, poll_ms(deadline));
    if (n > 0) return true;
    if (n == 0 && Clock::now() >= deadline) return false;
    if (n < 0 && errno != EINTR) return false;
  }
}

struct Names {
  std::string host, port;
};

Names split_address(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size()) {
    throw Error{Errc::bad_argument, "address '" + address + "': has no port; write for example board:7700"};
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return {host, address.substr(colon + 1)};
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const std::string& address, int flags) {
  const Names names = split_address(address);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int error =
      getaddrinfo(names.host.empty() ? nullptr : names.host.c_str(), names.port.c_str(), &hints, &list);
  if (error != 0)
    throw Error{Errc::no_device,
                "address '" + address + "': " + gai_strerror(error) + "; check the name and the port"};
  return {list, &freeaddrinfo};
}

}  // namespace

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

void throw_errno(Errc code, const std::string& what) {
  throw Error{code, what + ": " + std::strerror(errno)};
}

int poll_ms(Clock::time_point deadline) noexcept {
  if (deadline == Clock::time_point::max()) return -1;
  const auto left = deadline - Clock::now();
  if (left <= Clock::duration::zero()) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<decltype(ms)>(ms, 1 << 30));
}

std::pair<Fd, Fd> socket_pair() {
  std::array<int, 2> fds{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()) != 0)
    throw_errno(Errc::no_device, "a socket to the DPU worker");
  return {Fd{fds[0]}, Fd{fds[1]}};
}

void tune_tcp(const Fd& socket) {
  const int on = 1, idle = 1, interval = 1, probes = 3, unacknowledged_ms = 5000;
  fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

Fd connect_tcp(const std::string& address, Clock::time_point deadline) {
  const Addresses list = resolve(address, 0);
  int last = ETIMEDOUT;
  for (const addrinfo* a = list.get(); a; a = a->ai_next) {
    Fd socket{::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol)};
    if (!socket) continue;
    if (connect(socket.get(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
      last = errno;
      continue;
    }
    if (!wait_for(socket.get(), POLLOUT, deadline)) continue;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) {
      tune_tcp(socket);
      return socket;
    }
    last = error;
  }
  throw Error{Errc::no_device, "DPU worker at tcp://" + address + ": " + std::strerror(last) +
                                   "; is splitcnn-dpu-worker --listen running there?"};
}

Fd listen_tcp(const std::string& address) {
  const Addresses list = resolve(address, AI_PASSIVE);
  int last = EADDRNOTAVAIL;
  for (const addrinfo* a = list.get(); a; a = a->ai_next) {
    Fd socket{::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol)};
    const int on = 1;
    if (socket) setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (socket && bind(socket.get(), a->ai_addr, a->ai_addrlen) == 0 && listen(socket.get(), 16) == 0)
      return socket;
    last = errno;
  }
  throw Error{Errc::no_device, "listening at '" + address + "': " + std::strerror(last)};
}

int port_of(const Fd& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw_errno(Errc::no_device, "the port of a listening socket");
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

bool write_all(int fd, std::span<iovec> parts, Clock::time_point deadline) {
  while (!parts.empty()) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min<std::size_t>(parts.size(), 64);
    ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_for(fd, POLLOUT, deadline)) return false;
      continue;
    }
    for (; !parts.empty() && static_cast<std::size_t>(n) >= parts.front().iov_len; parts = parts.subspan(1))
      n -= static_cast<ssize_t>(parts.front().iov_len);
    if (n > 0) {
      parts.front().iov_base = static_cast<std::byte*>(parts.front().iov_base) + n;
      parts.front().iov_len -= static_cast<std::size_t>(n);
    }
  }
  return true;
}

bool read_all(int fd, std::span<std::byte> bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t n = recv(fd, bytes.data(), bytes.size(), 0);
    if (n == 0) return false;
    if (n < 0) {
      if (errno == EINTR) continue;
      if ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_for(fd, POLLIN, deadline)) return false;
      continue;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

void send_fds(int socket, std::span<const int> fds, Clock::time_point deadline) {
  std::byte mark{'F'};
  iovec part{&mark, 1};
  std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
    if (errno == EINTR || ((errno == EAGAIN || errno == EWOULDBLOCK) && wait_for(socket, POLLOUT, deadline)))
      continue;
    throw_errno(Errc::device_failed, "handing descriptors to the DPU worker");
  }
}

std::vector<Fd> receive_fds(int socket, std::size_t count, Clock::time_point deadline) {
  std::byte mark{};
  iovec part{&mark, 1};
  std::vector<std::byte> control(CMSG_SPACE(16 * sizeof(int)));
  msghdr message{};
  ssize_t n = 0;
  do {
    if (!wait_for(socket, POLLIN, deadline))
      throw Error{Errc::timeout, "descriptors from the application: none came"};
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK));
  std::vector<Fd> fds;
  for (cmsghdr* h = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr; h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  if (fds.size() != count || (message.msg_flags & MSG_CTRUNC) != 0) {
    throw Error{Errc::bad_file, "descriptors from the application: " + std::to_string(fds.size()) +
                                    " came where " + std::to_string(count) + " belong"};
  }
  return fds;
}

bool hung_up(int fd) noexcept {
  pollfd p{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace splitcnn::inline v0::dpu
