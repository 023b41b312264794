#pragma once
/// A worker process of this machine: started with one socket, killed and reaped by us.
#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "dpu/protocol/fd.hpp"

namespace splitcnn::inline v0::dpu {

class WorkerProcess {
 public:
  WorkerProcess() = default;
  /// Starts `program` with `socket` as its descriptor 3. Throws no_device.
  WorkerProcess(const std::filesystem::path& program, const Fd& socket);
  WorkerProcess(WorkerProcess&& other) noexcept : pid_{std::exchange(other.pid_, 0)} {}
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  ~WorkerProcess();  ///< kills and reaps

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// SIGKILL (a stopped process dies of it, too), reaps, and says how it had ended: "was killed by signal 6
  /// (Aborted)"; "did not answer" when it was still running.
  std::string end();

 private:
  pid_t pid_ = 0;
};

/// `asked` when given; else $SPLITCNN_DPU_WORKER; else splitcnn-dpu-worker beside this program, in ../bin of
/// the library, or on the PATH. Throws no_device naming the places.
std::filesystem::path find_worker(const std::filesystem::path& asked);

struct CommandResult {
  bool ok = false;
  std::string how;     ///< "ended with exit status 1"
  std::string errors;  ///< the last of what it said on standard error
};
/// Runs a program to its end. Throws no_device when it cannot be started.
CommandResult run_command(const std::vector<std::string>& words);

}  // namespace splitcnn::inline v0::dpu
