// The runner of isolation_bench: touches every input byte once and writes every output byte, so that what is
// measured is the way there and back. Linked into the bench (in process) and into a worker of its own.
#include <cstring>

#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_program.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

/// "CHANNELS" of the 28x28 output, as the name of the model.
class BenchRunner final : public Runner {
 public:
  explicit BenchRunner(std::int64_t channels) {
    info_ = {.name = "bench", .batch = 6};
    info_.inputs = {{.name = "x", .shape = {1, 224, 224, 3}, .dtype = DType::i8}};
    info_.outputs = {{.name = "y", .shape = {1, 28, 28, channels}, .dtype = DType::i8}};
  }
  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }

  Status run(std::size_t frames, std::span<const std::byte* const> inputs,
             std::span<std::byte* const> outputs) override {
    std::uint64_t sum = 0, word = 0;
    const std::size_t in = info_.inputs[0].bytes() * frames;
    for (std::size_t i = 0; i + sizeof word <= in; i += sizeof word) {
      std::memcpy(&word, inputs[0] + i, sizeof word);
      sum += word;
    }
    std::memset(outputs[0], static_cast<int>(sum & 0xff), info_.outputs[0].bytes() * frames);
    return {};
  }

 private:
  ModelInfo info_;
};

}  // namespace

std::unique_ptr<Runner> open_runner(const ModelRequest& request) {
  return std::make_unique<BenchRunner>(std::stoll(request.file));
}
std::string runner_backend() { return "bench"; }
void write_xmodel(const XmodelProgram&, const std::string&) {
  throw Error{Errc::not_built, "xmodel: no XIR here"};
}

}  // namespace splitcnn::inline v0::dpu
