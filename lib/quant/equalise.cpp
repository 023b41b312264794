#include "quant/equalise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace splitcnn::inline v0 {

namespace {

constexpr int most_exponent = 12;
constexpr int rounds = 12;  // until scales of neighbouring groups have settled
/// A scaled ReLU6 tensor is stored at fix point 5 or finer, where the DPU has no clamp at 96 and saturation at 127 clips: all of the
/// byte's range is used instead of three quarters.
constexpr double clip_limit = 127.0 / 32;
/// Frames to come go this far beyond what calibration saw. Where that may reach the 6 of a ReLU6, the byte must end exactly there.
constexpr double headroom = 3;

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

/// Disjoint sets of tensors.
class Sets {
 public:
  explicit Sets(std::size_t n) : parent_(n) {
    for (std::size_t i = 0; i < n; ++i) parent_[i] = i;
  }
  std::size_t find(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<std::size_t> parent_;
};

bool has_bytes(const LoweredOp& op) { return op.op == Op::conv && !op.weights.empty(); }

/// Operations that treat every channel alike and commute with scaling it: their inputs and outputs share scales.
bool ties_channels(const Graph& graph, const LoweredOp& op) {
  using Kind = Activation::Kind;
  if (op.activation.kind != Kind::none && op.activation.kind != Kind::relu) return false;
  switch (op.op) {
    case Op::max_pool: case Op::average_pool: case Op::global_average_pool: case Op::relu: return true;
    case Op::reduce_mean: return graph.nodes()[op.node].axes == std::vector<std::int64_t>{2, 3};
    case Op::add: {
      const GraphTensor &a = graph.tensor(op.inputs[0]), &b = graph.tensor(op.inputs[1]);
      return !a.constant && !b.constant && a.shape == b.shape;
    }
    default: return false;
  }
}

bool has_channels(const Graph& graph, TensorId t, std::int64_t channels) {
  const Shape& shape = graph.tensor(t).shape;
  return (shape.rank() == 4 || shape.rank() == 2) && shape[1] == channels;
}

/// The largest weight between each output and input channel, over the taps: all that the search needs.
std::vector<float> largest_taps(const LoweredOp& op) {
  const std::size_t per = inputs_per_group(op), outs = static_cast<std::size_t>(op.out_channels), row = op.weights.size() / outs;
  std::vector<float> result(outs * per, 0.0f);
  for (std::size_t o = 0; o < outs; ++o) {
    for (std::size_t i = 0; i < row; ++i) {
      float& r = result[o * per + i % per];
      r = std::max(r, std::abs(op.weights[o * row + i]));
    }
  }
  return result;
}

/// Scales as logarithms while they are sought.
struct Search {
  std::span<const LoweredOp> ops;
  std::vector<std::vector<float>> taps;             // per operation, see largest_taps()
  std::vector<std::vector<double>> logs;            // per group and channel
  std::vector<const std::vector<double>*> in, out;  // per operation: the scales of its input and output

  /// log2 of the largest weight of each channel of operation `at`, as its output (true) or its input, without the scales of that side but
  /// with those of the other. -inf where all are zero.
  std::vector<double> largest(std::size_t at, bool output) const {
    const LoweredOp& op = ops[at];
    std::vector<double> result(static_cast<std::size_t>(output ? op.out_channels : op.in_channels), 0.0);
    std::vector<double> other(static_cast<std::size_t>(output ? op.in_channels : op.out_channels), 1.0);
    if (const auto* scales = output ? in[at] : out[at]) {
      for (std::size_t c = 0; c < other.size(); ++c) other[c] = std::exp2(output ? -(*scales)[c] : (*scales)[c]);
    }
    const std::size_t per = inputs_per_group(op), outs_per_group = static_cast<std::size_t>(op.out_channels / op.groups);
    for (std::size_t o = 0; o < static_cast<std::size_t>(op.out_channels); ++o) {
      const std::size_t first = o / outs_per_group * per;
      for (std::size_t i = 0; i < per; ++i) {
        double& r = result[output ? o : first + i];
        r = std::max(r, static_cast<double>(taps[at][o * per + i]) * other[output ? first + i : o]);
      }
    }
    for (double& r : result) r = std::log2(r);
    return result;
  }

