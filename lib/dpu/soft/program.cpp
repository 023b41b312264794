#include "dpu/soft/program.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include "dpu/soft/moves.hpp"
#include "graph/lower.hpp"
#include "quant/rounding.hpp"

namespace splitcnn::inline v0::soft {

namespace {

Extent extent(const Shape& logical) {
  if (logical.rank() == 4) return {logical[0], logical[2], logical[3], logical[1]};
  if (logical.rank() == 0) return {};
  return {logical.elements() / std::max<std::int64_t>(logical.back(), 1), 1, 1, logical.back()};
}

class Compiler {
 public:
  Compiler(const QuantizedGraph& quant, NodeId first, NodeId last)
      : quant_{quant}, graph_{quant.graph()}, first_{first}, last_{last}, segment_{lower(graph_, first, last)} {
    find_rises();
  }

  Program run() {
    for (const TensorId t : segment_.boundary.inputs) program_.inputs.push_back({t, add_buffer(t, false)});
    for (const LoweredOp& op : segment_.ops) add(op);
    for (const TensorId t : segment_.boundary.outputs) program_.outputs.push_back({t, buffer_of(t)});
    place();
    return std::move(program_);
  }

 private:
  [[noreturn]] void refuse(const LoweredOp& op, const std::string& why) const {
    const Node& node = graph_.nodes()[op.node];
    throw Error{Errc::unsupported, fmt::format("node '{}' ({}): the DPU cannot run it: {}; cut before it", node.name, to_string(node.op), why)};
  }

  std::size_t add_buffer(TensorId t, bool non_negative) {
    const auto bytes = static_cast<std::size_t>(graph_.tensor(t).shape.elements());
    program_.buffers.push_back({.tensor = t, .bytes = bytes, .fix_point = fix_point(t), .non_negative = non_negative});
    owners_.resize(graph_.tensors().size());
    owners_[t] = program_.buffers.size() - 1;
    return *owners_[t];
  }

  std::size_t buffer_of(TensorId t) const {
    if (t >= owners_.size() || !owners_[t]) {
      throw Error{Errc::unsupported, fmt::format("tensor '{}' is a constant where the DPU needs an activation; cut before its reader",
                                                 graph_.tensor(t).name)};
    }
    return *owners_[t];
  }

  /// The scales a tensor carries in this segment, when the segment has everything they were made for.
  const ChannelScale* equalised(TensorId t) const {
    const ChannelScale* scale = quant_.channel_scale(t);
    return scale && first_ <= scale->first && scale->last <= last_ ? scale : nullptr;
  }

  int fix_point(TensorId t) const {
    const ChannelScale* scale = equalised(t);
    return scale ? scale->fix_point : quant_.fix_point(t);
  }

  /// An add whose inputs are finer than its output by k bits rounds up by 2^-(k+1) of its step on average: ties are common there. The
  /// convolution behind one of its inputs takes that off its bias, where nobody else sees its result.
  void find_rises() {
    rises_.resize(graph_.tensors().size(), 0.0);
    std::vector<int> readers(graph_.tensors().size(), 0), writers(graph_.tensors().size(), 0);
    for (const LoweredOp& op : segment_.ops) {
      for (const TensorId t : op.inputs) ++readers[t];
      if (op.op == Op::conv && op.activation.kind == Activation::Kind::none) ++writers[op.outputs[0]];
    }
    const auto& leaving = segment_.boundary.outputs;
    for (const LoweredOp& op : segment_.ops) {
      if (op.op != Op::add) continue;
      const int fp_out = fix_point(op.outputs[0]);
      const int finer = std::max(fix_point(op.inputs[0]), fix_point(op.inputs[1])) - fp_out;
      if (finer <= 0) continue;
      for (const TensorId t : op.inputs) {
        if (!writers[t] || readers[t] != 1 || std::binary_search(leaving.begin(), leaving.end(), t)) continue;
        rises_[t] = power_of_two(-(finer + 1) - fp_out);
        break;
      }
    }
  }

