#include "cpu/executor.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/arena.hpp"
#include "core/half.hpp"
#include "core/openmp.hpp"
#include "cpu/layout.hpp"
#include "cpu/memory_plan.hpp"
#include "cpu/onednn_ops.hpp"
#include "cpu/reference_ops.hpp"
#include "graph/residual.hpp"

namespace splitcnn::inline v0 {

namespace {

using cpu::Lifetime;
using cpu::Step;

/// Node by node: every tensor has a writer.
LoweredSegment lower_all(const Graph& graph, NodeId first, NodeId last) {
  LoweredSegment all{boundary(graph, first, last), {}};
  for (NodeId n = first; n < last; ++n) {
    LoweredSegment one = lower(graph, n, n + 1, {.fold = false, .fuse = false});
    std::move(one.ops.begin(), one.ops.end(), std::back_inserter(all.ops));
  }
  return all;
}

}  // namespace

struct CpuExecutor::Impl {
  struct Rounding {
    float* data = nullptr;
    std::size_t n = 0;
  };

  Graph graph;
  CpuExecutorOptions options;
  LoweredSegment segment;
  std::vector<float*> buffers;  // per tensor of the graph; null where it has none
  Arena tensors;
  cpu::OneDnn onednn;
  std::vector<Step> steps;
  std::vector<NodeId> step_nodes;
  std::vector<Rounding> rounded_inputs;

  Impl(const Graph& g, NodeId first, NodeId last, const CpuExecutorOptions& o)
      : graph{g}, options{o}, buffers(g.tensors().size()) {
    // The reference runs the nodes as they are, unless their results are to be rounded where the lowered ones
    // are.
    const bool nodes_as_they_are = options.keep_all || (options.reference && !options.f16_storage);
    segment = nodes_as_they_are ? lower_all(graph, first, last) : lower(graph, first, last);
    place_constants();
    place_activations();
    onednn.expect(packed_bytes());
    for (const TensorId t : segment.boundary.inputs) {
      if (options.f16_storage) rounded_inputs.push_back({buffers[t], elements(t)});
    }
    const OmpThreads scope{options.threads};
    const std::vector<std::size_t> adds = residual_adds(graph, segment);
    for (std::size_t i = 0; i < segment.ops.size(); ++i) add_step(segment.ops[i], adds[i] == no_residual);
    onednn.finish();
  }

  std::size_t elements(TensorId t) const {
    return static_cast<std::size_t>(graph.tensor(t).shape.elements());
  }

  /// Of the weights as oneDNN will lay them out: about what they are, and some padding.
  std::size_t packed_bytes() const {
    std::size_t floats = 0;
    for (const LoweredOp& op : segment.ops) floats += op.weights.size() + op.bias.size();
    return floats * sizeof(float) / 16 * 17;
  }

  /// Constants that are operands of something else than a convolution, in storage order.
  void place_constants() {
    const bool all = options.reference;
    const auto place = [&](TensorId t) {
      if (!graph.tensor(t).constant || buffers[t]) return;
      buffers[t] = tensors.take_array<float>(elements(t));
      const Shape& shape = graph.tensor(t).shape;
      cpu::BoxCopy{shape, cpu::row_major_strides(shape), cpu::storage_strides(shape)}(
          graph.constant(t).data(), buffers[t]);
      if (options.f16_storage) round_to_half(buffers[t], elements(t));
    };
    for (const LoweredOp& op : segment.ops) {
      for (const TensorId t : op.inputs) place(t);
      if (!all || options.f16_storage) continue;
      for (const TensorId t : graph.nodes()[op.node].inputs) place(t);
    }
  }

  /// Inputs and outputs keep their memory; what lives in between shares one block, by lifetime.
  void place_activations() {
    const auto own = [&](TensorId t) {
      if (buffers[t]) return;
      buffers[t] = tensors.take_array<float>(elements(t));
    };
    for (const auto* ids : {&segment.boundary.inputs, &segment.boundary.outputs}) {
      for (const TensorId t : *ids) own(t);
    }
    std::vector<TensorId> ids;
    std::vector<Lifetime> lives;
    std::vector<std::size_t> life_of(buffers.size(), ~std::size_t{0});
    for (std::size_t s = 0; s < segment.ops.size(); ++s) {
      for (const TensorId t : segment.ops[s].outputs) {
        if (options.keep_all) own(t);
        if (buffers[t]) continue;
        life_of[t] = lives.size();
        lives.push_back({s, s, elements(t) * sizeof(float)});
        ids.push_back(t);
      }
      for (const TensorId t : segment.ops[s].inputs) {
        if (!buffers[t]) lives[life_of[t]].last = s;
      }
    }
    std::byte* const shared = tensors.take(cpu::plan_memory(lives, Arena::alignment));
    for (std::size_t i = 0; i < ids.size(); ++i)
      buffers[ids[i]] = reinterpret_cast<float*>(shared + lives[i].offset);
  }

