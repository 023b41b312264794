// save_qdq: a DPU segment as an ONNX model that other runtimes run. Every lowered operation becomes float operators whose result is stored in
// int8; weights are the DPU's own bytes.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "dpu/soft/program.hpp"
#include "graph/lower.hpp"
#include "graph/onnx/qdq.hpp"
#include "splitcnn/dpu_stage.hpp"

namespace splitcnn::inline v0 {

namespace {

using namespace soft;

class QdqBuilder {
 public:
  QdqBuilder(const QuantizedGraph& quant, NodeId first, NodeId last)
      : graph_{quant.graph()}, segment_{lower(graph_, first, last)}, program_{compile(quant, first, last)}, builder_{graph_.name()},
        mapped_(graph_.tensors().size()) {
    for (const Buffer& b : program_.buffers) fix_points_[b.tensor] = b.fix_point;
  }

  void save(const std::filesystem::path& path) {
    for (const TensorId t : segment_.boundary.inputs) {
      mapped_[t] = builder_.input(graph_.tensor(t).name, graph_.tensor(t).shape);
      store(mapped_[t], fix_points_.at(t));
    }
    for (const LoweredOp& op : segment_.ops) add(op);
    for (const TensorId t : segment_.boundary.outputs) builder_.output(mapped_[t]);
    const Graph graph = std::move(builder_).build();
    stored_.resize(graph.tensors().size());
    save_qdq_model(graph, stored_, path);
  }

 private:
  void store(TensorId t, int fix_point, bool wide = false) {
    if (stored_.size() <= t) stored_.resize(t + 1);
    stored_[t] = ByteTensor{fix_point, wide};
  }
  [[nodiscard]] const Shape& shape(TensorId old) const { return graph_.tensor(old).shape; }
  /// Of a tensor that is the same bytes under another name: that of what it was made from.
  int fix_point(TensorId t, TensorId source) {
    const auto found = fix_points_.find(t);
    return fix_points_[t] = found != fix_points_.end() ? found->second : fix_points_.at(source);
  }

  /// Adds a node in the middle of an operation: its result is not stored.
  TensorId part(Node node, std::optional<Shape> shape = {}) {
    node.name = fmt::format("{}/{}", name_, parts_);
    return builder_.add(std::move(node), fmt::format("{}/part{}", name_, parts_++), shape);
  }
  /// The last node of an operation, whose result is the tensor `old`.
  void finish(Node node, TensorId old, int fix_point, std::optional<Shape> shape = {}) {
    node.name = name_;
    mapped_[old] = builder_.add(std::move(node), graph_.tensor(old).name, shape);
    store(mapped_[old], fix_point);
  }

  TensorId constant(const char* role, const Shape& shape, std::vector<float> values) {
    return builder_.constant(fmt::format("{}/{}", name_, role), shape, std::move(values));
  }
  TensorId bytes(const char* role, const Shape& shape, std::span<const std::int8_t> values, int fix_point, int stored_as, bool wide) {
    std::vector<float> floats;
    for (const std::int8_t v : values) floats.push_back(std::ldexp(static_cast<float>(v), -fix_point));
    const TensorId id = constant(role, shape, std::move(floats));
    store(id, stored_as, wide);
    return id;
  }

  void add(const LoweredOp& op) {
    name_ = graph_.nodes()[op.node].name;
    parts_ = 0;
    TensorId result = 0;
    switch (op.op) {
      case Op::conv: result = linear(op); break;
      case Op::average_pool:
      case Op::global_average_pool:
      case Op::reduce_mean: result = average(op); break;
      default: return add_plain(op);
    }
    activate(op, result);
  }

  const ConvSpec& spec() const {
    const auto at = std::find_if(program_.instructions.begin(), program_.instructions.end(),
                                 [&](const Instruction& i) { return i.name == name_ && std::holds_alternative<ConvSpec>(i.work); });
    return std::get<ConvSpec>(at->work);
  }

  /// The DPU's weights as O, I, kernel_h, kernel_w.
  TensorId weights(const ConvSpec& s) {
    const std::int64_t in = s.in.c / s.groups, taps = std::int64_t{s.window.kernel_h} * s.window.kernel_w;
    std::vector<std::int8_t> turned(s.weights.size());
    for (std::int64_t o = 0; o < s.out.c; ++o) {
      for (std::int64_t t = 0; t < taps; ++t) {
        for (std::int64_t i = 0; i < in; ++i) {
          turned[static_cast<std::size_t>((o * in + i) * taps + t)] = s.weights[static_cast<std::size_t>((o * taps + t) * in + i)];
        }
      }
    }
    return bytes("weights", {s.out.c, in, s.window.kernel_h, s.window.kernel_w}, turned, s.fp_weight, s.fp_weight, false);
  }

  TensorId bias(const ConvSpec& s) {  // in units of the sums where it is a multiple of them: then runtimes fuse it
    const bool wide = s.shift_bias() >= 0;
    return bytes("bias", {s.out.c}, s.bias, s.fp_bias, wide ? s.fp_in + s.fp_weight : s.fp_bias, wide);
  }

  /// Convolutions; dense layers as convolutions over one map, or over rows as maps of one pixel.
  TensorId linear(const LoweredOp& op) {
    const ConvSpec& s = spec();
    TensorId x = mapped_[op.inputs[0]];
    const Shape wanted{s.in.n, s.in.c, s.in.h, s.in.w};
    if (builder_.shape(x) != wanted) {
      x = part({.op = Op::reshape, .inputs = {x}}, wanted);
      store(x, s.fp_in);
    }
    return part({.op = Op::conv, .inputs = {x, weights(s), bias(s)}, .window = s.window, .groups = s.groups});
  }

