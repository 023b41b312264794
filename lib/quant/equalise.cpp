#include "quant/equalise.hpp"

#include <algorithm>
#include <cmath>

namespace splitcnn::inline v0 {

namespace {

constexpr int most_exponent = 12;
/// A scaled ReLU6 tensor is stored at fix point 5 or finer, where the DPU has no clamp at 96 and saturation at 127 clips: all of the
/// byte's range is used instead of three quarters.
constexpr double clip_limit = 127.0 / 32;

std::size_t inputs_per_group(const LoweredOp& op) { return static_cast<std::size_t>(op.in_channels / op.groups); }

/// Calls f(weight index, out channel, in channel) for every weight.
template <class F>
void for_each_weight(const LoweredOp& op, const F& f) {
  const std::size_t per = inputs_per_group(op), outs = static_cast<std::size_t>(op.out_channels);
  const std::size_t taps = op.weights.size() / outs / per, outs_per_group = outs / static_cast<std::size_t>(op.groups);
  std::size_t index = 0;
  for (std::size_t o = 0; o < outs; ++o) {
    const std::size_t first = o / outs_per_group * per;
    for (std::size_t tap = 0; tap < taps; ++tap) {
      for (std::size_t i = 0; i < per; ++i) f(index++, o, first + i);
    }
  }
}

bool commutes(const Activation& a) {
  using Kind = Activation::Kind;
  return a.kind == Kind::none || a.kind == Kind::relu || a.kind == Kind::leaky_relu || (a.kind == Kind::clip && a.alpha == 0 && a.beta == 6);
}

/// The tensor before the activation that writes `t`.
TensorId before_activation(const Graph& graph, TensorId t) {
  for (;;) {
    const Node& node = graph.nodes()[*graph.producer(t)];
    t = node.inputs[0];
    if (node.op != Op::identity) return t;
  }
}

/// Scales as logarithms while they are sought.
struct Search {
  std::span<const LoweredOp> ops;
  std::span<const EqualisablePair> pairs;
  std::vector<std::vector<double>> logs;          // per pair and channel
  std::vector<const std::vector<double>*> in, out;  // per operation: the scales of its input and output

  /// log2 of the largest weight of each channel of pair p as the writer's output (true) or the reader's input, without the pair's own
  /// scale but with those on the other side. -inf where all are zero.
  std::vector<double> largest(std::size_t p, bool writer) const {
    const std::size_t at = writer ? pairs[p].writer : pairs[p].reader;
    const LoweredOp& op = ops[at];
    std::vector<double> result(logs[p].size(), 0.0);
    std::vector<double> other(static_cast<std::size_t>(writer ? op.in_channels : op.out_channels), 1.0);
    if (const auto* scales = writer ? in[at] : out[at]) {
      for (std::size_t c = 0; c < other.size(); ++c) other[c] = std::exp2(writer ? -(*scales)[c] : (*scales)[c]);
    }
    for_each_weight(op, [&](std::size_t i, std::size_t o, std::size_t c) {
      const double w = std::abs(static_cast<double>(op.weights[i])) * other[writer ? c : o];
      double& r = result[writer ? o : c];
      r = std::max(r, w);
    });
    for (double& r : result) r = std::log2(r);
    return result;
  }
};

/// Largest allowed log2 scale of a channel: its values must stay inside what the tensor holds anyway (6 for ReLU6), and its bias must not
/// outgrow that either.
double upper_bound(double range, double bias, double limit) {
  double bound = most_exponent;
  if (range > 0) bound = std::min(bound, std::log2(limit / range));
  if (bias > 0) bound = std::min(bound, std::max(0.0, std::log2(limit / bias)));
  return bound;
}

}  // namespace

void scale_channels(const LoweredOp& op, const ChannelScale* in, const ChannelScale* out, std::vector<float>& weights, std::vector<float>& bias) {
  if (!in && !out) return;
  for_each_weight(op, [&](std::size_t i, std::size_t o, std::size_t c) {
    if (out) weights[i] *= out->factors[o];
    if (in) weights[i] /= in->factors[c];
  });
  for (std::size_t o = 0; out && o < bias.size(); ++o) bias[o] *= out->factors[o];
}

std::vector<EqualisablePair> find_pairs(const Graph& graph, std::span<const LoweredOp> ops) {
  std::vector<int> readers(graph.tensors().size(), 0);
  std::vector<std::size_t> reader(graph.tensors().size(), 0);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (const TensorId t : ops[i].inputs) {
      ++readers[t];
      reader[t] = i;
    }
  }
  std::vector<EqualisablePair> pairs;
  const auto outputs = graph.outputs();
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const LoweredOp& op = ops[i];
    if (op.op != Op::conv || op.weights.empty() || !commutes(op.activation)) continue;
    const TensorId t = op.outputs[0];
    const LoweredOp& next = ops[reader[t]];
    const Shape& shape = graph.tensor(t).shape;
    if (readers[t] != 1 || next.op != Op::conv || next.weights.empty() || std::find(outputs.begin(), outputs.end(), t) != outputs.end()) continue;
    if (shape.rank() < 2 || shape[1] != op.out_channels || next.in_channels != op.out_channels) continue;
    const bool clipped = op.activation.kind == Activation::Kind::clip;
    pairs.push_back({i, reader[t], t, clipped ? before_activation(graph, t) : t, clipped});
  }
  return pairs;
}

