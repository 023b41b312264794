// The sums behind the analytical models that no fitted parameter touches. Element counts are those of one frame.
#include "partition/device_work.hpp"

#include <algorithm>
#include <utility>

namespace splitcnn::inline v0 {

namespace {

double ceil_div(std::int64_t a, std::int64_t b) { return static_cast<double>((a + b - 1) / b); }

std::int64_t elements(const Graph& graph, TensorId id) { return graph.tensor(id).shape.elements(); }

/// 1xCxHxW, or a row vector as 1xCx1x1.
struct Map {
  std::int64_t c = 1, h = 1, w = 1;
};

Map map_of(const Shape& s) {
  if (s.rank() == 4) return {s[1], s[2], s[3]};
  return {s.rank() == 0 ? 1 : s.back(), 1, 1};
}

bool is_depthwise(const Graph& graph, const Node& node) {
  return node.op == Op::conv && node.groups > 1 && node.groups == graph.tensor(node.inputs[0]).shape[1];
}

bool is_dense(const Node& node) { return node.op == Op::gemm || node.op == Op::matmul; }

std::int64_t weight_elements(const Graph& graph, const Node& node) {
  std::int64_t n = 0;
  for (const TensorId t : node.inputs) {
    if (graph.tensor(t).constant) n += elements(graph, t);
  }
  return n;
}

std::int64_t activation_inputs(const Graph& graph, const Node& node) {
  std::int64_t n = 0;
  for (const TensorId t : node.inputs) {
    if (!graph.tensor(t).constant) n += elements(graph, t);
  }
  return n;
}

/// Nodes that cost nothing of their own on a DPU: folded, fused, or a change of view.
bool free_on_dpu(Op op) {
  switch (op) {
    case Op::batch_norm: case Op::relu: case Op::clip: case Op::leaky_relu: case Op::hard_swish: case Op::hard_sigmoid:
    case Op::reshape: case Op::identity: return true;
    default: return false;
  }
}

double conv_cycles(const Graph& graph, const Node& node) {
  const Map in = map_of(graph.tensor(node.inputs[0]).shape), out = map_of(graph.tensor(node.outputs[0]).shape);
  if (is_dense(node)) return ceil_div(in.c, 16) * ceil_div(out.c, 32);
  const std::int64_t kw = node.window.kernel_w, kh = node.window.kernel_h;
  const std::int64_t ci = in.c / node.groups;
  const double depth = ci < 16 ? ceil_div(ci * kw, 16) * static_cast<double>(kh) : ceil_div(ci, 16) * static_cast<double>(kw * kh);
  return static_cast<double>(out.h) * ceil_div(out.w, 8) * depth * ceil_div(out.c, 32);
}

double alu_cycles(const Graph& graph, const Node& node) {
  const Map out = map_of(graph.tensor(node.outputs[0]).shape);
  const auto area = [&](std::int64_t most) { return std::min<std::int64_t>(std::int64_t{node.window.kernel_h} * node.window.kernel_w, most); };
  std::int64_t q = 1;
  if (node.op == Op::conv) q = area(std::int64_t{1} << 40);
  if (node.op == Op::max_pool) q = area(9);
  if (node.op == Op::average_pool) q = area(49);
  if (node.op == Op::global_average_pool || node.op == Op::reduce_mean) {
    const Map in = map_of(graph.tensor(node.inputs[0]).shape);
    q = std::min<std::int64_t>(in.h * in.w, 49);
  }
  return ceil_div(out.c, 16) * static_cast<double>(out.h) * ceil_div(out.w, 8) * static_cast<double>(q);
}

/// Which fused layer a tensor belongs to, what it spills, and what is alive beside it.
class DpuLayers {
 public:
  DpuLayers(const Graph& graph, double on_chip_bytes) : graph_{graph} {
    root_.resize(graph.tensors().size());
    spilled_.assign(graph.tensors().size(), false);
    for (TensorId t = 0; t < root_.size(); ++t) root_[t] = t;
    for (const Node& node : graph.nodes()) {
      if (free_on_dpu(node.op) && !graph.tensor(node.inputs[0]).constant) root_[node.outputs[0]] = root_[node.inputs[0]];
    }
    for (NodeId n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (free_on_dpu(node.op)) continue;
      const double live = static_cast<double>(activation_inputs(graph, node) + elements(graph, node.outputs[0]) + live_skip(n));
      spilled_[node.outputs[0]] = live > on_chip_bytes;
    }
  }

  [[nodiscard]] bool spilled(TensorId t) const { return spilled_[root_[t]]; }

