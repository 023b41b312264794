#pragma once
/// What runs a DPU subgraph. One file implements it, chosen in CMake: runner_vart.cpp (the only one that sees
/// VART and XIR), runner_absent.cpp (says that VART is not there), or the tests' double (the software DPU,
/// with faults on schedule).
///
///     auto runner = open_runner({.file = "head.xmodel", .mode = "run"});
///     runner->run(6, inputs, outputs);      // one pointer per tensor, frames behind one another
///
/// Whatever would make VART end the process is looked for first and thrown as an Error. What it does later (a
/// DPU timeout) it does to this process: that is why it runs in one of its own.
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dpu/protocol/messages.hpp"

namespace splitcnn::inline v0::dpu {

class Runner {
 public:
  virtual ~Runner() = default;
  [[nodiscard]] virtual const ModelInfo& info() const noexcept = 0;
  /// Runs 1 to info().batch frames. Pointers: one per tensor, in the order of info(), aligned to 64 bytes;
  /// frames follow one another.
  virtual Status run(std::size_t frames, std::span<const std::byte* const> inputs,
                     std::span<std::byte* const> outputs) = 0;
};

/// Throws io (no such file), bad_model (damaged), unsupported (mode, library, stripped weights), mismatch
/// (fingerprint, subgraph).
std::unique_ptr<Runner> open_runner(const ModelRequest& request);

/// "vart 3.5.0"; empty when nothing can run here.
std::string runner_backend();

/// What a file holds, without opening a runner.
struct SubgraphInfo {
  std::string name, device, dpu_name, fingerprint;
  std::map<std::string, std::string> runners;  ///< mode to library
  std::uint64_t workload = 0;  ///< operations, 2 per multiply-add; 0 when the file does not say
  bool weights = true;         ///< constants are there; mode "ref" needs them
  std::vector<TensorSpec> inputs,
      outputs;  ///< as in the file: a compiled model says batch 1 and the runner decides
};
/// In an order in which they can run; needs no VART (xmodel_checks.cpp). Throws io, bad_model.
std::vector<SubgraphInfo> inspect_model(const std::string& file);

}  // namespace splitcnn::inline v0::dpu