std::vector<ChannelScale> equalise(std::span<const LoweredOp> ops, std::span<const EqualisablePair> pairs,
                                   std::span<const std::vector<float>> ranges) {
  Search search{ops, pairs, {}, {}, {}};
  search.in.resize(ops.size());
  search.out.resize(ops.size());
  for (const EqualisablePair& p : pairs) search.logs.emplace_back(static_cast<std::size_t>(ops[p.writer].out_channels), 0.0);
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    search.out[pairs[p].writer] = &search.logs[p];
    search.in[pairs[p].reader] = &search.logs[p];
  }
  for (int round = 0; round < 12; ++round) {
    for (std::size_t p = 0; p < pairs.size(); ++p) {
      const auto written = search.largest(p, true), read = search.largest(p, false);
      const float widest = *std::max_element(ranges[p].begin(), ranges[p].end());
      const double limit = pairs[p].clipped ? clip_limit : static_cast<double>(widest);
      for (std::size_t c = 0; c < written.size(); ++c) {
        double& s = search.logs[p][c];
        const double range = ranges[p][c];
        if (limit == 0) continue;
        if (pairs[p].clipped && range > 6) {  // the clip bites: 6 must become the limit
          s = std::log2(limit / 6);
          continue;
        }
        const double most = upper_bound(range, std::abs(static_cast<double>(ops[pairs[p].writer].bias[c])), limit);
        const bool no_write = std::isinf(written[c]), no_read = std::isinf(read[c]);
        s = no_write && no_read ? 0 : no_write ? most : no_read ? -most_exponent / 2.0 : (read[c] - written[c]) / 2;
        s = std::clamp(s, -static_cast<double>(most_exponent), most);
      }
    }
  }
  std::vector<ChannelScale> scales;
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    const LoweredOp& writer = ops[pairs[p].writer];
    ChannelScale s{.tensor = pairs[p].tensor, .writer = writer.node, .writer_through = writer.folded_through, .reader = ops[pairs[p].reader].node};
    for (const double v : search.logs[p]) s.factors.push_back(static_cast<float>(std::exp2(v)));
    if (std::any_of(s.factors.begin(), s.factors.end(), [](float f) { return f != 1; })) scales.push_back(std::move(s));
  }
  std::sort(scales.begin(), scales.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  return scales;
}

}  // namespace splitcnn::inline v0
