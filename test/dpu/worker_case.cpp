#include "dpu/worker_case.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "support/catch.hpp"

namespace splitcnn_test {

namespace sc = splitcnn;
namespace fs = std::filesystem;

namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

sc::NodeId head_of(const std::string& model) {
  std::istringstream words{first_line(model)};
  std::string network;
  unsigned first = 0, last = 0;
  words >> network >> first >> last;
  return last == 0 || network == "small"
             ? 3
             : last;  // of a nonsense model: the case is about the worker's refusal
}

sc::QuantizedGraph network_of(const std::string& model) {
  const std::string name = first_line(model).substr(0, model.find(' '));
  return double_network(name.starts_with("zoo:") ? name : "small");
}

sc::Plan plan_of(const sc::QuantizedGraph& quant, sc::NodeId at) {
  const auto last = static_cast<sc::NodeId>(quant.graph().nodes().size());
  return sc::Plan{quant.graph(),
                  quant,
                  {sc::Route{{{.device = "dpu:0", .first = 0, .last = at},
                              {.device = "cpu", .first = at, .last = last}}}}};
}

void write(const fs::path& path, const std::string& text) { std::ofstream{path, std::ios::binary} << text; }

}  // namespace

ListeningWorker::ListeningWorker(const std::string& key, const std::string& models,
                                 const std::string& program) {
  const char* path = program.empty() ? SPLITCNN_TEST_WORKER : program.c_str();
  std::array<int, 2> out{};
  if (pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
  pid_ = fork();
  if (pid_ == 0) {
    dup2(out[1], 1);
    execl(path, path, "--listen", "127.0.0.1:0", "--key", key.c_str(), "--models", models.c_str(), nullptr);
    _exit(127);
  }
  close(out[1]);
  std::FILE* lines = fdopen(out[0], "r");
  const int read = std::fscanf(lines, "port %d", &port_);
  std::fclose(lines);
  if (read != 1) throw std::runtime_error{"the worker does not say its port"};
}

ListeningWorker::~ListeningWorker() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

DpuWorkerCase::DpuWorkerCase(const std::string& model, bool tcp, bool once)
    : quant_{network_of(model)},
      plan{plan_of(quant_, head_of(model))},
      random_{seed()} {
  std::string text = model;
  if (once) {
    write(folder_ / "once", "");
    text += "\nonce " + (folder_ / "once").string();
  }
  write_model(text);
  write(folder_ / "the.key", "0123456789abcdef0123456789abcdef");
  write(other_key(), "another key of good enough length");
  if (tcp) worker_ = std::make_unique<ListeningWorker>((folder_ / "the.key").string(), folder_.path().string());
  software_ = std::make_unique<sc::DpuStage>(plan, plan.head());
}

DpuWorkerCase::~DpuWorkerCase() = default;

void DpuWorkerCase::write_model(const std::string& text) { write(folder_ / "head.model", text); }

sc::DpuStageOptions DpuWorkerCase::options() const {
  sc::DpuStageOptions options{.backend = sc::DpuBackend::vart};
  options.worker.program = SPLITCNN_TEST_WORKER;
  options.worker.xmodel = folder_ / "head.model";
  options.worker.deadline = sc::Millis{20000};  // machines that test are busy machines
  if (worker_) {
    options.worker.address = worker_->address();
    options.worker.key = folder_ / "the.key";
    options.worker.xmodel = "head.model";
  }
  return options;
}

void DpuWorkerCase::fill(std::span<const sc::TensorSpec> inputs, std::size_t frames) {
  inputs_.clear();
  outputs_.clear();
  std::normal_distribution<float> normal;
  for (std::size_t f = 0; f < frames; ++f) {
    for (const sc::TensorSpec& s : inputs) {
      inputs_.emplace_back(s);
      for (float& v : inputs_.back().as<float>()) v = normal(random_);
    }
    for (const sc::TensorSpec& s : software_->outputs()) outputs_.emplace_back(s);
  }
}

std::pair<std::vector<sc::TensorView>, std::vector<sc::TensorView>> DpuWorkerCase::views(std::size_t first,
                                                                                         std::size_t frames) {
  std::pair<std::vector<sc::TensorView>, std::vector<sc::TensorView>> result;
  for (std::size_t i = 0; i < frames * software_->inputs().size(); ++i)
    result.first.push_back(inputs_[first * software_->inputs().size() + i].view());
  for (std::size_t i = 0; i < frames * software_->outputs().size(); ++i)
    result.second.push_back(outputs_[first * software_->outputs().size() + i].view());
  return result;
}

sc::Status DpuWorkerCase::run(sc::DpuStage& stage, std::size_t frames) {
  auto [in, out] = views(0, frames);
  const sc::Ticket ticket = stage.submit({.frames = frames, .inputs = in, .outputs = out});
  return stage.wait(ticket, sc::Clock::time_point::max());
}

bool DpuWorkerCase::equal_to_software(std::size_t frames) {
  std::vector<sc::Tensor> got = outputs_;
  auto [in, out] = views(0, frames);
  for (std::size_t f = 0; f < frames; ++f) {
    const std::size_t ins = software_->inputs().size(), outs = software_->outputs().size();
    const sc::Ticket t =
        software_->submit({1, std::span{in}.subspan(f * ins, ins), std::span{out}.subspan(f * outs, outs)});
    if (!software_->wait(t, sc::Clock::time_point::max()).ok()) return false;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!std::equal(got[i].bytes().begin(), got[i].bytes().end(), outputs_[i].bytes().begin())) return false;
  }
  return true;
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator{"/proc/self/fd"}, fs::directory_iterator{}));
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  for (const auto& task : fs::directory_iterator{"/proc/self/task"}) {
    std::ifstream list{task.path() / "children"};
    for (pid_t pid = 0; list >> pid;) found.push_back(pid);
  }
  return found;
}

}  // namespace splitcnn_test
