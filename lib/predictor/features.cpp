// One pass over the graph for what is alive, one for what every node asks of a device, one that adds nodes up to layers.
#include "predictor/features.hpp"

#include <algorithm>
#include <cmath>

namespace splitcnn::inline v0 {

namespace {

enum Type { input, conv, depthwise, grouped, dense, max_pool, average_pool, global_pool, add, concat, activation, norm, other, type_count };
enum Number {
  c_in = type_count, h_in, w_in, c_out, h_out, w_out, area, stride, groups, macs, in_elements, out_elements, weights, intensity,
  array_cycles, alu_cycles, skip_elements, map_elements, fits, fed_from_memory, kernels, moved_elements, depth, base_head, base_tail,
  in_fill, in_fours, out_fill, out_fill_64,  // vectors and tiles of channels: a CPU with some of them empty takes its time
  number_end
};
static_assert(number_end == feature_count);

struct Map {
  double c = 1, h = 1, w = 1;
};

Map map_of(const Shape& s) {
  if (s.rank() == 4) return {static_cast<double>(s[1]), static_cast<double>(s[2]), static_cast<double>(s[3])};
  return {s.rank() == 0 ? 1.0 : static_cast<double>(s.back()), 1, 1};
}

double up(double a, double b) { return std::ceil(a / b); }

bool is_view_or_fused(Op op) {
  switch (op) {
    case Op::batch_norm: case Op::relu: case Op::clip: case Op::leaky_relu: case Op::hard_swish: case Op::hard_sigmoid:
    case Op::reshape: case Op::identity: return true;
    default: return false;
  }
}

/// What one node asks of a device; elements and cycles of one frame.
struct Ask {
  Type type = other;
  Map in, out;
  double kernel_area = 1, kernel_w = 1, kernel_h = 1, stride = 1, groups = 1;
  double macs = 0, in_elements = 0, out_elements = 0, weights = 0;
  double array = 0, alu = 0;   // cycles of a 16 x 32 channels x 8 pixels array, and of 16 channels x 8 pixels beside it
};

Type type_of(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::conv:
      if (node.groups == 1) return conv;
      return node.groups == graph.tensor(node.inputs[0]).shape[1] ? depthwise : grouped;
    case Op::gemm: case Op::matmul: return dense;
    case Op::max_pool: return max_pool;
    case Op::average_pool: return average_pool;
    case Op::global_average_pool: case Op::reduce_mean: return global_pool;
    case Op::add: return add;
    case Op::concat: return concat;
    case Op::batch_norm: return norm;
    case Op::relu: case Op::clip: case Op::leaky_relu: case Op::prelu: case Op::hard_swish: case Op::hard_sigmoid: case Op::sigmoid:
    case Op::tanh: return activation;
    default: return other;
  }
}

void cycles(Ask& a) {
  const double tiles = a.out.h * up(a.out.w, 8);
  switch (a.type) {
    case conv: case grouped: {
      const double ci = a.in.c / a.groups;
      const double depth = ci < 16 ? up(ci * a.kernel_w, 16) * a.kernel_h : up(ci, 16) * a.kernel_area;
      a.array = tiles * depth * up(a.out.c, 32);
      return;
    }
    case dense: a.array = up(a.in.c, 16) * up(a.out.c, 32); return;
    case depthwise: a.alu = up(a.out.c, 16) * tiles * a.kernel_area; return;
    case max_pool: a.alu = up(a.out.c, 16) * tiles * std::min(a.kernel_area, 9.0); return;
    case average_pool: a.alu = up(a.out.c, 16) * tiles * std::min(a.kernel_area, 49.0); return;
    case global_pool: a.alu = up(a.out.c, 16) * tiles * std::min(a.in.h * a.in.w, 49.0); return;
    default: a.alu = up(a.out.c, 16) * tiles; return;
  }
}

Ask ask_of(const Graph& graph, NodeId n) {
  const Node& node = graph.nodes()[n];
  Ask a;
  a.type = type_of(graph, node);
  a.in = map_of(graph.tensor(node.inputs[0]).shape);
  a.out = map_of(graph.tensor(node.outputs[0]).shape);
  a.kernel_h = node.window.kernel_h;
  a.kernel_w = node.window.kernel_w;
  a.kernel_area = a.kernel_h * a.kernel_w;
  a.stride = node.window.stride_h;
  a.groups = node.groups;
  a.macs = static_cast<double>(graph.macs(n));
  for (const TensorId t : node.inputs) {
    const double elements = static_cast<double>(graph.tensor(t).shape.elements());
    (graph.tensor(t).constant ? a.weights : a.in_elements) += elements;
  }
  a.out_elements = static_cast<double>(graph.tensor(node.outputs[0]).shape.elements());
  cycles(a);
  return a;
}

/// Feature maps of a DPU-like device that keeps them on chip (2 MiB per frame) where they fit.
class OnChip {
 public:
  static constexpr double bytes = 2.0 * 1024 * 1024;

