#include "dpu/soft/executor.hpp"

#include <fmt/core.h>

#include <dnnl.hpp>
#include <variant>

#include "core/openmp.hpp"
#include "dpu/soft/onednn_kernels.hpp"
#include "dpu/soft/program.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "dpu/soft/self_test.hpp"
#include "dpu/soft/vnni_kernels.hpp"

namespace splitcnn::inline v0 {

namespace {

using namespace soft;

/// How many kernel positions along one axis fall on real input, over all outputs.
std::int64_t real_taps(std::int64_t in, std::int64_t out, int kernel, int stride, int dilation, int before) {
  std::int64_t count = 0;
  for (std::int64_t o = 0; o < out; ++o) {
    for (int k = 0; k < kernel; ++k) {
      const std::int64_t at = o * stride - before + std::int64_t{k} * dilation;
      count += at >= 0 && at < in;
    }
  }
  return count;
}

/// Without those that padding makes zero: nobody has to do them.
std::int64_t multiplications(const ConvSpec& s) {
  const Window& w = s.window;
  return s.in.n * s.out.c * (s.in.c / s.groups) * real_taps(s.in.h, s.out.h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top) *
         real_taps(s.in.w, s.out.w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left);
}

/// Kernels may read a little further than their source.
constexpr std::size_t reads_further = 64;

/// Of the tensors and the packed weights. Winograd packs four products for three rows of weights.
std::size_t expected_bytes(const Program& program) {
  std::size_t weights = 0;
  for (const Instruction& op : program.instructions) {
    if (const auto* conv = std::get_if<ConvSpec>(&op.work)) weights += conv->weights.size();
  }
  return program.bytes + weights + weights / 3;
}

using ConvKernel = std::variant<std::monostate, PlainConv, OneDnnConv, VnniConv, VnniWinograd, VnniDepthwise>;  // monostate: scalar, straight from the instruction

ConvKernel load(const ConvSpec& spec, Arena& arena) {
  if (VnniDepthwise::fits(spec)) return ConvKernel{std::in_place_type<VnniDepthwise>, spec, arena};
  if (VnniWinograd::fits(spec) && VnniWinograd::pays(spec) && onednn_trust().winograd) return ConvKernel{std::in_place_type<VnniWinograd>, spec, arena};
  if (VnniConv::fits(spec) && VnniConv::pays(spec)) return ConvKernel{std::in_place_type<VnniConv>, spec, arena};
  const ConvForm form = plan_conv(spec, onednn_trust());
  if (form != ConvForm::plain) {
    try {
      return ConvKernel{std::in_place_type<OneDnnConv>, spec, form, arena};
    } catch (const dnnl::error&) {
      // No fast implementation of this shape: ours is slower than oneDNN's fast ones, faster than its reference.
    }
  }
  if (VnniConv::fits(spec)) return ConvKernel{std::in_place_type<VnniConv>, spec, arena};
  return ConvKernel{std::in_place_type<PlainConv>, spec};
}

}  // namespace

struct DpuExecutor::Impl {
  Program program;
  DpuExecutorOptions options;
  Arena arena;
  std::vector<ConvKernel> kernels;  // one per instruction; monostate where it is no convolution
  std::vector<std::size_t> weight_bytes;  // likewise
  std::vector<TensorId> input_ids, output_ids;
  std::byte *block = nullptr, *scratch = nullptr;

  Impl(const QuantizedGraph& quant, NodeId first, NodeId last, const DpuExecutorOptions& o)
      : program{compile(quant, first, last)}, options{o}, arena{expected_bytes(program)}, kernels(program.instructions.size()), weight_bytes(kernels.size()) {
    const OmpThreads threads{options.threads};
    block = arena.take(program.bytes + reads_further);
    std::size_t scratch_bytes = 0;
    for (std::size_t i = 0; i < kernels.size() && !options.scalar; ++i) {
      if (const auto* pool = std::get_if<PoolSpec>(&program.instructions[i].work)) {
        scratch_bytes = std::max(scratch_bytes, pool_scratch_bytes(*pool, options.threads));
      }
      auto* conv = std::get_if<ConvSpec>(&program.instructions[i].work);
      if (!conv) continue;
      weight_bytes[i] = conv->weights.size() + conv->bias.size();
      kernels[i] = load(*conv, arena);
      if (const auto* k = std::get_if<OneDnnConv>(&kernels[i])) scratch_bytes = std::max(scratch_bytes, k->scratch_bytes());
      if (const auto* k = std::get_if<VnniConv>(&kernels[i])) scratch_bytes = std::max(scratch_bytes, k->scratch_bytes());
      if (const auto* k = std::get_if<VnniWinograd>(&kernels[i])) scratch_bytes = std::max(scratch_bytes, k->scratch_bytes(options.threads));
      conv->weights = std::vector<std::int8_t>{};  // the kernel has its own copy; {} alone would keep the memory
    }
    for (const Edge& e : program.inputs) input_ids.push_back(e.tensor);
    for (const Edge& e : program.outputs) output_ids.push_back(e.tensor);
    scratch = arena.take(scratch_bytes + reads_further);
  }

