// What does it cost to have the DPU's runtime in another process? JSON lines:
//   isolation         one batch of 6 frames of 224x224x3 in process, and through shared memory, alternating:
//   median and p99 of each, and the
//                     overhead (of the medians)
//   stream            bytes per second of batches over loopback TCP, beside raw sockets that move the same
//   messages
//
//     isolation_bench [batches]
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "dpu/remote/link.hpp"
#include "dpu/vart/runner.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;

namespace {

constexpr std::size_t frames = 6;

double microseconds(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "isolation_bench: %s\n", why.c_str());
  std::exit(1);
}

/// What a stage does around a batch, the same for both: frames are written into the runner's input, results
/// read out of its output.
struct Edges {
  std::vector<std::byte> frame = std::vector<std::byte>(std::size_t{frames} * 224 * 224 * 3, std::byte{1}),
                         result;
  void write(std::byte* to) const { std::memcpy(to, frame.data(), frame.size()); }
  void read(const std::byte* from, std::size_t bytes) {
    result.resize(bytes);
    std::memcpy(result.data(), from, bytes);
  }
};

double through_link(WorkerLink& link, Edges& edges, std::uint64_t ticket) {
  const auto start = Clock::now();
  edges.write(link.tensor(0, 0));
  Done done;
  std::string text;
  const auto deadline = start + std::chrono::seconds{5};
  if (!link.post({ticket, 0, 0, frames}, deadline) ||
      link.collect(done, text, deadline) != WorkerLink::Collected::done || done.code != Errc::ok)
    give_up("the worker failed");
  edges.read(link.tensor(0, 1), link.loaded().models[0].output_bytes() * frames);
  return microseconds(Clock::now() - start);
}

double in_process(Runner& runner, Edges& edges, std::vector<std::byte>& in, std::vector<std::byte>& out) {
  const auto start = Clock::now();
  edges.write(in.data());
  const std::array<const std::byte*, 1> inputs{in.data()};
  const std::array<std::byte*, 1> outputs{out.data()};
  if (!runner.run(frames, inputs, outputs).ok()) give_up("the runner failed");
  edges.read(out.data(), out.size());
  return microseconds(Clock::now() - start);
}

void isolation(std::size_t batches) {
  const std::string model = "128";
  const auto runner = open_runner({.file = model});
  WorkerLink link{{.program = SPLITCNN_BENCH_WORKER, .models = {{model, "run"}}}};
  Edges edges;
  std::vector<std::byte> in(runner->info().input_bytes() * frames),
      out(runner->info().output_bytes() * frames);
  std::vector<double> local, remote;
  for (std::size_t i = 0; i < batches + 20; ++i) {  // the first warm up
    const double a = in_process(*runner, edges, in, out), b = through_link(link, edges, i + 1);
    if (i < 20) continue;
    local.push_back(a);
    remote.push_back(b);
  }
  std::printf(
      "{\"bench\": \"isolation\", \"batch\": 6, \"input\": \"224x224x3\", \"runs\": %zu, \"in_process_us\": "
      "{\"median\": %.1f, \"p99\": %.1f}, "
      "\"shared_memory_us\": {\"median\": %.1f, \"p99\": %.1f}, \"overhead_us\": %.1f, \"commit\": \"%s\"}\n",
      batches, quantile(local, 0.5), quantile(local, 0.99), quantile(remote, 0.5), quantile(remote, 0.99),
      quantile(remote, 0.5) - quantile(local, 0.5), SPLITCNN_COMMIT);
}

/// A listening worker on a free port.
struct Listening {
  pid_t pid = 0;
  int port = 0;
  Listening() {
    std::array<int, 2> out{};
    if (pipe2(out.data(), O_CLOEXEC) != 0) give_up("no pipe");
    pid = fork();
    if (pid == 0) {
      dup2(out[1], 1);
      execl(SPLITCNN_BENCH_WORKER, SPLITCNN_BENCH_WORKER, "--listen", "127.0.0.1:0", "--insecure", nullptr);
      _exit(127);
    }
    close(out[1]);
    std::FILE* lines = fdopen(out[0], "r");
    if (std::fscanf(lines, "port %d", &port) != 1) give_up("the worker does not listen");
    std::fclose(lines);
  }
  ~Listening() {
    kill(pid, SIGTERM);
    waitpid(pid, nullptr, 0);
  }
};