  OnChip(const Graph& graph, Layers::Scratch& s) : graph_{graph}, s_{s} {
    const auto nodes = static_cast<NodeId>(graph.nodes().size());
    const std::size_t tensors = graph.tensors().size();
    s.root.resize(tensors);
    s.last_read.assign(tensors, 0);
    s.spilled.assign(tensors, 0);
    s.expires.assign(nodes + 1u, 0);
    for (TensorId t = 0; t < tensors; ++t) s.root[t] = t;
    for (const Node& node : graph.nodes()) {
      if (is_view_or_fused(node.op) && !graph.tensor(node.inputs[0]).constant) s.root[node.outputs[0]] = s.root[node.inputs[0]];
    }
    for (TensorId t = 0; t < tensors; ++t) {
      const auto readers = graph.consumers(t);
      if (!readers.empty()) s.last_read[s.root[t]] = std::max(s.last_read[s.root[t]], readers.back());
    }
    for (const TensorId t : graph.inputs()) written(t);
  }

  /// Elements alive at node n besides its inputs and its output; nodes in order, each followed by written() of its output.
  double skip_at(NodeId n) {
    alive_ -= s_.expires[n];
    double skip = alive_;
    const Node& node = graph_.nodes()[n];
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId r = s_.root[node.inputs[i]];
      bool seen = graph_.tensor(r).constant || s_.last_read[r] <= n;
      for (std::size_t j = 0; j < i; ++j) seen |= s_.root[node.inputs[j]] == r;
      if (!seen) skip -= static_cast<double>(graph_.tensor(r).shape.elements());
    }
    return std::max(skip, 0.0);
  }

  void written(TensorId t) {
    if (s_.root[t] != t || s_.last_read[t] == 0) return;
    const double elements = static_cast<double>(graph_.tensor(t).shape.elements());
    alive_ += elements;
    s_.expires[s_.last_read[t]] += elements;
  }

 private:
  const Graph& graph_;
  Layers::Scratch& s_;
  double alive_ = 0;
};

double dpu_us(const BaseModel& m, const Ask& a, double map_elements) {
  const double compute = a.array * m.compute_us + a.alu * m.alu_us;
  return std::max(compute, a.weights * m.weight_us + m.batch * map_elements * m.map_us) + m.layer_us;
}

double gpu_us(const BaseModel& m, const Ask& a) {
  double rate = 1;  // share of the peak
  if (a.type == depthwise) rate = 0.25;
  if (a.type == conv || a.type == grouped || a.type == dense) {
    const double tiles = a.type == dense ? up(m.batch, 16) * up(a.out.c, 16) : up(m.batch * a.out.h * a.out.w, 128) * up(a.out.c, 64);
    rate = std::max(tiles / (up(tiles, m.processors) * m.processors), 0.02);
  }
  const double memory = m.batch * (a.in_elements + a.out_elements) * m.map_us + a.weights * m.weight_us;
  return std::max(2 * a.macs * m.batch * m.compute_us / rate, memory) + m.layer_us;
}

double base_us(const BaseModel& m, const Ask& a, Op op, bool leads, double map_elements) {
  switch (m.kind) {
    case BaseModel::Kind::dpu: return leads ? dpu_us(m, a, map_elements) : 0;
    case BaseModel::Kind::gpu: return op == Op::identity || op == Op::reshape ? 0 : gpu_us(m, a);
    case BaseModel::Kind::cpu:
      if (!leads) return 0;
      return m.batch * std::max(a.macs * m.compute_us, (a.in_elements + a.out_elements) * m.map_us) + a.weights * m.weight_us + m.layer_us;
  }
  return 0;
}

