#include "dpu/soft/executor.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <new>
#include <variant>

#include "core/openmp.hpp"
#include "dpu/soft/onednn_kernels.hpp"
#include "dpu/soft/program.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "dpu/soft/self_test.hpp"

namespace splitcnn::inline v0 {

namespace {

using namespace soft;

/// Memory aligned for any vector unit.
struct Block {
  explicit Block(std::size_t bytes) : data{static_cast<std::byte*>(::operator new(bytes + 64, std::align_val_t{64}))} {
    std::memset(data, 0, bytes + 64);
  }
  ~Block() { ::operator delete(data, std::align_val_t{64}); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  std::byte* data;
};

using ConvKernel = std::variant<std::monostate, PlainConv, OneDnnConv>;  // monostate: scalar, straight from the instruction

ConvKernel load(const ConvSpec& spec) {
  const ConvForm form = plan_conv(spec, onednn_trust());
  if (form != ConvForm::plain) {
    try {
      return ConvKernel{std::in_place_type<OneDnnConv>, spec, form};
    } catch (const dnnl::error&) {
      // No fast implementation of this shape: ours is slower than oneDNN's fast ones, faster than its reference.
    }
  }
  return ConvKernel{std::in_place_type<PlainConv>, spec};
}

}  // namespace

struct DpuExecutor::Impl {
  Program program;
  DpuExecutorOptions options;
  std::vector<ConvKernel> kernels;  // one per instruction; monostate where it is no convolution
  std::vector<TensorId> input_ids, output_ids;
  std::unique_ptr<Block> block, scratch;

  Impl(const QuantizedGraph& quant, NodeId first, NodeId last, const DpuExecutorOptions& o)
      : program{compile(quant, first, last)}, options{o}, kernels(program.instructions.size()) {
    const OmpThreads threads{options.threads};
    std::size_t scratch_bytes = 0;
    for (std::size_t i = 0; i < kernels.size() && !options.scalar; ++i) {
      auto* conv = std::get_if<ConvSpec>(&program.instructions[i].work);
      if (!conv) continue;
      kernels[i] = load(*conv);
      if (const auto* k = std::get_if<OneDnnConv>(&kernels[i])) scratch_bytes = std::max(scratch_bytes, k->scratch_bytes());
      conv->weights = {};  // the kernel has its own copy
    }
    for (const Edge& e : program.inputs) input_ids.push_back(e.tensor);
    for (const Edge& e : program.outputs) output_ids.push_back(e.tensor);
    block = std::make_unique<Block>(program.bytes);
    scratch = std::make_unique<Block>(scratch_bytes);
  }

  std::int8_t* at(std::size_t buffer) const { return reinterpret_cast<std::int8_t*>(block->data + program.buffers[buffer].offset); }

  void run_conv(const ConvSpec& spec, ConvKernel& kernel, const std::int8_t* in, std::int8_t* out) {
    if (auto* k = std::get_if<OneDnnConv>(&kernel)) return k->run(in, out, scratch->data);
    if (auto* k = std::get_if<PlainConv>(&kernel)) return k->run(in, out);
    scalar_conv(spec, in, out);
  }

  void step(std::size_t i) {
    const Instruction& op = program.instructions[i];
    const std::int8_t* in = at(op.inputs[0]);
    std::int8_t* out = at(op.output);
    const bool scalar = options.scalar;
    if (const auto* conv = std::get_if<ConvSpec>(&op.work)) {
      run_conv(*conv, kernels[i], in, out);
    } else if (const auto* sum = std::get_if<Add>(&op.work)) {
      (scalar ? scalar_add : plain_add)(*sum, in, at(op.inputs[1]), out);
    } else if (const auto* product = std::get_if<Mul>(&op.work)) {
      (scalar ? scalar_mul : plain_mul)(*product, in, at(op.inputs[1]), out);
    } else if (const auto* pool = std::get_if<PoolSpec>(&op.work)) {
      (scalar ? scalar_pool : plain_pool)(*pool, in, out);
    } else if (const auto* move = std::get_if<MoveSpec>(&op.work)) {
      (scalar ? scalar_move : plain_move)(*move, in, out);
    }
  }
};

DpuExecutor::DpuExecutor(const QuantizedGraph& quant, NodeId first, NodeId last, const DpuExecutorOptions& options)
    : impl_{std::make_unique<Impl>(quant, first, last, options)} {}
DpuExecutor::DpuExecutor(DpuExecutor&&) noexcept = default;
DpuExecutor& DpuExecutor::operator=(DpuExecutor&&) noexcept = default;
DpuExecutor::~DpuExecutor() = default;

std::span<const TensorId> DpuExecutor::input_ids() const noexcept { return impl_->input_ids; }
std::span<const TensorId> DpuExecutor::output_ids() const noexcept { return impl_->output_ids; }

std::span<std::int8_t> DpuExecutor::input(std::size_t i) noexcept {
  const std::size_t b = impl_->program.inputs[i].buffer;
  return {impl_->at(b), impl_->program.buffers[b].bytes};
}
std::span<const std::int8_t> DpuExecutor::output(std::size_t i) const noexcept {
  const std::size_t b = impl_->program.outputs[i].buffer;
  return {impl_->at(b), impl_->program.buffers[b].bytes};
}
int DpuExecutor::input_fix_point(std::size_t i) const noexcept { return impl_->program.buffers[impl_->program.inputs[i].buffer].fix_point; }
int DpuExecutor::output_fix_point(std::size_t i) const noexcept { return impl_->program.buffers[impl_->program.outputs[i].buffer].fix_point; }

void DpuExecutor::run() {
  const OmpThreads threads{impl_->options.threads};
  for (std::size_t i = 0; i < impl_->kernels.size(); ++i) impl_->step(i);
}

std::vector<std::string> DpuExecutor::describe() const {
  static constexpr const char* kinds[] = {"conv", "add", "mul", "pool", "move"};
  static constexpr const char* forms[] = {"scalar", "plain", "onednn"};
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < impl_->kernels.size(); ++i) {
    const Instruction& op = impl_->program.instructions[i];
    const bool conv = op.work.index() == 0;
    const char* kernel = conv ? forms[impl_->kernels[i].index()] : forms[impl_->options.scalar ? 0 : 1];
    lines.push_back(fmt::format("{}: {} {}", op.name, kinds[op.work.index()], kernel));
  }
  return lines;
}

}  // namespace splitcnn::inline v0