  /// The mean over several operations, of those that have weights there at all; -inf when none has.
  std::vector<double> largest(std::span<const std::size_t> all, bool output, std::size_t channels) const {
    std::vector<double> sum(channels, 0.0), count(channels, 0.0);
    for (const std::size_t at : all) {
      const auto one = largest(at, output);
      for (std::size_t c = 0; c < channels; ++c) {
        if (std::isinf(one[c])) continue;
        sum[c] += one[c];
        ++count[c];
      }
    }
    for (std::size_t c = 0; c < channels; ++c) sum[c] = count[c] > 0 ? sum[c] / count[c] : -std::numeric_limits<double>::infinity();
    return sum;
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

std::vector<std::uint32_t> input_channels(const LoweredOp& op) {
  std::vector<std::uint32_t> channels(op.weights.size());
  for_each_weight(op, [&](std::size_t i, std::size_t, std::size_t c) { channels[i] = static_cast<std::uint32_t>(c); });
  return channels;
}

void scale_channels(const LoweredOp& op, const ChannelScale* in, const ChannelScale* out, std::vector<float>& weights, std::vector<float>& bias) {
  if (!in && !out) return;
  for_each_weight(op, [&](std::size_t i, std::size_t o, std::size_t c) {
    if (out) weights[i] *= out->factors[o];
    if (in) weights[i] /= in->factors[c];
  });
  for (std::size_t o = 0; out && o < bias.size(); ++o) bias[o] *= out->factors[o];
}

namespace {

/// Collects what touches a group; `valid` falls when something does that cannot carry scales.
struct Candidate {
  EqualisableGroup group;
  bool valid = true;
};

void add_tensor(const Graph& graph, const LoweredOp& writer, TensorId t, Candidate& to) {
  const Activation& a = writer.activation;
  const bool clipped = a.kind == Activation::Kind::clip;
  const bool positive = clipped || a.kind == Activation::Kind::relu || writer.op == Op::relu;
  to.group.tensors.push_back({t, clipped ? before_activation(graph, t) : t, clipped, positive});
}

}  // namespace

std::vector<EqualisableGroup> find_groups(const Graph& graph, std::span<const LoweredOp> ops) {
  Sets sets{graph.tensors().size()};
  for (const LoweredOp& op : ops) {
    if (!ties_channels(graph, op)) continue;
    for (const TensorId t : op.inputs) sets.join(t, op.outputs[0]);
  }
  std::vector<Candidate> candidates(graph.tensors().size());
  const auto at = [&](TensorId t) -> Candidate& { return candidates[sets.find(t)]; };
  for (const TensorId t : graph.inputs()) at(t).valid = false;
  for (const TensorId t : graph.outputs()) at(t).valid = false;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const LoweredOp& op = ops[i];
    const bool ties = ties_channels(graph, op);
    for (const TensorId t : op.inputs) {
      if (graph.tensor(t).constant) continue;
      Candidate& c = at(t);
      if (has_bytes(op) && has_channels(graph, t, op.in_channels)) {
        c.group.readers.push_back(i);
      } else if (!ties) {
        c.valid = false;
      }
      c.group.last = std::max(c.group.last, op.node + 1);
    }
    for (const TensorId t : op.outputs) {
      Candidate& c = at(t);
      if (has_bytes(op) && commutes(op.activation) && has_channels(graph, t, op.out_channels)) {
        if (c.group.writers.empty()) c.group.first = op.node;
        c.group.writers.push_back(i);
        c.group.channels = static_cast<std::size_t>(op.out_channels);
      } else if (!ties) {
        c.valid = false;
      }
      add_tensor(graph, op, t, c);
    }
  }
  std::vector<EqualisableGroup> groups;
  for (Candidate& c : candidates) {
    EqualisableGroup& g = c.group;
    if (!c.valid || g.writers.empty() || g.readers.empty()) continue;
    const auto channels = static_cast<std::int64_t>(g.channels);
    if (std::all_of(g.tensors.begin(), g.tensors.end(), [&](const GroupTensor& t) { return has_channels(graph, t.tensor, channels); })) {
      groups.push_back(std::move(g));
    }
  }
  return groups;
}

namespace {

/// Where a channel's scale may not be chosen freely.
struct Bounds {
  double most = most_exponent;
  bool pinned = false;  ///< a clip bites: 6 must become the limit
};

Bounds bounds(const EqualisableGroup& group, std::span<const std::vector<float>> ranges, std::span<const LoweredOp> ops, std::size_t c) {
  Bounds b;
  for (std::size_t i = 0; i < group.tensors.size(); ++i) {
    const GroupTensor& t = group.tensors[i];
    const double widest = *std::max_element(ranges[i].begin(), ranges[i].end());
    const double limit = t.clipped ? clip_limit : widest;
    if (limit <= 0) continue;
    if (t.clipped && headroom * static_cast<double>(ranges[i][c]) > 6) b.pinned = true;
    const double range = t.clipped ? std::min(6.0, headroom * static_cast<double>(ranges[i][c])) : ranges[i][c];
    double bias = 0;
    for (const std::size_t w : group.writers) {
      if (ops[w].outputs[0] == t.tensor) bias = std::abs(static_cast<double>(ops[w].bias[c]));
    }
    b.most = std::min(b.most, upper_bound(range, bias, limit));
  }
  return b;
}

void update(Search& search, const EqualisableGroup& group, std::size_t g, std::span<const Bounds> bounds) {
  const auto written = search.largest(group.writers, true, group.channels), read = search.largest(group.readers, false, group.channels);
  for (std::size_t c = 0; c < group.channels; ++c) {
    double& s = search.logs[g][c];
    if (bounds[c].pinned) {
      s = std::log2(clip_limit / 6);
      continue;
    }
    if (group.tensors.size() > 1) {  // many convolutions meet here, none decides: even out the ranges, not all the way
      s = std::min(3.0, 0.6 * bounds[c].most);
      continue;
    }
    const bool no_write = std::isinf(written[c]), no_read = std::isinf(read[c]);
    s = no_write && no_read ? 0 : no_write ? bounds[c].most : no_read ? -most_exponent / 2.0 : (read[c] - written[c]) / 2;
    s = std::clamp(s, -static_cast<double>(most_exponent), bounds[c].most);
  }
}

}  // namespace

std::vector<ChannelScale> equalise(std::span<const LoweredOp> ops, std::span<const EqualisableGroup> groups,
                                   std::span<const std::vector<std::vector<float>>> ranges) {
  Search search{ops, {}, {}, {}, {}};
  search.taps.resize(ops.size());
  search.in.resize(ops.size());
  search.out.resize(ops.size());
  std::vector<std::vector<Bounds>> limits;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    search.logs.emplace_back(groups[g].channels, 0.0);
    limits.emplace_back();
    for (std::size_t c = 0; c < groups[g].channels; ++c) limits[g].push_back(bounds(groups[g], ranges[g], ops, c));
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (const std::size_t w : groups[g].writers) search.out[w] = &search.logs[g];
    for (const std::size_t r : groups[g].readers) search.in[r] = &search.logs[g];
  }
  for (const EqualisableGroup& group : groups) {
    for (const auto* touched : {&group.writers, &group.readers}) {
      for (const std::size_t at : *touched) search.taps[at] = largest_taps(ops[at]);
    }
  }
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t g = 0; g < groups.size(); ++g) update(search, groups[g], g, limits[g]);
  }
  std::vector<ChannelScale> scales;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::vector<float> factors;
    for (const double v : search.logs[g]) factors.push_back(static_cast<float>(std::exp2(v)));
    for (const GroupTensor& t : groups[g].tensors) {
      scales.push_back({.tensor = t.tensor, .first = groups[g].first, .last = groups[g].last, .factors = factors});
    }
  }
  std::sort(scales.begin(), scales.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  return scales;
}

}  // namespace splitcnn::inline v0
