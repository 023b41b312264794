#include "dpu/remote/supervisor.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "core/log.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

using std::chrono::milliseconds;

constexpr int healthy_batches = 3;

/// Before restart number n of a row of failures: at once, then 50 ms, doubling, 5 s at most.
Clock::duration pause_before(int n) {
  if (n <= 1) return {};
  return std::min<Clock::duration>(milliseconds{50} * (1 << std::min(n - 2, 10)), std::chrono::seconds{5});
}

}  // namespace

WorkerSupervisor::WorkerSupervisor(SupervisorOptions options)
    : options_{std::move(options)}, wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (!wake_) throw_errno(Errc::no_device, "supervising a DPU worker");
  const auto start = Clock::now();
  link_ = std::make_unique<WorkerLink>(options_.link);
  if (options_.check) options_.check(*link_);
  restart_ = options_.link;
  restart_.start_time =
      std::min(options_.link.start_time,
               std::max<Clock::duration>(std::chrono::seconds{2}, 5 * (Clock::now() - start)));
  generation_ = 1;
  stats_ = {.state = DpuWorkerState::serving,
            .pid = link_->pid(),
            .serving_since = Clock::now(),
            .backend = link_->backend()};
  thread_ = std::thread{[this] { watch(); }};
}

WorkerSupervisor::~WorkerSupervisor() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  changed_.notify_all();
  wake();
  thread_.join();
}

void WorkerSupervisor::wake() noexcept {
  const std::uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

WorkerSupervisor::Use WorkerSupervisor::use() {
  Use use{.lock = std::unique_lock{link_mutex_}};
  use.generation = generation_;
  used_ = Clock::now();
  use.link = link_.get();
  if (use.link) {
    const std::lock_guard lock{mutex_};
    if (lost_) use.link = nullptr;  // buried in a moment
  }
  if (!use.link) use.lock.unlock();
  return use;
}

void WorkerSupervisor::lost(std::uint64_t generation, Loss loss, std::string why) {
  {
    const std::lock_guard lock{mutex_};
    if (lost_ || stats_.state != DpuWorkerState::serving || generation != generation_) return;
    lost_ = true;
    loss_ = loss;
    why_ = std::move(why);
  }
  wake();
}

void WorkerSupervisor::reset() {
  const std::lock_guard lock{mutex_};
  restarts_.clear();
  failures_ = 0;
  if (stats_.state == DpuWorkerState::exhausted) stats_.state = DpuWorkerState::recovering;
  changed_.notify_all();
}

DpuWorkerStats WorkerSupervisor::stats() const {
  const std::lock_guard lock{mutex_};
  DpuWorkerStats stats = stats_;
  if (lost_) stats.state = DpuWorkerState::recovering;  // about to be
  return stats;
}

/// Into the statistics, and to the application's log without our lock: its handler may ask for the
/// statistics.
void WorkerSupervisor::note(std::unique_lock<std::mutex>& lock, const std::string& why, LogLevel level) {
  stats_.last_error = why;
  lock.unlock();
  log(level, options_.name + ": " + why);
  lock.lock();
}

void WorkerSupervisor::watch() {
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    switch (stats_.state) {
      case DpuWorkerState::serving:
        if (lost_ || !watch_healthy(lock)) bury(lock);
        break;
      case DpuWorkerState::recovering:
        restart(lock);
        break;
      default:
        changed_.wait(lock);
    }
  }
}

/// Waits until something happens to a healthy worker: it goes, it is reported lost, or it has been idle and
/// should say that it lives. False when it is lost; `loss_` and `why_` say how.
bool WorkerSupervisor::watch_healthy(std::unique_lock<std::mutex>& lock) {
  const int socket = link_->socket();  // only this thread replaces the link
  lock.unlock();
  std::array<pollfd, 2> p{pollfd{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                          pollfd{.fd = socket, .events = POLLRDHUP, .revents = 0}};
  const int n = poll(p.data(), p.size(), poll_ms(Clock::now() + options_.heartbeat));
  std::uint64_t count = 0;
  if (p[0].revents != 0) (void)!read(wake_.get(), &count, sizeof count);
  bool silent = false;
  if (n == 0) {
    const std::unique_lock use{link_mutex_, std::try_to_lock};
    silent = use.owns_lock() && Clock::now() - used_ >= options_.heartbeat &&
             !link_->ping(Clock::now() + options_.deadline);
  }
  lock.lock();
  if (n > 0 && p[1].revents != 0 && !lost_) {
    lost_ = true;
    loss_ = Loss::death;
    why_.clear();
  } else if (silent && !lost_) {
    lost_ = true;
    loss_ = Loss::timeout;
    why_ = "did not answer while idle";
  }
  return !lost_;
}

/// Ends the lost worker and says how it was lost.
void WorkerSupervisor::bury(std::unique_lock<std::mutex>& lock) {
  std::string why = why_;
  const Loss loss = loss_;
  stats_.state = DpuWorkerState::recovering;
  lock.unlock();
  std::unique_ptr<WorkerLink> old;
  {
    const std::lock_guard use{link_mutex_};
    old = std::move(link_);
  }
  const std::string trouble = old->trouble();
  why = why.empty() ? trouble : why + "; " + trouble;
  old.reset();
  lock.lock();
  lost_ = false;
  stats_.pid = 0;
  if (worked_.exchange(0) >= healthy_batches) failures_ = 0;
  (loss == Loss::timeout ? stats_.timeouts : loss == Loss::garbage ? stats_.garbage : stats_.deaths) += 1;
  note(lock, "the DPU worker was lost: " + why, LogLevel::warning);
}

void WorkerSupervisor::restart(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  while (!restarts_.empty() && now - restarts_.front() > options_.window) restarts_.pop_front();
  if (static_cast<int>(restarts_.size()) >= options_.restarts) {
    stats_.state = DpuWorkerState::exhausted;
    note(lock,
         fmt::format("the DPU worker was restarted {} times in {:.0f} s and is given up until "
                     "reset_worker(); last: {}",
                     restarts_.size(), std::chrono::duration<double>(options_.window).count(),
                     stats_.last_error),
         LogLevel::error);
    return;
  }
  if (const auto pause = pause_before(++failures_); pause > Clock::duration{}) {
    changed_.wait_for(lock, pause, [&] { return stopping_; });
    if (stopping_) return;
  }
  restarts_.push_back(Clock::now());
  ++stats_.restarts;
  lock.unlock();
  std::unique_ptr<WorkerLink> fresh;
  std::string why;
  try {
    fresh = std::make_unique<WorkerLink>(restart_);
    if (options_.check) options_.check(*fresh);
  } catch (const std::exception& e) {
    fresh.reset();
    why = e.what();
  }
  if (fresh) {
    const std::lock_guard use{link_mutex_};
    lock.lock();
    link_ = std::move(fresh);
    ++generation_;
    used_ = Clock::now();
  } else {
    lock.lock();
  }
  if (!why.empty()) return note(lock, "the DPU worker could not be restarted: " + why, LogLevel::warning);
  stats_.state = DpuWorkerState::serving;
  stats_.pid = link_->pid();
  stats_.serving_since = Clock::now();
  lock.unlock();
  log(LogLevel::info, options_.name + ": the DPU worker is back");
  lock.lock();
}

}  // namespace splitcnn::inline v0::dpu