  /// A max pool right behind a spilled convolution is fused with it: the unpooled map never leaves the chip.
  [[nodiscard]] bool pooled_at_once(NodeId n) const {
    const Node& node = graph_.nodes()[n];
    if (node.op != Op::max_pool) return false;
    const TensorId from = root_[node.inputs[0]];
    const auto producer = graph_.producer(from);
    return producer && graph_.nodes()[*producer].op == Op::conv && spilled_[from];
  }

  /// The pool of the kind above that reads this layer's result.
  [[nodiscard]] bool feeds_fused_pool(NodeId n) const {
    const TensorId out = graph_.nodes()[n].outputs[0];
    for (NodeId reader = n + 1; reader < graph_.nodes().size(); ++reader) {
      const Node& node = graph_.nodes()[reader];
      if (!node.inputs.empty() && root_[node.inputs[0]] == out && !free_on_dpu(node.op)) return pooled_at_once(reader);
    }
    return false;
  }

 private:
  /// Elements of the layers' results written before node n and read after it, its own inputs not counted.
  [[nodiscard]] std::int64_t live_skip(NodeId n) const {
    std::vector<bool> counted(root_.size(), false);
    for (const TensorId t : graph_.nodes()[n].inputs) counted[root_[t]] = true;
    counted[root_[graph_.nodes()[n].outputs[0]]] = true;
    std::int64_t sum = 0;
    for (TensorId t = 0; t < root_.size(); ++t) {
      const auto producer = graph_.producer(t);
      const auto readers = graph_.consumers(t);
      const bool written = producer ? *producer < n : !graph_.tensor(t).constant;
      if (!written || counted[root_[t]] || readers.empty() || readers.back() <= n) continue;
      counted[root_[t]] = true;
      sum += elements(graph_, t);
    }
    return sum;
  }

  const Graph& graph_;
  std::vector<TensorId> root_;   // the layer result a tensor is a view or the fused form of
  std::vector<bool> spilled_;
};

}  // namespace

std::vector<DpuWork> dpu_work(const Graph& graph, double on_chip_mib) {
  const DpuLayers layers{graph, on_chip_mib * 1024 * 1024};
  std::vector<DpuWork> work(graph.nodes().size());
  bool before_spilled = true;  // the network's input comes from DDR
  for (NodeId n = 0; n < work.size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (free_on_dpu(node.op)) continue;
    DpuWork& w = work[n];
    w.layer = true;
    const bool on_array = is_dense(node) || (node.op == Op::conv && !is_depthwise(graph, node));
    (on_array ? w.array_cycles : w.alu_cycles) = on_array ? conv_cycles(graph, node) : alu_cycles(graph, node);
    w.weight_bytes = static_cast<double>(weight_elements(graph, node));
    if (before_spilled && !layers.pooled_at_once(n)) w.map_bytes += static_cast<double>(activation_inputs(graph, node));
    before_spilled = layers.spilled(node.outputs[0]);
    if (before_spilled && !layers.feeds_fused_pool(n)) w.map_bytes += static_cast<double>(elements(graph, node.outputs[0]));
  }
  return work;
}

std::vector<GpuWork> gpu_work(const Graph& graph, bool fused) {
  std::vector<GpuWork> work(graph.nodes().size());
  for (NodeId n = 0; n < work.size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (node.op == Op::identity || node.op == Op::reshape) continue;
    if (fused && (free_on_dpu(node.op) || node.op == Op::add)) continue;
    const Map out = map_of(graph.tensor(node.outputs[0]).shape);
    GpuWork& w = work[n];
    w.kernel = true;
    w.flop = 2.0 * static_cast<double>(graph.macs(n));
    w.maps = static_cast<double>(activation_inputs(graph, node) + elements(graph, node.outputs[0]));
    w.weights = static_cast<double>(weight_elements(graph, node));
    w.pixels = static_cast<double>(out.h * out.w);
    w.channels = static_cast<double>(out.c);
    w.kind = is_depthwise(graph, node) ? GpuWork::Kind::depthwise
             : is_dense(node)          ? GpuWork::Kind::dense
             : node.op == Op::conv     ? GpuWork::Kind::convolution
                                       : GpuWork::Kind::memory;
  }
  return work;
}

double crossing_elements(const Graph& graph, const Cut& cut) {
  std::int64_t n = 0;
  for (const TensorId t : cut.tensors) n += elements(graph, t);
  return static_cast<double>(n);
}

}  // namespace splitcnn::inline v0
