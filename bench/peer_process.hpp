#pragma once
/// The peer of a bench in a process of its own: a child on two pipes, one line in, one JSON line out. The child inherits the pinned
/// core and works only while it is asked to, so the two sides can alternate.
#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bench {

class PeerProcess {
 public:
  /// Starts argv[0] (looked up in PATH). Throws std::runtime_error when there is no process to be had.
  explicit PeerProcess(const std::vector<std::string>& argv);
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess();

  void send(const std::string& line);
  /// The child's next line. {"missing": ...} when the child is gone or wrote something else.
  nlohmann::json receive();

 private:
  pid_t pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace bench
