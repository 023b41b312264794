#include "gpu/tail/build.hpp"

#include <fmt/core.h>

#include "gpu/tail/builder.hpp"
#include "graph/residual.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

void build_op(Builder& b, const LoweredOp& op, const LoweredOp* add) {
  switch (op.op) {
    case Op::conv:
      return op.dense ? build_dense(b, op) : build_conv(b, op, add);
    case Op::gemm:
    case Op::matmul:
      return build_product(b, op);
    case Op::max_pool:
    case Op::average_pool:
    case Op::global_average_pool:
      return build_window(b, op);
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::prelu:
      return build_binary(b, op);
    case Op::batch_norm:
      return build_batch_norm(b, op);
    case Op::reduce_mean:
      return build_mean(b, op);
    case Op::softmax:
    case Op::log_softmax:
    case Op::lrn:
      return build_axis(b, op);
    case Op::concat:
      return build_concat(b, op);
    case Op::slice:
    case Op::split:
      return build_slices(b, op);
    case Op::pad:
      return build_pad(b, op);
    case Op::gather:
      return build_gather(b, op);
    case Op::reshape:
      return build_reshape(b, op);
    case Op::transpose:
      return build_transpose(b, op);
    case Op::resize:
      return build_resize(b, op);
    default:
      return build_unary(b, op);
  }
}

/// Builds every op; `refused` collects instead of throwing when it is not null.
void build_ops(Builder& b, const LoweredSegment& segment) {
  std::vector<std::size_t> adds(segment.ops.size(), no_residual), taken(segment.ops.size(), no_residual);
  if (b.options.fuse_residual) adds = residual_adds(b.graph, segment);
  for (std::size_t i = 0; i < adds.size(); ++i) {
    if (adds[i] != no_residual) taken[adds[i]] = i;
  }
  for (std::size_t i = 0; i < segment.ops.size(); ++i) {
    if (adds[i] != no_residual) continue;  // comes where its add is
    const LoweredOp& op = segment.ops[i];
    b.node = op.node;
    if (taken[i] == no_residual) {
      build_op(b, op, nullptr);
    } else {
      b.node = segment.ops[taken[i]].node;
      build_op(b, segment.ops[taken[i]], &op);
    }
  }
}

void finish(Builder& b) {
  sink_clamps(b);
  if (b.options.fuse_gap_fc) fuse_gap_fc(b);
  if (b.options.fork) fork_shortcuts(b);
  if (b.options.group) mark_groups(b);
  colour_arena(b);
  for (const TailOp& op : b.program.ops) b.program.names.push_back(b.graph.nodes()[op.node].name);
  b.program.hash = hash_tail(b.program);
}

std::vector<EdgeTensor> plain_edges(const Graph& graph, const std::vector<TensorId>& ids) {
  std::vector<EdgeTensor> edges;
  for (const TensorId id : ids) {
    const GraphTensor& t = graph.tensor(id);
    edges.push_back({id, {.name = t.name, .shape = storage_shape(t.shape), .dtype = DType::f16}, {.dtype = DType::f16}});
  }
  return edges;
}

}  // namespace

TailProgram build_tail(const Graph& graph, NodeId first, NodeId last, std::span<const EdgeTensor> inputs,
                       std::span<const EdgeTensor> outputs, const TailOptions& options) {
  const LoweredSegment segment = lower(graph, first, last);
  Builder b{graph, options};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    b.node = first;
    for (const NodeId reader : graph.consumers(inputs[i].id)) {
      if (reader >= first) {
        b.node = reader;
        break;
      }
    }
    build_entry(b, inputs[i], static_cast<std::uint32_t>(i));
  }
  build_ops(b, segment);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    b.node = graph.producer(outputs[i].id).value_or(last - 1);
    build_exit(b, outputs[i], static_cast<std::uint32_t>(i));
  }
  finish(b);
  return std::move(b.program);
}

TailProgram build_tail(const Plan& plan, const Segment& segment, const TailOptions& options) {
  const SegmentIo io = segment_io(plan, segment);
  return build_tail(plan.graph(), segment.first, segment.last, io.inputs, io.outputs, options);
}

namespace {

/// The first op of [first, last) that cannot be: its node and why. Empty reason: all can.
std::pair<NodeId, std::string> first_refusal(const Graph& graph, NodeId first, NodeId last, const TailRefusal& refuse,
                                             const TailOptions& options) {
  try {
    const Boundary edge = boundary(graph, first, last);
    const auto in = plain_edges(graph, edge.inputs), out = plain_edges(graph, edge.outputs);
    TailProgram program = build_tail(graph, first, last, in, out, options);
    for (std::size_t i = 0; refuse && i < program.ops.size(); ++i) {
      std::string why = refuse(program, i);
      if (why.empty()) continue;
      const NodeId node = program.ops[i].node;
      return {node, fmt::format("node '{}' ({}): {}; it runs on the CPU instead", graph.nodes()[node].name,
                                to_string(graph.nodes()[node].op), why)};
    }
  } catch (const TailUnsupported& e) {
    return {e.node, e.what()};
  }
  return {0, {}};
}

}  // namespace

std::vector<TailPiece> split_tail(const Graph& graph, NodeId first, NodeId last, const TailRefusal& refuse,
                                  const TailOptions& options) {
  std::vector<TailPiece> pieces;
  for (NodeId at = first; at < last;) {
    // The longest run from `at` that the GPU takes: shrink to before the refused node until nothing is refused.
    NodeId end = last;
    std::string reason;
    while (end > at) {
      auto [node, why] = first_refusal(graph, at, end, refuse, options);
      if (why.empty()) break;
      reason = std::move(why);
      end = std::min(end - 1, std::max(node, at));
    }
    if (end > at) {
      pieces.push_back({at, end, true, {}});
      at = end;
    }
    if (at >= last || reason.empty()) continue;
    if (!pieces.empty() && !pieces.back().on_gpu && pieces.back().last == at) {
      pieces.back().last = at + 1;
    } else {
      pieces.push_back({at, at + 1, false, reason});
    }
    ++at;
  }
  return pieces;
}

}  // namespace splitcnn::inline v0::gpu