  /// `rounded`: false for a convolution whose sum goes on, unrounded, into the add behind it.
  void add_step(LoweredOp& op, bool rounded) {
    const Node& node = graph.nodes()[op.node];
    const auto empty = [&](TensorId t) { return elements(t) == 0; };
    if (std::all_of(op.outputs.begin(), op.outputs.end(), empty)) return;
    cpu::OpContext context{.node = &node, .op = &op, .threads = options.threads};
    for (const TensorId t : op.inputs) context.in.push_back({buffers[t], graph.tensor(t).shape});
    for (const TensorId t : op.outputs) context.out.push_back({buffers[t], graph.tensor(t).shape});
    if (op.op == Op::conv && options.f16_storage) {
      round_to_half(op.weights.data(), op.weights.size());
      round_to_half(op.bias.data(), op.bias.size());
    }
    step_nodes.push_back(op.node);
    Step step = options.reference ? reference_step(op, node, context) : fast_step(op, context);
    if (!options.f16_storage || !rounded) {
      steps.push_back(std::move(step));
    } else {
      std::vector<Rounding> results;
      for (const TensorId t : op.outputs) results.push_back({buffers[t], elements(t)});
      steps.push_back([step = std::move(step), results = std::move(results)] {
        step();
        for (const Rounding& r : results) round_to_half(r.data, r.n);
      });
    }
    op.weights = {};
    op.bias = {};
  }

  Step fast_step(LoweredOp& op, const cpu::OpContext& context) {
    if (op.op == Op::gemm || op.op == Op::matmul) return onednn.make_product(context);
    if (op.op != Op::conv) return cpu::make_step(context);
    const bool pointwise = op.window == Window{};
    if (pointwise && op.groups == op.in_channels && op.groups == op.out_channels)
      return cpu::make_affine(context);
    return onednn.make_conv(context);
  }

  Step reference_step(LoweredOp& op, const Node& node, const cpu::OpContext& context) {
    if (options.f16_storage && op.op == Op::conv) {
      return [op, in = context.in[0], out = context.out[0]] {
        const auto y = cpu::reference_lowered_conv(op, in.shape, out.shape,
                                                   {in.data, static_cast<std::size_t>(in.shape.elements())});
        std::copy(y.begin(), y.end(), out.data);
      };
    }
    std::vector<cpu::Operand> in = context.in;
    if (op.op == Op::conv) {  // the node's own operands, not the lowered ones
      in.clear();
      for (const TensorId t : node.inputs) in.push_back({buffers[t], graph.tensor(t).shape});
    }
    return [this, &node, in, out = context.out, activation = op.activation] {
      std::vector<std::vector<float>> values;
      for (const cpu::Operand& x : in)
        values.push_back(cpu::to_logical(x.shape, {x.data, static_cast<std::size_t>(x.shape.elements())}));
      std::vector<std::vector<float>> results = cpu::reference_node(graph, node, values);
      for (std::size_t i = 0; i < results.size(); ++i) {
        for (float& v : results[i]) v = cpu::reference_activation(activation, v);
        cpu::to_storage(out[i].shape, results[i], out[i].data);
      }
    };
  }

  void run() noexcept {
    const OmpThreads scope{options.threads};
    for (const Rounding& r : rounded_inputs) round_to_half(r.data, r.n);
    for (const Step& step : steps) step();
  }

  std::vector<NodeTime> run_timed() {
    std::vector<NodeTime> times;
    times.reserve(steps.size());
    const OmpThreads scope{options.threads};
    const Clock::time_point start = Clock::now();
    for (const Rounding& r : rounded_inputs) round_to_half(r.data, r.n);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps[i]();
      times.push_back({step_nodes[i], Millis{Clock::now() - start}.count()});
    }
    return times;
  }
};

CpuExecutor::CpuExecutor(const Graph& graph, NodeId first, NodeId last, const CpuExecutorOptions& options) {
  if (options.threads < 1) {
    throw Error{Errc::bad_argument, fmt::format("CPU executor: {} threads; give 1 or more", options.threads)};
  }
  impl_ = std::make_unique<Impl>(graph, first, last, options);
}
CpuExecutor::CpuExecutor(CpuExecutor&&) noexcept = default;
CpuExecutor::~CpuExecutor() = default;

std::span<const TensorId> CpuExecutor::input_ids() const noexcept { return impl_->segment.boundary.inputs; }
std::span<const TensorId> CpuExecutor::output_ids() const noexcept { return impl_->segment.boundary.outputs; }

std::span<float> CpuExecutor::input(std::size_t i) noexcept {
  const TensorId t = input_ids()[i];
  return {impl_->buffers[t], impl_->elements(t)};
}

std::span<const float> CpuExecutor::output(std::size_t i) const noexcept {
  const TensorId t = output_ids()[i];
  return {impl_->buffers[t], impl_->elements(t)};
}

std::span<const float> CpuExecutor::value(TensorId id) const {
  if (!impl_->options.keep_all || id >= impl_->buffers.size()) {
    throw Error{Errc::bad_argument, fmt::format("tensor {}: its value is kept only with keep_all", id)};
  }
  // An identity that nothing reads has no buffer of its own.
  while (!impl_->buffers[id]) {
    const auto writer = impl_->graph.producer(id);
    if (!writer || impl_->graph.nodes()[*writer].op != Op::identity) {
      throw Error{Errc::bad_argument, fmt::format("tensor '{}' is not an activation of this segment",
                                                  impl_->graph.tensor(id).name)};
    }
    id = impl_->graph.nodes()[*writer].inputs[0];
  }
  return {impl_->buffers[id], impl_->elements(id)};
}

void CpuExecutor::run() { impl_->run(); }
std::vector<NodeTime> CpuExecutor::run_timed() { return impl_->run_timed(); }

}  // namespace splitcnn::inline v0
