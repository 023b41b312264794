#include "graph/lower.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "graph/affine.hpp"

namespace splitcnn::inline v0 {

namespace {

std::optional<Activation> activation_of(const Node& node) {
  using Kind = Activation::Kind;
  switch (node.op) {
    case Op::relu:
      return Activation{Kind::relu};
    case Op::clip:
      return Activation{Kind::clip, node.alpha, node.beta};
    case Op::leaky_relu:
      return Activation{Kind::leaky_relu, node.alpha};
    case Op::hard_sigmoid:
      return Activation{Kind::hard_sigmoid, node.alpha, node.beta};
    case Op::hard_swish:
      return Activation{Kind::hard_swish};
    default:
      return std::nullopt;
  }
}

bool takes_activation(Op op) {
  switch (op) {
    case Op::conv:
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::max_pool:
    case Op::average_pool:
    case Op::global_average_pool:
    case Op::concat:
      return true;
    default:
      return false;
  }
}

/// The only node that reads `id`, when nothing else (a graph output) needs it.
std::optional<NodeId> only_reader(const Graph& graph, TensorId id) {
  const auto readers = graph.consumers(id);
  const auto outputs = graph.outputs();
  if (readers.size() != 1 || std::find(outputs.begin(), outputs.end(), id) != outputs.end())
    return std::nullopt;
  return readers[0];
}

/// How a gemm or matmul with constant weights multiplies: rows x K by K x N.
struct Product {
  std::int64_t rows = 0, k = 0, n = 0;
};

/// nullopt: not expressible as a convolution (constants in other places, rows with their own bias, ...).
std::optional<Product> dense_product(const Graph& graph, const Node& node) {
  const Shape &a = graph.tensor(node.inputs[0]).shape, &b = graph.tensor(node.inputs[1]).shape;
  if (is_constant(graph, node.inputs[0]) || !is_constant(graph, node.inputs[1]) || b.rank() != 2)
    return std::nullopt;
  if (a.elements() == 0 || b.elements() == 0) return std::nullopt;
  if (node.op == Op::matmul) {
    // Rows must lie one behind the other in memory: rank 4 is stored channels last.
    if (a.rank() == 4 && a[1] != 1) return std::nullopt;
    return Product{a.elements() / a.back(), a.back(), b[1]};
  }
  if (node.transpose_a) return std::nullopt;
  const Product p{a[0], a[1], b[node.transpose_b ? 0 : 1]};
  if (node.inputs.size() == 3) {
    const Shape& c = graph.tensor(node.inputs[2]).shape;
    if (!is_constant(graph, node.inputs[2]) ||
        (c.elements() != 1 && !(c.back() == p.n && c.elements() == p.n)))
      return std::nullopt;
  }
  return p;
}

bool weights_are_constant(const Graph& graph, const Node& node) {
  return std::all_of(node.inputs.begin() + 1, node.inputs.end(),
                     [&](TensorId t) { return is_constant(graph, t); });
}

class Lowering {
 public:
  Lowering(const Graph& graph, NodeId first, NodeId last, const LowerOptions& options)
      : graph_{graph}, first_{first}, last_{last}, options_{options} {
    if (first >= last || last > graph.nodes().size()) {
      throw Error{
          Errc::bad_argument,
          fmt::format("graph '{}': nodes [{}, {}) of {} are no segment; give a range inside the graph",
                      graph.name(), first, last, graph.nodes().size())};
    }
    result_.boundary = boundary(graph, first, last);
    resolved_.resize(graph.tensors().size());
    for (TensorId t = 0; t < resolved_.size(); ++t) resolved_[t] = t;
    done_.resize(last - first);
  }

  LoweredSegment run() {
    for (NodeId n = first_; n < last_; ++n) absorb_flatten(n);
    for (NodeId n = first_; n < last_; ++n) {
      if (!done_[n - first_]) lower_node(n);
    }
    return std::move(result_);
  }

 private:
  bool inside(NodeId n) const { return n >= first_ && n < last_; }
  bool leaves(TensorId t) const {
    const auto& out = result_.boundary.outputs;
    return std::binary_search(out.begin(), out.end(), t);
  }

  /// A gemm behind a chain of reshapes that nobody else reads takes the tensor before the chain: row-major
  /// order does not change on the way, so only the weights have to follow the channels-last storage.
  void absorb_flatten(NodeId n) {
    const Node& node = graph_.nodes()[n];
    if (node.op != Op::gemm && node.op != Op::matmul) return;
    const auto product = dense_product(graph_, node);
    if (!product || product->rows != 1) return;
    std::vector<NodeId> chain;
    TensorId source = node.inputs[0];
    while (const auto writer = graph_.producer(source)) {
      const Op op = graph_.nodes()[*writer].op;
      if (!inside(*writer) || (op != Op::reshape && op != Op::identity) || leaves(source) ||
          !only_reader(graph_, source))
        break;
      chain.push_back(*writer);
      source = graph_.nodes()[*writer].inputs[0];
    }
    const Shape& shape = graph_.tensor(source).shape;
    if (chain.empty() || is_constant(graph_, source) || (shape.rank() == 4 && shape[0] != 1)) return;
    for (const NodeId m : chain) done_[m - first_] = true;
    resolved_[node.inputs[0]] = source;  // its only reader is this node
  }

