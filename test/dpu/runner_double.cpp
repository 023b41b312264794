// The tests' double of VART: runs the software DPU and fails on schedule, the way VART, a board or an
// attacker would.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <thread>

#include "double_model.hpp"
#include "dpu/soft/executor.hpp"
#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_program.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

constexpr int connection = 3;  // of every worker

struct Script {
  std::string network, wrong, refuse, once;
  unsigned first = 0, last = 0, batch = 1;
  std::map<std::string, unsigned long> faults;
  int slow_start = 0, delay = 0;
  bool die_opening = false;
};

Script read_script(const std::string& path) {
  std::ifstream file{path};
  if (!file) throw Error{Errc::io, "model '" + path + "': cannot be read"};
  Script s;
  if (!(file >> s.network >> s.first >> s.last >> s.batch))
    throw Error{Errc::bad_model, "model '" + path + "': is no model of the double"};
  for (std::string word; file >> word;) {
    if (word == "once")
      file >> s.once;
    else if (word == "slow_start")
      file >> s.slow_start;
    else if (word == "delay")
      file >> s.delay;
    else if (word == "wrong")
      file >> s.wrong;
    else if (word == "refuse")
      file >> s.refuse;
    else if (word == "die_opening")
      s.die_opening = true;
    else
      file >> s.faults[word];
  }
  return s;
}

/// The mapping of the ring, found as an attacker inside the worker would.
void scribble() {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:splitcnn-dpu") == std::string::npos) continue;
    unsigned long begin = 0;
    std::sscanf(line.c_str(), "%lx", &begin);
    auto* at = reinterpret_cast<unsigned char*>(begin);
    for (std::size_t i = 0; i < 60000; ++i) at[i] = static_cast<unsigned char>(i * i >> 5);
  }
}

void happen(const std::string& fault) {
  if (fault == "abort") std::abort();
  if (fault == "kill") kill(getpid(), SIGKILL);
  if (fault == "stop") kill(getpid(), SIGSTOP);
  if (fault == "exit") _exit(3);
  if (fault == "hang") std::this_thread::sleep_for(std::chrono::hours{1});
  if (fault == "cut") shutdown(connection, SHUT_RDWR);
  if (fault == "scribble") scribble();
  if (fault == "garbage") {
    const char nonsense[] = "this is not a message of the protocol at all";
    (void)!send(connection, nonsense, sizeof nonsense, MSG_NOSIGNAL);
    std::this_thread::sleep_for(std::chrono::hours{1});
  }
}

class DoubleRunner final : public Runner {
 public:
  explicit DoubleRunner(Script script)
      : script_{std::move(script)},
        quant_{splitcnn_test::double_network(script_.network)},
        executor_{quant_, script_.first, script_.last, {.scalar = true}} {
    info_ = {
        .name = "double of " + script_.network, .fingerprint = "603000b56011861", .batch = script_.batch};
    const auto describe = [&](std::span<const TensorId> ids, const auto& fix_point) {
      std::vector<TensorSpec> specs;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const GraphTensor& t = quant_.graph().tensor(ids[i]);
        const Shape s = t.shape.rank() == 4 ? Shape{t.shape[0], t.shape[2], t.shape[3], t.shape[1]} : t.shape;
        specs.push_back({.name = t.name, .shape = s, .dtype = DType::i8, .fix_point = fix_point(i)});
      }
      return specs;
    };
    info_.inputs =
        describe(executor_.input_ids(), [&](std::size_t i) { return executor_.input_fix_point(i); });
    const int off = script_.wrong == "fix_point";
    info_.outputs =
        describe(executor_.output_ids(), [&](std::size_t i) { return executor_.output_fix_point(i) + off; });
  }

  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }

  Status run(std::size_t frames, std::span<const std::byte* const> inputs,
             std::span<std::byte* const> outputs) override {
    ++runs_;
    if (script_.delay > 0) std::this_thread::sleep_for(std::chrono::milliseconds{script_.delay});
    for (const auto& [fault, at] : script_.faults) {
      if (runs_ != at || (!script_.once.empty() && unlink(script_.once.c_str()) != 0)) continue;
      if (fault == "fail")
        return {Errc::stage_failed, "the double fails batch " + std::to_string(runs_) + ", as it was told"};
      happen(fault);
    }
    for (std::size_t f = 0; f < frames; ++f) {
      for (std::size_t i = 0; i < inputs.size(); ++i)
        std::memcpy(executor_.input(i).data(), inputs[i] + f * executor_.input(i).size(),
                    executor_.input(i).size());
      executor_.run();
      for (std::size_t i = 0; i < outputs.size(); ++i)
        copy_out(i, outputs[i] + f * executor_.output(i).size());
    }
    return {};
  }

 private:
  void copy_out(std::size_t i, std::byte* to) {
    const auto from = executor_.output(i);
    const Shape& s = info_.outputs[i].shape;
    auto* out = reinterpret_cast<std::int8_t*>(to);
    for (std::size_t n = 0; n < from.size(); ++n) {
      if (script_.wrong == "scaled")
        out[n] = static_cast<std::int8_t>(std::min(from[n] * 2, 127));
      else if (script_.wrong == "shifted")
        out[n] = from[(n + 3) % from.size()];
      else if (script_.wrong == "transposed")
        out[(n % static_cast<std::size_t>(s[3])) * static_cast<std::size_t>(s[1] * s[2]) +
            n / static_cast<std::size_t>(s[3])] = from[n];
      else if (script_.wrong == "other")
        out[n] = static_cast<std::int8_t>(n * 31);
      else
        out[n] = from[n];
    }
  }

  Script script_;
  QuantizedGraph quant_;
  DpuExecutor executor_;
  ModelInfo info_;
  unsigned long runs_ = 0;
};

}  // namespace

std::unique_ptr<Runner> open_runner(const ModelRequest& request) {
  Script script = read_script(request.file);
  if (script.slow_start > 0) std::this_thread::sleep_for(std::chrono::milliseconds{script.slow_start});
  if (script.die_opening) std::abort();
  if (!script.refuse.empty())
    throw Error{Errc::unsupported, "model '" + request.file + "': the double refuses it: " + script.refuse};
  if (request.mode != "run" && request.mode != "ref")
    throw Error{Errc::unsupported,
                "model '" + request.file + "': has no mode '" + request.mode + "'; it has run, ref"};
  return std::make_unique<DoubleRunner>(std::move(script));
}

std::string runner_backend() { return "test double"; }
void write_xmodel(const XmodelProgram&, const std::string&) {
  throw Error{Errc::not_built, "xmodel: no XIR here"};
}

}  // namespace splitcnn::inline v0::dpu