  std::int8_t* at(std::size_t buffer) const { return reinterpret_cast<std::int8_t*>(block + program.buffers[buffer].offset); }

  void run_conv(const ConvSpec& spec, ConvKernel& kernel, const std::int8_t* in, std::int8_t* out) {
    if (auto* k = std::get_if<OneDnnConv>(&kernel)) return k->run(in, out, scratch);
    if (auto* k = std::get_if<PlainConv>(&kernel)) return k->run(in, out);
    if (auto* k = std::get_if<VnniConv>(&kernel)) return k->run(in, out, scratch);
    if (auto* k = std::get_if<VnniWinograd>(&kernel)) return k->run(in, out, scratch);
    if (auto* k = std::get_if<VnniDepthwise>(&kernel)) return k->run(in, out);
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
      scalar ? scalar_pool(*pool, in, out) : plain_pool(*pool, in, out, scratch);
    } else if (const auto* move = std::get_if<MoveSpec>(&op.work)) {
      (scalar ? scalar_move : plain_move)(*move, in, out);
    }
  }

  DpuStep describe(std::size_t i) const {
    static constexpr const char* kinds[] = {"conv", "add", "mul", "pool", "move"};
    const Instruction& op = program.instructions[i];
    DpuStep step{.name = op.name, .kernel = fmt::format("{} {}", kinds[op.work.index()], options.scalar ? "scalar" : "plain")};
    step.tensor = program.buffers[op.output].tensor;
    step.fix_point = program.buffers[op.output].fix_point;
    step.bytes = static_cast<std::int64_t>(program.buffers[op.output].bytes + weight_bytes[i]);
    for (const std::size_t b : op.inputs) step.bytes += static_cast<std::int64_t>(program.buffers[b].bytes);
    if (const auto* conv = std::get_if<ConvSpec>(&op.work)) {
      step.macs = multiplications(*conv);
      if (const auto* k = std::get_if<OneDnnConv>(&kernels[i])) step.kernel = "onednn " + k->implementation();
      if (std::holds_alternative<VnniConv>(kernels[i])) step.kernel = "own vnni";
      if (std::holds_alternative<VnniWinograd>(kernels[i])) step.kernel = "own vnni winograd";
      if (std::holds_alternative<VnniDepthwise>(kernels[i])) step.kernel = "own vnni depthwise";
    }
    return step;
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

void DpuExecutor::run_step(std::size_t i) {
  const OmpThreads threads{impl_->options.threads};
  impl_->step(i);
}

DpuStepBuffers DpuExecutor::buffers(std::size_t i) {
  const Instruction& op = impl_->program.instructions[i];
  const auto span = [&](std::size_t b) { return std::span{impl_->at(b), impl_->program.buffers[b].bytes}; };
  DpuStepBuffers result;
  for (const std::size_t b : op.inputs) {
    result.inputs.push_back(span(b));
    result.non_negative.push_back(impl_->program.buffers[b].non_negative);
  }
  result.output = span(op.output);
  return result;
}

std::vector<DpuStep> DpuExecutor::steps() const {
  std::vector<DpuStep> steps;
  for (std::size_t i = 0; i < impl_->kernels.size(); ++i) steps.push_back(impl_->describe(i));
  return steps;
}

DpuMemory DpuExecutor::memory() const {
  DpuMemory m{.activations = impl_->program.bytes};
  for (const std::size_t bytes : impl_->weight_bytes) m.weights += bytes;
  for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(impl_->kernels.size()); ++i) {
    std::size_t live = 0;
    for (const Buffer& b : impl_->program.buffers) {
      if (b.first <= i && i <= b.last) live += b.bytes;
    }
    m.peak_live = std::max(m.peak_live, live);
  }
  return m;
}

}  // namespace splitcnn::inline v0
