#include "dpu/worker/sandbox.hpp"

#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "dpu/protocol/fd.hpp"

namespace splitcnn::inline v0::dpu {

void drop_privileges(const std::string& user) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  if (!user.empty()) {
    const passwd* entry = getpwnam(user.c_str());
    if (!entry) throw Error{Errc::bad_argument, "--user " + user + ": there is no such user"};
    if (initgroups(entry->pw_name, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
        setuid(entry->pw_uid) != 0)
      throw_errno(Errc::no_device, "--user " + user);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno(Errc::no_device, "dropping privileges");
}

void close_descriptors_above(int keep) noexcept {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, static_cast<unsigned>(keep + 1), ~0u, 0u) == 0) return;
#endif
  const long most = sysconf(_SC_OPEN_MAX);
  for (int fd = keep + 1; fd < (most > 0 && most < 65536 ? most : 65536); ++fd) close(fd);
}

void end_with(int socket) {
  std::thread{[socket] {
    while (!hung_up(socket)) {
      pollfd p{.fd = socket, .events = POLLRDHUP, .revents = 0};
      poll(&p, 1, -1);
    }
    std::this_thread::sleep_for(
        std::chrono::milliseconds{500});  // the orderly end comes first, unless VART is in the way
    _exit(0);
  }}.detach();
}

}  // namespace splitcnn::inline v0::dpu