  Nonlinear nonlinear(const LoweredOp& op) const {
    using Kind = Activation::Kind;
    const Activation& a = op.activation;
    switch (a.kind) {
      case Kind::none: return Nonlinear::none;
      case Kind::relu: return Nonlinear::relu;
      case Kind::clip:
        if (a.alpha == 0 && a.beta == 6) return Nonlinear::relu6;
        if (a.alpha == 0 && a.beta >= std::numeric_limits<float>::max()) return Nonlinear::relu;
        refuse(op, fmt::format("clip to [{}, {}]; only [0, 6] and [0, inf) exist", a.alpha, a.beta));
      case Kind::leaky_relu:
        if (std::abs(a.alpha - 0.1f) < 0.002f) return Nonlinear::leaky_relu;
        refuse(op, fmt::format("leaky_relu with slope {}; only 26/256 (0.1) exists", a.alpha));
      case Kind::hard_sigmoid:
        if (std::abs(a.alpha - 1.0f / 6) < 1e-4f && std::abs(a.beta - 0.5f) < 1e-4f) return Nonlinear::hard_sigmoid;
        refuse(op, fmt::format("hard_sigmoid with {} x + {}; only x/6 + 1/2 exists", a.alpha, a.beta));
      case Kind::hard_swish: return Nonlinear::hard_swish;
    }
    return Nonlinear::none;
  }

  static bool never_negative(Nonlinear n) {
    return n == Nonlinear::relu || n == Nonlinear::relu6 || n == Nonlinear::hard_sigmoid;
  }

  void emit(const LoweredOp& op, std::vector<std::size_t> inputs, std::size_t output, decltype(Instruction::work) work) {
    const auto at = static_cast<std::ptrdiff_t>(program_.instructions.size());
    for (const std::size_t b : inputs) program_.buffers[b].last = at;
    if (program_.buffers[output].first < 0) program_.buffers[output].first = at;
    program_.instructions.push_back({graph_.nodes()[op.node].name, std::move(inputs), output, std::move(work)});
  }

  void add(const LoweredOp& op) {
    switch (op.op) {
      case Op::conv: return add_conv(op);
      case Op::add:
      case Op::mul: return add_binary(op);
      case Op::max_pool:
      case Op::average_pool:
      case Op::global_average_pool:
      case Op::reduce_mean: return add_pool(op);
      case Op::concat: return add_concat(op);
      case Op::relu:
      case Op::clip:
      case Op::leaky_relu:
      case Op::hard_sigmoid:
      case Op::hard_swish: return add_activation(op);
      default: return add_move(op);
    }
  }

  void add_conv(const LoweredOp& op) {
    if (op.weights.empty()) refuse(op, "its weights are not constants");
    const std::size_t in = buffer_of(op.inputs[0]);
    ConvSpec s;
    s.name = graph_.nodes()[op.node].name;
    s.window = op.window;
    s.groups = op.groups;
    s.in = extent(graph_.tensor(op.inputs[0]).shape);
    s.out = extent(graph_.tensor(op.outputs[0]).shape);
    if (op.dense) {  // rows of in_channels x kernel, one behind the other
      s.in = {op.dense_rows, op.window.kernel_h, op.window.kernel_w, op.in_channels};
      s.out = {op.dense_rows, 1, 1, op.out_channels};
    }
    s.nonlinear = nonlinear(op);
    s.source_non_negative = program_.buffers[in].non_negative;
    quantise(op, s);
    const std::size_t out = add_buffer(op.outputs[0], never_negative(s.nonlinear));
    emit(op, {in}, out, std::move(s));
  }

  void quantise(const LoweredOp& op, ConvSpec& s) const {
    const ChannelScale *in = equalised(op.inputs[0]), *out = equalised(op.outputs[0]);
    const WeightQuant& w = quant_.weight(op.node, op.folded_through, in != nullptr, out != nullptr);
    s.fp_in = fix_point(op.inputs[0]);
    s.fp_out = fix_point(op.outputs[0]);
    s.fp_weight = w.weight_fix_point;
    s.fp_bias = w.bias_fix_point;
    if (s.shift_bias() < -20 || s.shift_bias() > 24 || std::abs(s.shift_cut()) > 60) {
      throw Error{Errc::bad_file, fmt::format("node '{}': its fix points (input {}, weights {}, bias {}, output {}) are outside what the DPU's "
                                              "shifts hold; calibrate again", s.name, s.fp_in, s.fp_weight, s.fp_bias, s.fp_out)};
    }
    WeightBytes bytes = w.tuned ? *w.tuned : round_weights(op, w, in, out, quant_.moments(op.inputs[0]), rises_[op.outputs[0]]);
    if (bytes.weights.size() != op.weights.size() || bytes.bias.size() != op.bias.size()) {
      throw Error{Errc::bad_file, fmt::format("node '{}': the calibration holds {} weights and {} biases for it, it has {} and {}; calibrate "
                                              "again", s.name, bytes.weights.size(), bytes.bias.size(), op.weights.size(), op.bias.size())};
    }
    s.weights = std::move(bytes.weights);
    s.bias = std::move(bytes.bias);
  }