  /// The pool as runtimes have it, times what makes 1/area the DPU's N/2^M.
  TensorId average(const LoweredOp& op) {
    Node node = graph_.nodes()[op.node];
    node.inputs = {mapped_[op.inputs[0]]};
    const Shape& in = shape(op.inputs[0]);
    const bool whole = op.op != Op::average_pool;
    const int kernel_h = whole ? static_cast<int>(in[2]) : node.window.kernel_h, kernel_w = whole ? static_cast<int>(in[3]) : node.window.kernel_w;
    const std::int64_t area = std::int64_t{kernel_h} * kernel_w;
    const AverageFactor f = average_factor(kernel_h, kernel_w, area);
    const auto factor = static_cast<float>(static_cast<double>(f.n * area) * power_of_two(-f.m));
    std::optional<Shape> stated;
    if (op.op == Op::reduce_mean) stated = shape(node.outputs[0]);
    const TensorId pooled = part(node, stated);
    return factor == 1 ? pooled : part({.op = Op::mul, .inputs = {pooled, constant("factor", {1}, {factor})}});
  }

  /// The activation as the DPU computes it, and a reshape where a dense layer changed the rank; then the result is stored.
  void activate(const LoweredOp& op, TensorId x) {
    const TensorId out = op.outputs[0];
    const int fp = fix_point(out, op.inputs[0]);
    Node node = activation_node(op.activation, fp);
    const bool reshapes = builder_.shape(x) != shape(out);
    if (node.op == Op::identity && !reshapes) node = {.op = Op::identity};
    node.inputs = {x};
    if (!reshapes) return finish(std::move(node), out, fp);
    const TensorId active = part(std::move(node));
    store(active, fp);
    finish({.op = Op::reshape, .inputs = {active}}, out, fp, shape(out));
  }

  static Node activation_node(const Activation& a, int fp) {
    using Kind = Activation::Kind;
    switch (a.kind) {
      case Kind::relu: return {.op = Op::relu};
      case Kind::clip:
        if (!(a.beta == 6)) return {.op = Op::relu};
        return {.op = Op::clip, .alpha = 0, .beta = fp <= 4 ? std::ldexp(96.0f, -fp) : 6.0f};
      case Kind::leaky_relu: return {.op = Op::leaky_relu, .alpha = static_cast<float>(leaky_alpha)};
      case Kind::hard_sigmoid: return {.op = Op::hard_sigmoid, .alpha = 2731.0f / 16384, .beta = 3 * 2731.0f / 16384};
      case Kind::hard_swish: return {.op = Op::hard_swish};
      case Kind::none: break;
    }
    return {.op = Op::identity};
  }

  /// Every other operation: the node as it is, then its activation.
  void add_plain(const LoweredOp& op) {
    Node node = graph_.nodes()[op.node];
    for (TensorId& t : node.inputs) t = 0;
    node.inputs.clear();
    for (const TensorId t : op.inputs) node.inputs.push_back(mapped_[t]);
    if (is_activation(op.op)) {
      const Activation a{kind_of(op.op), node.alpha, node.beta};
      Node active = activation_node(a, fix_point(op.outputs[0], op.inputs[0]));
      active.inputs = node.inputs;
      return finish(std::move(active), op.outputs[0], fix_point(op.outputs[0], op.inputs[0]));
    }
    if (op.outputs.size() > 1) return add_split(op, std::move(node));
    std::optional<Shape> stated;
    if (op.op == Op::reshape || op.op == Op::resize || op.op == Op::gather) stated = shape(node.outputs[0]);
    const int fp = fix_point(op.outputs[0], op.inputs[0]);
    if (op.activation.kind == Activation::Kind::none) return finish(std::move(node), op.outputs[0], fp, stated);
    activate(op, part(std::move(node), stated));
  }

  void add_split(const LoweredOp& op, Node node) {
    std::vector<std::string> names;
    std::vector<Shape> shapes;
    for (const TensorId t : op.outputs) {
      names.push_back(graph_.tensor(t).name);
      shapes.push_back(shape(t));
    }
    const auto made = builder_.add_multi(std::move(node), names, shapes);
    for (std::size_t i = 0; i < made.size(); ++i) {
      mapped_[op.outputs[i]] = made[i];
      store(made[i], fix_point(op.outputs[i], op.inputs[0]));
    }
  }

  static bool is_activation(Op op) {
    return op == Op::relu || op == Op::clip || op == Op::leaky_relu || op == Op::hard_sigmoid || op == Op::hard_swish;
  }
  static Activation::Kind kind_of(Op op) {
    using Kind = Activation::Kind;
    return op == Op::relu ? Kind::relu : op == Op::clip ? Kind::clip : op == Op::leaky_relu ? Kind::leaky_relu
           : op == Op::hard_sigmoid ? Kind::hard_sigmoid : Kind::hard_swish;
  }

  const Graph& graph_;
  LoweredSegment segment_;
  Program program_;
  GraphBuilder builder_;
  std::vector<TensorId> mapped_;
  std::map<TensorId, int> fix_points_;
  std::vector<std::optional<ByteTensor>> stored_;
  std::string name_;
  int parts_ = 0;
};

}  // namespace

void save_qdq(const QuantizedGraph& quant, NodeId first, NodeId last, const std::filesystem::path& path) { QdqBuilder{quant, first, last}.save(path); }

}  // namespace splitcnn::inline v0
