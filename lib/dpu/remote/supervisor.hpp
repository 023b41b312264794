#pragma once
/// Keeps a worker alive: notices its death, hang or garbage, ends it, starts another with growing pauses
/// inside a budget, and hands it out only after it has passed a check (the golden frame).
///
///     WorkerSupervisor supervisor{options};                 // throws what the first start throws
///     { auto use = supervisor.use(); if (use.link) use.link->post(...); }
///     supervisor.lost(generation, Loss::timeout, "no answer in 100 ms");
///
/// use(), lost() and the link: the stage's thread. The others from any thread.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "dpu/remote/link.hpp"
#include "splitcnn/dpu_stage.hpp"

namespace splitcnn::inline v0::dpu {

enum class Loss : std::uint8_t { death, timeout, garbage };

struct SupervisorOptions {
  std::string name;  ///< of the stage, for messages
  LinkOptions link{};
  Clock::duration deadline{};                                  ///< for an answer to a ping
  Clock::duration heartbeat = std::chrono::milliseconds{500};  ///< an idle worker is asked this often
  int restarts = 5;                                            ///< within `window`
  Clock::duration window = std::chrono::seconds{60};
  std::function<void(WorkerLink&)> check{};  ///< throws when the worker does not compute what it should
};

class WorkerSupervisor {
 public:
  explicit WorkerSupervisor(SupervisorOptions options);
  WorkerSupervisor(const WorkerSupervisor&) = delete;
  WorkerSupervisor& operator=(const WorkerSupervisor&) = delete;
  ~WorkerSupervisor();

  /// The link while there is a healthy one, held until the end of the scope.
  struct Use {
    std::unique_lock<std::mutex> lock;
    WorkerLink* link = nullptr;
    std::uint64_t generation = 0;  ///< grows with every new worker: batches of an older one are lost
  };
  Use use();
  /// A batch came back: a worker that does some is no hopeless case, and its next death starts a new row.
  void worked() noexcept { ++worked_; }
  /// What use() handed out does not work any more; one of an older generation has been replaced already. Not
  /// while a Use is held.
  void lost(std::uint64_t generation, Loss loss, std::string why);
  /// The budget is whole again and a restart is tried at once.
  void reset();
  [[nodiscard]] DpuWorkerStats stats() const;

 private:
  void watch();
  bool watch_healthy(std::unique_lock<std::mutex>& lock);
  void bury(std::unique_lock<std::mutex>& lock);
  void restart(std::unique_lock<std::mutex>& lock);
  void wake() noexcept;
  void note(std::unique_lock<std::mutex>& lock, const std::string& why, LogLevel level);

  const SupervisorOptions options_;
  LinkOptions
      restart_{};  ///< with less patience than the first start: the destructor may have to wait for one
  Fd wake_;
  mutable std::mutex link_mutex_;  ///< the link and its use
  std::unique_ptr<WorkerLink> link_;
  std::uint64_t generation_ = 0;  ///< written under both locks
  Clock::time_point used_{};      ///< last use, for the heartbeat

  mutable std::mutex mutex_;  ///< everything below; never held while waiting for a worker
  std::condition_variable changed_;
  DpuWorkerStats stats_;
  bool lost_ = false, stopping_ = false;
  Loss loss_ = Loss::death;
  std::string why_;
  std::deque<Clock::time_point> restarts_;
  int failures_ = 0;            ///< in a row
  std::atomic<int> worked_{0};  ///< batches of this worker
  std::thread thread_;
};

}  // namespace splitcnn::inline v0::dpu