void find_layers(const Graph& graph, Layers& out) {
  const auto nodes = static_cast<NodeId>(graph.nodes().size());
  out.layer_of.resize(nodes);
  out.scratch.main.clear();
  for (NodeId n = 0; n < nodes; ++n) {
    const Node& node = graph.nodes()[n];
    const auto writer = graph.producer(node.inputs[0]);
    const bool joins = n > 0 && is_view_or_fused(node.op) && writer && *writer + 1 == n;
    if (!joins) out.scratch.main.push_back(n);
    out.layer_of[n] = static_cast<int>(out.scratch.main.size());
  }
  out.count = static_cast<int>(out.scratch.main.size()) + 1;
}

void find_edges(const Graph& graph, Layers& out) {
  out.edges.clear();
  for (NodeId n = 0; n < graph.nodes().size(); ++n) {
    const int to = out.layer_of[n];
    for (const TensorId t : graph.nodes()[n].inputs) {
      if (graph.tensor(t).constant) continue;
      const auto writer = graph.producer(t);
      const int from = writer ? out.layer_of[*writer] : 0;
      bool there = from == to;
      for (auto e = out.edges.rbegin(); !there && e != out.edges.rend() && e->to == to; ++e) there = e->from == from;
      if (!there) out.edges.push_back({from, to});
    }
  }
}

/// How much of the blocks that hold `channels` is used.
float fill(double channels, double block) { return static_cast<float>(channels / (up(std::max(channels, 1.0), block) * block)); }

float log1p_of(double value) { return std::log1p(static_cast<float>(value)); }

void fill_row(float* x, const Ask& a, double skip, double maps) {
  x[a.type] = 1;
  x[c_in] = log1p_of(a.in.c), x[h_in] = log1p_of(a.in.h), x[w_in] = log1p_of(a.in.w);
  x[c_out] = log1p_of(a.out.c), x[h_out] = log1p_of(a.out.h), x[w_out] = log1p_of(a.out.w);
  x[area] = log1p_of(a.kernel_area), x[stride] = static_cast<float>(a.stride), x[groups] = log1p_of(a.groups);
  x[macs] = log1p_of(a.macs), x[in_elements] = log1p_of(a.in_elements), x[out_elements] = log1p_of(a.out_elements);
  x[weights] = log1p_of(a.weights), x[intensity] = log1p_of(a.macs / (a.in_elements + a.out_elements + a.weights));
  x[array_cycles] = log1p_of(a.array), x[alu_cycles] = log1p_of(a.alu), x[skip_elements] = log1p_of(skip), x[map_elements] = log1p_of(maps);
  const double per_group = a.in.c / a.groups;
  x[in_fill] = fill(per_group, 16), x[in_fours] = std::fmod(per_group, 4) == 0 ? 1.0f : 0.0f;
  x[out_fill] = fill(a.out.c, 16), x[out_fill_64] = fill(a.out.c, 64);
  x[fits] = a.in_elements + a.out_elements + skip <= OnChip::bytes ? 1.0f : 0.0f;
}

void fill_input(const Graph& graph, Layers& out) {
  float* x = out.x.data();
  const Map map = map_of(graph.tensor(graph.inputs()[0]).shape);
  x[input] = 1;
  x[c_out] = log1p_of(map.c), x[h_out] = log1p_of(map.h), x[w_out] = log1p_of(map.w);
  x[out_elements] = log1p_of(map.c * map.h * map.w);
}

/// The pool that reads a spilled convolution directly is fused with it.
bool pools_at_once(const Graph& graph, const Layers& out, NodeId n) {
  const Node& node = graph.nodes()[n];
  if (node.op != Op::max_pool) return false;
  const TensorId from = out.scratch.root[node.inputs[0]];
  const auto writer = graph.producer(from);
  return writer && graph.nodes()[*writer].op == Op::conv && out.scratch.spilled[from] != 0;
}

