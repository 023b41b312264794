#include "dpu/remote/process.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

extern char** environ;

namespace splitcnn::inline v0::dpu {

namespace {

namespace fs = std::filesystem;

constexpr const char* program_name = "splitcnn-dpu-worker";

/// posix_spawn's two objects, destroyed whatever happens.
struct SpawnSetup {
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::string describe(int status) {
  if (WIFSIGNALED(status))
    return "was ended by signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) +
           ')';
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

bool executable(const fs::path& path) {
  return !path.empty() && access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path);
}

}  // namespace

WorkerProcess::WorkerProcess(const fs::path& program, const Fd& socket) {
  SpawnSetup setup;
  posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&setup.actions, STDERR_FILENO, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&setup.actions, socket.get(), 3);
  // A group of its own: Ctrl-C is the application's to handle. Default signals and an empty mask, whatever
  // our thread has.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&setup.attributes, &none);
  posix_spawnattr_setsigdefault(&setup.attributes, &all);
  posix_spawnattr_setpgroup(&setup.attributes, 0);
  posix_spawnattr_setflags(&setup.attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string path = program.string(), flag = "--fd", three = "3";
  const std::array<char*, 4> arguments{path.data(), flag.data(), three.data(), nullptr};
  const int error =
      posix_spawn(&pid_, path.c_str(), &setup.actions, &setup.attributes, arguments.data(), environ);
  if (error != 0) {
    pid_ = 0;
    throw Error{Errc::no_device, "DPU worker '" + path + "': cannot be started: " + std::strerror(error)};
  }
}

WorkerProcess::~WorkerProcess() { (void)end(); }

std::string WorkerProcess::end() {
  if (pid_ <= 0) return "was not started here";
  const pid_t pid = std::exchange(pid_, 0);
  int status = 0;
  // One that has just closed its socket is about to end by itself, and how it does is worth knowing.
  for (int i = 0; i < 10; ++i) {
    const pid_t done = waitpid(pid, &status, WNOHANG);
    if (done == pid) return describe(status);
    if (done < 0) return "is gone";  // the application reaps its children itself
    siginfo_t stopped{};
    if (waitid(P_PID, static_cast<id_t>(pid), &stopped, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
        stopped.si_pid == pid)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  kill(pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return "did not answer and was killed";
}

fs::path find_worker(const fs::path& asked) {
  if (!asked.empty()) {
    if (executable(asked)) return asked;
    throw Error{Errc::no_device, "DPU worker '" + asked.string() + "': is not an executable file"};
  }
  if (const char* path = std::getenv("SPLITCNN_DPU_WORKER")) {
    if (executable(path)) return path;
    throw Error{Errc::no_device, std::string{"SPLITCNN_DPU_WORKER="} + path + ": is not an executable file"};
  }
  std::vector<fs::path> places;
  std::error_code error;
  places.push_back(fs::read_symlink("/proc/self/exe", error).parent_path());
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&find_worker), &self) != 0 && self.dli_fname)
    places.push_back(fs::absolute(self.dli_fname, error).parent_path() / "../bin");
  if (const char* path = std::getenv("PATH")) {
    const std::string list = path;
    for (std::size_t begin = 0; begin <= list.size();) {
      const std::size_t end = std::min(list.find(':', begin), list.size());
      places.emplace_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  for (const fs::path& place : places) {
    if (executable(place / program_name)) return place / program_name;
  }
  throw Error{Errc::no_device, std::string{program_name} +
                                   ": is not beside this program, not in ../bin of the library and not on "
                                   "the PATH; install it or set SPLITCNN_DPU_WORKER"};
}

CommandResult run_command(const std::vector<std::string>& words) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno(Errc::no_device, words[0]);
  const Fd read_end{ends[0]};
  Fd write_end{ends[1]};
  SpawnSetup setup;
  posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&setup.actions, write_end.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&setup.actions, write_end.get(), STDERR_FILENO);
  std::vector<std::string> copies = words;
  std::vector<char*> arguments;
  for (std::string& word : copies) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, words[0].c_str(), &setup.actions, nullptr, arguments.data(), environ);
  if (error != 0)
    throw Error{Errc::no_device, "'" + words[0] + "': cannot be started: " + std::strerror(error)};
  write_end.reset();
  CommandResult result;
  constexpr std::size_t most = 2000;
  std::array<char, 512> bytes{};
  for (ssize_t n = 0; (n = read(read_end.get(), bytes.data(), bytes.size())) != 0;) {
    if (n < 0 && errno != EINTR) break;
    result.errors.append(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (result.errors.size() > most) result.errors.erase(0, result.errors.size() - most);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  result.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  result.how = describe(status);
  while (!result.errors.empty() && result.errors.back() == '\n') result.errors.pop_back();
  return result;
}

}  // namespace splitcnn::inline v0::dpu
