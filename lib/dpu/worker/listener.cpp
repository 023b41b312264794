#include "dpu/worker/listener.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "dpu/worker/sandbox.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

constexpr std::size_t most_children = 16;
constexpr auto grace =
    std::chrono::milliseconds{100};  // between an application's end and the end of its child

struct Child {
  pid_t pid = 0;
  Fd socket;  // ours as well, so that we see the application go while the child cannot
  bool leaving = false;
  Clock::time_point kill_at = Clock::time_point::max();
};

class Listener {
 public:
  explicit Listener(const ListenOptions& options) : options_{options}, socket_{listen_tcp(options.address)} {
    sigset_t set;
    sigemptyset(&set);
    for (const int s : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, s);
    sigprocmask(SIG_BLOCK, &set, &before_);
    signals_ = Fd{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!signals_) throw_errno(Errc::no_device, "signals of the DPU worker");
  }
  ~Listener() {
    for (const Child& c : children_) kill(c.pid, SIGKILL);
    for (const Child& c : children_) waitpid(c.pid, nullptr, 0);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void run() {
    if (options_.announce) {
      std::printf("port %d\n", port_of(socket_));
      std::fflush(stdout);
    }
    while (!ended_) {
      wait();
      reap();
      kill_leavers();
    }
  }

 private:
  void wait() {
    std::vector<pollfd> p{
        {.fd = signals_.get(), .events = POLLIN, .revents = 0},
        {.fd = children_.size() < most_children ? socket_.get() : -1, .events = POLLIN, .revents = 0}};
    auto next = Clock::time_point::max();
    for (const Child& c : children_) {
      p.push_back({.fd = c.leaving ? -1 : c.socket.get(), .events = POLLRDHUP, .revents = 0});
      next = std::min(next, c.kill_at);
    }
    if (poll(p.data(), p.size(), poll_ms(next)) < 0) return;
    for (std::size_t i = 0; i < children_.size(); ++i) {
      if (p[i + 2].revents == 0) continue;
      children_[i].leaving = true;
      children_[i].kill_at = Clock::now() + grace;
    }
    signalfd_siginfo signal{};
    while (read(signals_.get(), &signal, sizeof signal) == sizeof signal)
      ended_ = ended_ || signal.ssi_signo != SIGCHLD;
    if (p[1].revents != 0) accept_one();
  }

  void reap() {
    std::erase_if(children_, [](const Child& c) {
      int status = 0;
      if (waitpid(c.pid, &status, WNOHANG) != c.pid) return false;
      if (WIFSIGNALED(status))
        std::fprintf(stderr, "splitcnn-dpu-worker: the process of one application ended by signal %d\n",
                     WTERMSIG(status));
      return true;  // closing our end tells the application
    });
  }

  void kill_leavers() {
    const auto now = Clock::now();
    for (Child& c : children_) {
      if (now < c.kill_at) continue;
      kill(c.pid, SIGKILL);
      c.kill_at = Clock::time_point::max();
    }
  }

  void accept_one() {
    Fd connection{accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (!connection) return;
    tune_tcp(connection);
    const pid_t pid = fork();
    if (pid < 0) std::fprintf(stderr, "splitcnn-dpu-worker: no process for another application\n");
    if (pid > 0) children_.push_back({.pid = pid, .socket = std::move(connection)});
    if (pid == 0) serve_and_exit(connection.get());
  }

  [[noreturn]] void serve_and_exit(int connection) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    dup2(connection, 3);
    close_descriptors_above(3);
    int code = 0;
    try {
      serve(3, options_.session);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "splitcnn-dpu-worker: %s\n", e.what());
      code = 1;
    }
    _exit(code);
  }

  const ListenOptions& options_;
  Fd socket_, signals_;
  sigset_t before_{};
  std::vector<Child> children_;
  bool ended_ = false;
};

}  // namespace

void listen(const ListenOptions& options) { Listener{options}.run(); }

}  // namespace splitcnn::inline v0::dpu