/// Does a pool of that kind read what layer `lead` writes? It would be the leading node of the next layer.
bool feeds_pool(const Graph& graph, const Layers& out, int layer) {
  const auto& main = out.scratch.main;
  if (static_cast<std::size_t>(layer) >= main.size()) return false;
  const NodeId next = main[static_cast<std::size_t>(layer)], lead = main[static_cast<std::size_t>(layer) - 1];
  const Node& pool = graph.nodes()[next];
  return pool.op == Op::max_pool && out.scratch.root[pool.inputs[0]] == graph.nodes()[lead].outputs[0] && graph.nodes()[lead].op == Op::conv;
}

}  // namespace

const std::array<const char*, feature_count>& feature_names() noexcept {
  static constexpr std::array<const char*, feature_count> names{
      "input", "conv", "depthwise", "grouped", "dense", "max_pool", "average_pool", "global_pool", "add", "concat", "activation", "norm", "other",
      "c_in", "h_in", "w_in", "c_out", "h_out", "w_out", "area", "stride", "groups", "macs", "in_elements", "out_elements", "weights", "intensity",
      "array_cycles", "alu_cycles", "skip_elements", "map_elements", "fits", "fed_from_memory", "kernels", "moved_elements", "depth", "base_head",
      "base_tail", "in_fill", "in_fours", "out_fill", "out_fill_64"};
  return names;
}

void describe(const Graph& graph, const BaseModel& head, const BaseModel& tail, Layers& out) {
  find_layers(graph, out);
  find_edges(graph, out);
  const auto nodes = static_cast<NodeId>(graph.nodes().size());
  const auto count = static_cast<std::size_t>(out.count);
  out.x.assign(count * feature_count, 0);
  for (auto& us : out.base_us) us.assign(count, 0);
  for (auto& us : out.node_share) us.assign(nodes, 0);
  auto& moved = out.scratch.stats;  // per layer: elements its kernels move
  moved.assign(count, 0);
  fill_input(graph, out);

  OnChip chip{graph, out.scratch};
  bool before_spilled = true;  // the network's input comes from memory
  for (NodeId n = 0; n < nodes; ++n) {
    const Node& node = graph.nodes()[n];
    const int layer = out.layer_of[n];
    const auto l = static_cast<std::size_t>(layer);
    const bool leads = out.scratch.main[l - 1] == n;
    const Ask a = ask_of(graph, n);
    const double skip = chip.skip_at(n);
    for (const TensorId t : node.outputs) chip.written(t);
    float* x = out.x.data() + l * feature_count;
    double map = 0;
    if (leads) {
      const bool spills = a.in_elements + a.out_elements + skip > OnChip::bytes;
      const bool pooled = pools_at_once(graph, out, n);
      out.scratch.spilled[node.outputs[0]] = spills;
      if (before_spilled && !pooled) map += a.in_elements;
      if (spills && !feeds_pool(graph, out, layer)) map += a.out_elements;
      fill_row(x, a, skip, map);
      x[fed_from_memory] = before_spilled && !pooled ? 1.0f : 0.0f;
      before_spilled = spills;
    }
    if (node.op != Op::identity && node.op != Op::reshape) {
      x[kernels] += 1;
      moved[l] += a.in_elements + a.out_elements + a.weights;
    }
    const BaseModel* models[2] = {&head, &tail};
    for (int d = 0; d < 2; ++d) {
      out.node_share[d][n] = base_us(*models[d], a, node.op, leads, map);
      out.base_us[d][l] += out.node_share[d][n];
    }
  }
  for (std::size_t l = 1; l < count; ++l) {
    float* x = out.x.data() + l * feature_count;
    x[moved_elements] = log1p_of(moved[l]);
    x[depth] = static_cast<float>(l) / static_cast<float>(count);
    x[base_head] = log1p_of(out.base_us[0][l]);
    x[base_tail] = log1p_of(out.base_us[1][l]);
  }
  for (int d = 0; d < 2; ++d) {
    for (NodeId n = 0; n < nodes; ++n) {
      const double all = out.base_us[d][static_cast<std::size_t>(out.layer_of[n])];
      out.node_share[d][n] = all > 0 ? out.node_share[d][n] / all : 0;
    }
  }
}

}  // namespace splitcnn::inline v0
