#pragma once
/// A segment, its model file and a worker of either transport, for tests.
#include <signal.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dpu/double_model.hpp"
#include "dpu/remote/process.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "support/temporary_folder.hpp"

namespace splitcnn_test {

/// splitcnn-dpu-worker --listen on a free port of this machine, ended with the object.
class ListeningWorker {
 public:
  /// `models`: empty for any file; `program`: empty for the double.
  ListeningWorker(const std::string& key, const std::string& models, const std::string& program = {});
  ListeningWorker(const ListeningWorker&) = delete;
  ListeningWorker& operator=(const ListeningWorker&) = delete;
  ~ListeningWorker();
  [[nodiscard]] std::string address() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int port_ = 0;
};

class DpuWorkerCase {
 public:
  /// `model` as double_model.hpp says; with `once` its faults happen once.
  DpuWorkerCase(const std::string& model, bool tcp, bool once = false);
  ~DpuWorkerCase();
  DpuWorkerCase(const DpuWorkerCase&) = delete;
  DpuWorkerCase& operator=(const DpuWorkerCase&) = delete;

  [[nodiscard]] splitcnn::DpuStageOptions options() const;
  void write_model(const std::string& text);
  [[nodiscard]] std::filesystem::path other_key() const { return folder_ / "other.key"; }

  /// Random float frames of the whole network's input.
  void fill(std::span<const splitcnn::TensorSpec> inputs, std::size_t frames);
  std::pair<std::vector<splitcnn::TensorView>, std::vector<splitcnn::TensorView>> views(std::size_t first,
                                                                                        std::size_t frames);
  splitcnn::Status run(splitcnn::DpuStage& stage, std::size_t frames);
  bool equal_to_software(std::size_t frames);

 private:
  TemporaryFolder folder_;
  splitcnn::QuantizedGraph quant_;

 public:
  splitcnn::Plan plan;

 private:
  std::unique_ptr<ListeningWorker> worker_;
  std::unique_ptr<splitcnn::DpuStage> software_;
  std::vector<splitcnn::Tensor> inputs_, outputs_;
  std::mt19937_64 random_;
};

/// Descriptors open in this process, and its children.
std::size_t open_descriptors();
std::vector<pid_t> children();

}  // namespace splitcnn_test