  void add_binary(const LoweredOp& op) {
    BinarySpec s;
    const Shape& out_shape = graph_.tensor(op.outputs[0]).shape;
    const auto order = storage_strides(out_shape);
    std::vector<std::size_t> dims(out_shape.rank());
    for (std::size_t d = 0; d < dims.size(); ++d) dims[d] = d;
    if (dims.size() == 4) dims = {0, 2, 3, 1};
    for (const std::size_t d : dims) s.dims.push_back(out_shape[d]);
    std::vector<std::size_t> inputs;
    for (std::size_t i = 0; i < 2; ++i) {
      const Shape& shape = graph_.tensor(op.inputs[i]).shape;
      if (graph_.tensor(op.inputs[i]).constant) refuse(op, "one side is a constant that differs within a channel");
      inputs.push_back(buffer_of(op.inputs[i]));
      const auto strides = storage_strides(shape);
      const std::size_t missing = out_shape.rank() - shape.rank();
      for (const std::size_t d : dims) s.strides[i].push_back(d < missing || shape[d - missing] == 1 ? 0 : strides[d - missing]);
      s.fp_in[i] = fix_point(op.inputs[i]);
    }
    s.fp_out = fix_point(op.outputs[0]);
    s.nonlinear = nonlinear(op);
    const bool both = program_.buffers[inputs[0]].non_negative && program_.buffers[inputs[1]].non_negative;
    const std::size_t out = add_buffer(op.outputs[0], both || never_negative(s.nonlinear));
    if (op.op == Op::add) {
      emit(op, std::move(inputs), out, Add{std::move(s)});
    } else {
      emit(op, std::move(inputs), out, Mul{std::move(s)});
    }
  }

  void add_pool(const LoweredOp& op) {
    const Node& node = graph_.nodes()[op.node];
    const Shape& in_shape = graph_.tensor(op.inputs[0]).shape;
    const std::size_t in = buffer_of(op.inputs[0]);
    if (in_shape.rank() != 4) refuse(op, "only images (4 dimensions) are pooled");
    PoolSpec s;
    s.in = extent(in_shape);
    s.window = node.window;
    s.average = op.op != Op::max_pool;
    s.count_include_pad = node.count_include_pad;
    if (op.op == Op::global_average_pool || op.op == Op::reduce_mean) {
      if (op.op == Op::reduce_mean && node.axes != std::vector<std::int64_t>{2, 3}) refuse(op, "only a mean over height and width exists");
      s.window = {.kernel_h = static_cast<int>(s.in.h), .kernel_w = static_cast<int>(s.in.w)};
      s.out = {s.in.n, 1, 1, s.in.c};
    } else {
      s.out = extent(graph_.tensor(op.outputs[0]).shape);
    }
    s.fp_in = fix_point(op.inputs[0]);
    s.fp_out = fix_point(op.outputs[0]);
    s.nonlinear = nonlinear(op);
    const std::size_t out = add_buffer(op.outputs[0], program_.buffers[in].non_negative || never_negative(s.nonlinear));
    emit(op, {in}, out, s);
  }

  void add_concat(const LoweredOp& op) {
    const Node& node = graph_.nodes()[op.node];
    bool non_negative = true;
    std::vector<std::size_t> inputs;
    for (const TensorId t : op.inputs) inputs.push_back(buffer_of(t));
    for (const std::size_t b : inputs) non_negative = non_negative && program_.buffers[b].non_negative;
    const Nonlinear n = nonlinear(op);
    const std::size_t out = add_buffer(op.outputs[0], non_negative || never_negative(n));
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      MoveSpec s;
      s.runs = concat_runs(graph_, node, i);
      s.elements = graph_.tensor(op.inputs[i]).shape.elements();
      s.fp_in = fix_point(op.inputs[i]);
      s.fp_out = fix_point(op.outputs[0]);
      s.nonlinear = n;
      emit(op, {inputs[i]}, out, std::move(s));
    }
  }

