// splitcnn-dpu-worker: runs DPU models for an application, in a process of its own.
//
//     splitcnn-dpu-worker --listen :7700 --key FILE [--models DIR] [--user NAME]     on a board, for
//     tcp://board:7700 splitcnn-dpu-worker --inspect FILE.xmodel                                      what is
//     in it, as JSON splitcnn-dpu-worker --write-xmodel PROGRAM FILE.xmodel                         for
//     splitcnn export --format xmodel splitcnn-dpu-worker --fd 3 as the library starts it (dpu:0=local)
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "dpu/protocol/stream.hpp"
#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_json.hpp"
#include "dpu/vart/xmodel_program.hpp"
#include "dpu/worker/listener.hpp"
#include "dpu/worker/sandbox.hpp"

namespace {

using namespace splitcnn;
using namespace splitcnn::dpu;

constexpr const char* usage =
    "usage: splitcnn-dpu-worker --listen [HOST]:PORT (--key FILE | --insecure) [--models DIR] [--user NAME]\n"
    "       splitcnn-dpu-worker --inspect FILE.xmodel\n"
    "       splitcnn-dpu-worker --version\n";

struct Options {
  std::string listen, key, models, user, inspect, program, xmodel;
  int fd = -1;
  bool insecure = false, version = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&](std::string& into) { return ++i < argc && (into = argv[i], true); };
    std::string text;
    if (name == "--listen"    ? value(options.listen)
        : name == "--key"     ? value(options.key)
        : name == "--models"  ? value(options.models)
        : name == "--user"    ? value(options.user)
        : name == "--inspect" ? value(options.inspect)
                              : false)
      continue;
    if (name == "--write-xmodel" && value(options.program) && value(options.xmodel)) continue;
    if (name == "--fd" && value(text))
      options.fd = std::atoi(text.c_str());
    else if (name == "--insecure")
      options.insecure = true;
    else if (name == "--version")
      options.version = true;
    else
      return false;
  }
  return options.version || options.fd >= 0 || !options.inspect.empty() || !options.xmodel.empty() ||
         (!options.listen.empty() && (options.insecure || !options.key.empty()));
}

/// The application gave us one socket and nothing else.
void serve_application(int fd) {
  if (fd != 3) dup2(fd, 3);
  close_descriptors_above(3);
  drop_privileges({});
  end_with(3);
  serve(3, {});
}

void serve_network(const Options& options) {
  ListenOptions listening{.address = options.listen, .announce = true};
  if (!options.key.empty()) listening.session.key = read_key(options.key);
  listening.session.models = options.models;
  drop_privileges(options.user);
  dpu::listen(listening);
}

void convert(const Options& options) {
  std::ifstream in{options.program, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  if (!in && bytes.empty()) throw Error{Errc::io, "'" + options.program + "': cannot be read"};
  write_xmodel(decode_program(std::as_bytes(std::span{bytes.data(), bytes.size()})), options.xmodel);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(usage, stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  try {
    if (options.version)
      std::printf("splitcnn-dpu-worker, protocol %u, %s\n", protocol_version,
                  runner_backend().empty() ? "no VART" : runner_backend().c_str());
    else if (!options.inspect.empty())
      std::printf("%s\n", inspect_json(options.inspect).c_str());
    else if (!options.xmodel.empty())
      convert(options);
    else if (options.fd >= 0)
      serve_application(options.fd);
    else
      serve_network(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "splitcnn-dpu-worker: %s\n", e.what());
    return 1;
  }
}
