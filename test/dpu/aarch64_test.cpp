// The worker as it is built for a board: alone, cross-compiled for aarch64, and served from there (under
// qemu) to this machine, over both transports. Its runner is that of isolation_bench.
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "dpu/remote/link.hpp"
#include "dpu/worker_case.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;
namespace fs = std::filesystem;

namespace {

/// Batches of the bench's runner: every output byte is the sum of the input's 64-bit words, modulo 256.
void run_batches(WorkerLink& link) {
  const ModelInfo& info = link.loaded().models[0];
  Done done;
  std::string text;
  for (std::uint64_t t = 1; t <= 12; ++t) {
    const auto slot = static_cast<std::uint32_t>(t % link.slots()),
               frames = static_cast<std::uint32_t>(1 + t % 6);
    std::uint64_t sum = 0;
    const std::span in{link.tensor(slot, 0), info.inputs[0].bytes() * frames};
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = static_cast<std::byte>(i * t % 251);
      sum += std::to_integer<std::uint64_t>(in[i]) << (8 * (i % 8));
    }
    REQUIRE(link.post({t, 0, slot, frames}, Clock::now() + std::chrono::seconds{20}));
    REQUIRE(link.collect(done, text, Clock::now() + std::chrono::seconds{20}) == WorkerLink::Collected::done);
    CHECK((done.ticket == t && done.code == Errc::ok));
    const std::span out{link.tensor(slot, 1), info.outputs[0].bytes() * frames};
    CHECK(std::all_of(out.begin(), out.end(),
                      [&](std::byte b) { return b == static_cast<std::byte>(sum & 0xff); }));
  }
  CHECK(link.ping(Clock::now() + std::chrono::seconds{20}));
}

}  // namespace

TEST_CASE("a worker built for aarch64 serves this machine, under qemu", "[dpu][long]") {
  const std::string compiler = SPLITCNN_AARCH64_COMPILER, qemu = SPLITCNN_AARCH64_QEMU,
                    build = SPLITCNN_AARCH64_BUILD;
  if (compiler.find("NOTFOUND") != std::string::npos || qemu.find("NOTFOUND") != std::string::npos) {
    SPLITCNN_SKIP("aarch64", "aarch64-linux-gnu-g++ or qemu-aarch64-static is not installed");
  }
  const auto configured = run_command(
      {SPLITCNN_CMAKE, "-S", SPLITCNN_WORKER_SOURCE, "-B", build, "-G", "Ninja", "-DCMAKE_SYSTEM_NAME=Linux",
       "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_CXX_COMPILER=" + compiler,
       "-DCMAKE_BUILD_TYPE=MinSizeRel", std::string{"-DSPLITCNN_WORKER_RUNNER="} + SPLITCNN_BENCH_RUNNER});
  INFO(configured.errors);
  REQUIRE(configured.ok);
  const auto built = run_command({SPLITCNN_CMAKE, "--build", build});
  INFO(built.errors);
  REQUIRE(built.ok);
  const fs::path script = fs::path{build} / "under_qemu";
  std::ofstream{script} << "#!/bin/sh\nexec " << qemu << " -L /usr/aarch64-linux-gnu " << build
                        << "/splitcnn-dpu-worker \"$@\"\n";
  chmod(script.c_str(), 0755);

  WorkerLink local{{.program = script, .models = {{"4", "run"}}}};
  run_batches(local);
  const std::string key = (fs::path{build} / "key").string();
  std::ofstream{key} << "0123456789abcdef0123456789abcdef";
  std::ofstream{fs::path{build} / "4"} << "";  // the runner takes its model's name for a number
  const splitcnn_test::ListeningWorker listening{key, "", script.string()};
  WorkerLink remote{{.address = listening.address(), .key = read_key(key), .models = {{"4", "run"}}}};
  run_batches(remote);
}