  TensorId resolve(TensorId t) const {
    while (resolved_[t] != t) t = resolved_[t];
    return t;
  }

  void lower_node(NodeId n) {
    const Node& node = graph_.nodes()[n];
    if (node.op == Op::identity && !leaves(node.outputs[0])) {
      resolved_[node.outputs[0]] = node.inputs[0];
      return;
    }
    LoweredOp op;
    op.op = node.op;
    op.node = op.folded_through = n;
    op.outputs = node.outputs;
    Affine affine;  // what follows the linear part of a conv
    const bool linear = begin_linear(op, node, affine);
    if (!linear) {
      for (const TensorId t : node.inputs) op.inputs.push_back(resolve(t));
    }
    extend(op, linear ? &affine : nullptr);
    if (linear) fill_weights(op, node, affine);
    result_.ops.push_back(std::move(op));
  }

  /// Turns convolutions, dense layers and stand-alone affine nodes into Op::conv (all but the weights).
  bool begin_linear(LoweredOp& op, const Node& node, Affine& affine) {
    if (node.op == Op::conv) {
      if (!weights_are_constant(graph_, node)) {
        throw Error{
            Errc::unsupported,
            fmt::format("node '{}' (conv): weights and bias must be constants; fold them into initializers",
                        node.name)};
      }
      op.window = node.window;
      op.groups = node.groups;
      op.in_channels = static_cast<int>(graph_.tensor(node.inputs[0]).shape[1]);
      op.out_channels = static_cast<int>(graph_.tensor(node.inputs[1]).shape[0]);
      op.inputs = {resolve(node.inputs[0])};
    } else if (node.op == Op::gemm || node.op == Op::matmul) {
      const auto product = dense_product(graph_, node);
      if (!product) return false;
      begin_dense(op, node, *product);
    } else if (channel_affine(graph_, node, affine.scale, affine.shift)) {
      begin_affine(op, node);
      return true;
    } else {
      return false;
    }
    op.op = Op::conv;
    const auto channels = static_cast<std::size_t>(op.out_channels);
    affine = {std::vector<double>(channels, 1.0), std::vector<double>(channels, 0.0)};
    return true;
  }

  void begin_dense(LoweredOp& op, const Node& node, const Product& product) {
    op.dense = true;
    op.inputs = {resolve(node.inputs[0])};
    op.dense_rows = static_cast<int>(product.rows);
    op.out_channels = static_cast<int>(product.n);
    op.in_channels = static_cast<int>(product.k);
    const Shape& x = graph_.tensor(op.inputs[0]).shape;
    if (op.inputs[0] != resolve_identity(node.inputs[0]) && x.rank() == 4) {
      op.in_channels = static_cast<int>(x[1]);
      op.window.kernel_h = static_cast<int>(x[2]);
      op.window.kernel_w = static_cast<int>(x[3]);
    }
  }

  /// The tensor behind identities only: differs from resolve() exactly where a flatten was absorbed.
  TensorId resolve_identity(TensorId t) const {
    for (;;) {
      const auto writer = graph_.producer(t);
      if (!writer || !inside(*writer) || graph_.nodes()[*writer].op != Op::identity || leaves(t)) return t;
      t = graph_.nodes()[*writer].inputs[0];
    }
  }

  void begin_affine(LoweredOp& op, const Node& node) {
    const TensorId x = affine_input(graph_, node);
    const Shape& shape = graph_.tensor(x).shape;
    op.op = Op::conv;
    op.inputs = {resolve(x)};
    op.groups = op.in_channels = op.out_channels = static_cast<int>(shape[1]);
    op.dense = shape.rank() == 2;
    if (op.dense) op.dense_rows = static_cast<int>(shape[0]);
  }

  /// Follows the op's result as long as nobody else sees it: identities, affine nodes (folded), one
  /// activation (attached).
  void extend(LoweredOp& op, Affine* affine) {
    if (op.outputs.size() != 1) return;
    std::vector<double> scale, shift;
    const bool channels_are_axis_1 = !op.dense || graph_.tensor(op.outputs[0]).shape.rank() == 2;
    while (!leaves(op.outputs[0])) {
      const auto reader = only_reader(graph_, op.outputs[0]);
      if (!reader || !inside(*reader) || done_[*reader - first_]) return;
      const Node& next = graph_.nodes()[*reader];
      const bool active = op.activation.kind != Activation::Kind::none;
      const auto activation = activation_of(next);
      if (next.op == Op::identity) {
        // followed below
      } else if (options_.fold && affine && channels_are_axis_1 && !active &&
                 channel_affine(graph_, next, scale, shift)) {
        affine->then(scale, shift);
        op.folded_through = *reader;
      } else if (options_.fuse && activation && !active && takes_activation(op.op)) {
        op.activation = *activation;
      } else {
        return;
      }
      done_[*reader - first_] = true;
      op.outputs = next.outputs;
    }
  }

