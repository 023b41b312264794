#include "peer_process.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <stdexcept>

extern char** environ;

namespace bench {

PeerProcess::PeerProcess(const std::vector<std::string>& argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a child that is gone shows in receive()
  std::array<int, 2> in{}, out{};
  if (pipe(in.data()) != 0 || pipe(out.data()) != 0) throw std::runtime_error{"no pipe"};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  for (const int fd : {in[0], in[1], out[0], out[1]}) posix_spawn_file_actions_addclose(&actions, fd);
  std::vector<char*> arguments;
  for (const std::string& a : argv) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  const int failed = posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  to_ = fdopen(in[1], "w");
  from_ = fdopen(out[0], "r");
  if (failed != 0) {
    pid_ = -1;
    std::fclose(to_);
    std::fclose(from_);
    throw std::runtime_error{argv[0] + " cannot be started"};
  }
}

PeerProcess::~PeerProcess() {
  if (pid_ < 0) return;
  send("quit");
  std::fclose(to_);
  std::fclose(from_);
  int status = 0;
  waitpid(pid_, &status, 0);
}

void PeerProcess::send(const std::string& line) {
  std::fprintf(to_, "%s\n", line.c_str());
  std::fflush(to_);
}

nlohmann::json PeerProcess::receive() {
  std::string line;
  for (int c = std::fgetc(from_); c != EOF && c != '\n'; c = std::fgetc(from_)) line += static_cast<char>(c);
  nlohmann::json value = nlohmann::json::parse(line, nullptr, false);
  if (!value.is_object()) return {{"missing", line.empty() ? "the peer ended without an answer" : "the peer said: " + line}};
  return value;
}

}  // namespace bench