  void add_activation(const LoweredOp& op) {
    const Node& node = graph_.nodes()[op.node];
    LoweredOp with = op;
    using Kind = Activation::Kind;
    const Kind kind = op.op == Op::relu ? Kind::relu : op.op == Op::clip ? Kind::clip : op.op == Op::leaky_relu ? Kind::leaky_relu
                      : op.op == Op::hard_sigmoid ? Kind::hard_sigmoid : Kind::hard_swish;
    with.activation = {kind, node.alpha, node.beta};
    const std::size_t in = buffer_of(op.inputs[0]);
    MoveSpec s;
    s.elements = graph_.tensor(op.outputs[0]).shape.elements();
    s.runs = {{0, 0, s.elements}};
    s.fp_in = fix_point(op.inputs[0]);
    s.fp_out = fix_point(op.outputs[0]);
    s.nonlinear = nonlinear(with);
    const std::size_t out = add_buffer(op.outputs[0], program_.buffers[in].non_negative || never_negative(s.nonlinear));
    emit(op, {in}, out, std::move(s));
  }

  void add_move(const LoweredOp& op) {
    const Node& node = graph_.nodes()[op.node];
    switch (op.op) {
      case Op::reshape: case Op::identity: case Op::slice: case Op::split: case Op::pad: case Op::transpose: case Op::resize: case Op::gather: break;
      default: refuse(op, "there is no such operation");
    }
    const std::size_t in = buffer_of(op.inputs[0]);
    for (std::size_t j = 0; j < op.outputs.size(); ++j) {
      MoveSpec s;
      s.elements = graph_.tensor(op.outputs[j]).shape.elements();
      s.runs = move_runs(graph_, node, j);
      s.fp_in = fix_point(op.inputs[0]);
      s.fp_out = fix_point(op.outputs[j]);
      s.fill = op.op == Op::pad ? dpu_round(node.alpha * power_of_two(s.fp_out)) : std::int8_t{0};
      if (s.identity()) {  // nothing moves: the same bytes under another name
        owners_.resize(graph_.tensors().size());
        owners_[op.outputs[j]] = in;
        continue;
      }
      const std::size_t out = add_buffer(op.outputs[j], program_.buffers[in].non_negative && s.fill >= 0);
      emit(op, {in}, out, std::move(s));
    }
  }

  /// First fit: buffers in the order they are written, each at the lowest place that nothing alive at the same time occupies.
  void place() {
    const auto end = static_cast<std::ptrdiff_t>(program_.instructions.size());
    for (const Edge& e : program_.outputs) program_.buffers[e.buffer].last = end;
    for (const Edge& e : program_.inputs) program_.buffers[e.buffer].first = -1;
    std::vector<Buffer*> placed;
    for (Buffer& b : program_.buffers) {
      b.last = std::max(b.last, b.first);
      std::vector<const Buffer*> alive;
      for (const Buffer* p : placed) {
        if (p->first <= b.last && b.first <= p->last) alive.push_back(p);
      }
      std::sort(alive.begin(), alive.end(), [](const Buffer* x, const Buffer* y) { return x->offset < y->offset; });
      std::size_t at = 0;
      for (const Buffer* p : alive) {
        if (at + b.bytes <= p->offset) break;
        at = std::max(at, (p->offset + p->bytes + 63) / 64 * 64);
      }
      b.offset = at;
      program_.bytes = std::max(program_.bytes, at + b.bytes);
      placed.push_back(&b);
    }
  }

  const QuantizedGraph& quant_;
  const Graph& graph_;
  NodeId first_, last_;
  LoweredSegment segment_;
  Program program_;
  std::vector<std::optional<std::size_t>> owners_;  // buffer of a tensor
  std::vector<double> rises_;                       // per tensor
};

}  // namespace

Program compile(const QuantizedGraph& quant, NodeId first, NodeId last) { return Compiler{quant, first, last}.run(); }

}  // namespace splitcnn::inline v0::soft