  void fill_weights(LoweredOp& op, const Node& node, const Affine& affine) const {
    const auto out = static_cast<std::size_t>(op.out_channels);
    op.bias.resize(out);
    if (node.op == Op::conv) {
      conv_weights(op, node, affine);
    } else if (node.op == Op::gemm || node.op == Op::matmul) {
      dense_weights(op, node, affine);
    } else {
      op.weights.resize(out);
      for (std::size_t c = 0; c < out; ++c) {
        op.weights[c] = static_cast<float>(affine.scale[c]);
        op.bias[c] = static_cast<float>(affine.shift[c]);
      }
    }
  }

  void conv_weights(LoweredOp& op, const Node& node, const Affine& affine) const {
    const auto w = graph_.constant(node.inputs[1]);
    const auto b = node.inputs.size() == 3 ? graph_.constant(node.inputs[2]) : std::span<const float>{};
    const auto in = static_cast<std::size_t>(op.in_channels / op.groups);
    const auto taps =
        static_cast<std::size_t>(op.window.kernel_h) * static_cast<std::size_t>(op.window.kernel_w);
    op.weights.resize(w.size());
    for (std::size_t o = 0; o < op.bias.size(); ++o) {
      op.bias[o] = static_cast<float>((b.empty() ? 0.0 : static_cast<double>(b[o])) * affine.scale[o] +
                                      affine.shift[o]);
      for (std::size_t i = 0; i < in; ++i) {
        const float* from = w.data() + (o * in + i) * taps;
        float* to = op.weights.data() + o * in * taps + i;
        for (std::size_t tap = 0; tap < taps; ++tap)
          to[tap * in] = static_cast<float>(from[tap] * affine.scale[o]);
      }
    }
  }

  void dense_weights(LoweredOp& op, const Node& node, const Affine& affine) const {
    const bool gemm = node.op == Op::gemm;
    const auto w = graph_.constant(node.inputs[1]);
    const auto c =
        gemm && node.inputs.size() == 3 ? graph_.constant(node.inputs[2]) : std::span<const float>{};
    const double alpha = gemm ? node.alpha : 1.0, beta = gemm ? node.beta : 1.0;
    const bool rows_are_outputs = gemm && node.transpose_b;
    const std::size_t outs = op.bias.size(), k = w.size() / outs;
    const auto channels = static_cast<std::size_t>(op.in_channels);
    const std::size_t taps = k / channels;
    op.weights.resize(w.size());
    for (std::size_t o = 0; o < outs; ++o) {
      const double bias = c.empty() ? 0.0 : beta * static_cast<double>(c[c.size() == 1 ? 0 : o]);
      op.bias[o] = static_cast<float>(bias * affine.scale[o] + affine.shift[o]);
    }
    // Some outputs at a time, so that weights given column by column are read in whole cache lines.
    constexpr std::size_t block = 16;
    const std::size_t next_output = rows_are_outputs ? k : 1, next_input = rows_are_outputs ? 1 : outs;
    for (std::size_t first = 0; first < outs; first += block) {
      const std::size_t last = std::min(first + block, outs);
      for (std::size_t channel = 0; channel < channels; ++channel) {
        for (std::size_t tap = 0; tap < taps; ++tap) {  // the flattened logical order: channel after channel
          const float* from = w.data() + (channel * taps + tap) * next_input;
          float* to = op.weights.data() + tap * channels + channel;
          for (std::size_t o = first; o < last; ++o) {
            to[o * k] = static_cast<float>(from[o * next_output] * (alpha * affine.scale[o]));
          }
        }
      }
    }
  }

  const Graph& graph_;
  NodeId first_, last_;
  LowerOptions options_;
  LoweredSegment result_;
  std::vector<TensorId> resolved_;
  std::vector<bool> done_;  // nodes that are part of an op or gone
};

}  // namespace

std::vector<NodeId> fold_chain(const Graph& graph, NodeId node) {
  std::vector<NodeId> chain;
  const Node* at = &graph.nodes()[node];
  std::vector<double> scale, shift;
  const bool dense = (at->op == Op::gemm || at->op == Op::matmul) && dense_product(graph, *at);
  if (at->op != Op::conv && !dense && !channel_affine(graph, *at, scale, shift)) return chain;
  if (dense && graph.tensor(at->outputs[0]).shape.rank() != 2) return chain;
  while (const auto reader = only_reader(graph, at->outputs[0])) {
    at = &graph.nodes()[*reader];
    if (at->op == Op::identity) continue;
    if (!channel_affine(graph, *at, scale, shift)) break;
    chain.push_back(*reader);
  }
  return chain;
}

LoweredSegment lower(const Graph& graph, NodeId first, NodeId last, const LowerOptions& options) {
  return Lowering{graph, first, last, options}.run();
}

}  // namespace splitcnn::inline v0