/// Batches over TCP, two under way: bytes per second of both directions together.
double stream_rate(WorkerLink& link, std::size_t batches) {
  const ModelInfo& info = link.loaded().models[0];
  const auto start = Clock::now();
  const auto deadline = start + std::chrono::minutes{5};
  Done done;
  std::string text;
  for (std::uint64_t t = 1; t <= batches + 2; ++t) {
    if (t > 2 && (link.collect(done, text, deadline) != WorkerLink::Collected::done || done.code != Errc::ok))
      give_up("the worker failed");
    if (t <= batches && !link.post({t, 0, static_cast<std::uint32_t>(t % 2), frames}, deadline))
      give_up("the worker failed");
  }
  return static_cast<double>(batches * frames * (info.input_bytes() + info.output_bytes())) /
         (microseconds(Clock::now() - start) / 1e6);
}

/// The same bytes over plain sockets: a child reads what we send and sends the answers, with a thread for
/// each direction here.
double raw_rate(std::size_t batches, std::size_t in, std::size_t out) {
  const Fd listener = listen_tcp("127.0.0.1:0");
  const pid_t child = fork();
  if (child == 0) {
    const Fd socket =
        connect_tcp("127.0.0.1:" + std::to_string(port_of(listener)), Clock::now() + std::chrono::seconds{5});
    fcntl(socket.get(), F_SETFL, 0);
    std::vector<std::byte> buffer(in), answer(out);
    for (std::size_t b = 0; b < batches; ++b) {
      if (!read_all(socket.get(), buffer, Clock::time_point::max())) _exit(1);
      iovec part{answer.data(), answer.size()};
      if (!write_all(socket.get(), {&part, 1}, Clock::time_point::max())) _exit(1);
    }
    _exit(0);
  }
  const Fd socket{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  tune_tcp(socket);
  fcntl(socket.get(), F_SETFL, 0);
  std::vector<std::byte> buffer(in, std::byte{1}), answer(out);
  const auto start = Clock::now();
  std::thread reader{[&] {
    for (std::size_t b = 0; b < batches; ++b) (void)read_all(socket.get(), answer, Clock::time_point::max());
  }};
  for (std::size_t b = 0; b < batches; ++b) {
    iovec part{buffer.data(), buffer.size()};
    if (!write_all(socket.get(), {&part, 1}, Clock::time_point::max())) give_up("the raw socket failed");
  }
  reader.join();
  const double seconds = microseconds(Clock::now() - start) / 1e6;
  waitpid(child, nullptr, 0);
  return static_cast<double>(batches * (in + out)) / seconds;
}

void stream(std::size_t batches) {
  Listening worker;
  WorkerLink link{{.address = "tcp://127.0.0.1:" + std::to_string(worker.port), .models = {{"4", "run"}}}};
  const ModelInfo& info = link.loaded().models[0];
  std::vector<double> ours, raw, ratios;
  for (int round = 0; round < 9;
       ++round) {  // alternating, the best of each counts as well as the median of the ratios
    ours.push_back(stream_rate(link, batches));
    raw.push_back(raw_rate(batches, info.input_bytes() * frames, info.output_bytes() * frames));
    ratios.push_back(ours.back() / raw.back());
  }
  std::printf(
      "{\"bench\": \"stream\", \"batch\": 6, \"input\": \"224x224x3\", \"runs\": 9, \"batches\": %zu, "
      "\"ours_MBps\": {\"median\": %.1f, \"best\": %.1f}, "
      "\"raw_sockets_MBps\": {\"median\": %.1f, \"best\": %.1f}, \"ratio\": {\"median\": %.3f, \"of_best\": "
      "%.3f}, \"commit\": \"%s\"}\n",
      batches, quantile(ours, 0.5) / 1e6, quantile(ours, 1) / 1e6, quantile(raw, 0.5) / 1e6,
      quantile(raw, 1) / 1e6, quantile(ratios, 0.5), quantile(ours, 1) / quantile(raw, 1), SPLITCNN_COMMIT);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t batches = argc > 1 ? std::max(20ul, std::strtoul(argv[1], nullptr, 10)) : 2000;
  isolation(batches);
  stream(std::max<std::size_t>(batches / 10, 20));
}
