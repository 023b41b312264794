#include "splitcnn/quantizer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "core/convert.hpp"
#include "cpu/executor.hpp"
#include "graph/lower.hpp"
#include "quant/equalise.hpp"
#include "quant/fix_point.hpp"
#include "quant/frames.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t sample_size = 8192;  // values per tensor and frame that statistics look at
constexpr std::size_t second_look = 32;    // frames that the fix points of equalised tensors are chosen on

/// What calibration saw of each activation.
class Observer {
 public:
  explicit Observer(const Graph& graph)
      : graph_{graph}, run_{graph, 0, static_cast<NodeId>(graph.nodes().size()), {.keep_all = true}}, tables_(graph.tensors().size()) {}

  void observe(std::span<const Tensor> frame) {
    for (std::size_t i = 0; i < run_.input_ids().size(); ++i) {
      const TensorId id = run_.input_ids()[i];
      write_input(graph_, frame, id, {}, reinterpret_cast<std::byte*>(run_.input(i).data()));
      look_at(id, run_.input(i), "the frame");
    }
    run_.run();
    for (const Node& node : graph_.nodes()) {
      for (const TensorId t : node.outputs) look_at(t, run_.value(t), node.name);
    }
  }

  [[nodiscard]] const ErrorTable& table(TensorId t) const { return tables_[t]; }

  [[nodiscard]] std::span<const float> value(TensorId t) const { return run_.value(t); }
  [[nodiscard]] std::span<const float> input_or_value(TensorId t) {
    for (std::size_t i = 0; i < run_.input_ids().size(); ++i) {
      if (run_.input_ids()[i] == t) return run_.input(i);
    }
    return run_.value(t);
  }

  /// Shows the last frame of an equalised tensor to its own table.
  void look_at_scaled(const ChannelScale& scale, ErrorTable& table) {
    const auto values = run_.value(scale.tensor);
    const std::vector<float>& factors = scale.factors;
    sample_.clear();
    for_each_sample(values.size(), [&](std::size_t i) { sample_.push_back(values[i] * factors[i % factors.size()]); });
    table.add(sample_);
  }

 private:
  void look_at(TensorId t, std::span<const float> values, const std::string& writer) {
    float poison = 0;  // stays 0 unless something is NaN or infinite
    for (const float v : values) poison += v * 0.0f;
    if (poison != 0 || std::isnan(poison)) {
      throw Error{Errc::bad_model, fmt::format("tensor '{}' written by '{}' holds NaN or infinite values during calibration; check the model and "
                                               "the frames", graph_.tensor(t).name, writer)};
    }
    if (values.size() <= sample_size) return tables_[t].add(values);
    sample_.clear();
    for_each_sample(values.size(), [&](std::size_t i) { sample_.push_back(values[i]); });
    tables_[t].add(sample_);
  }

  /// Up to sample_size places. A stride that shares no factor with the size visits every channel and place alike.
  template <class F>
  void for_each_sample(std::size_t size, const F& f) {
    if (size <= sample_size) {
      for (std::size_t i = 0; i < size; ++i) f(i);
      return;
    }
    std::size_t stride = size / sample_size | 1;
    while (std::gcd(stride, size) != 1) ++stride;
    for (std::size_t i = 0, at = offset_ % size; i < sample_size; ++i, at = (at + stride) % size) f(at);
    offset_ += 7919;
  }

  const Graph& graph_;
  CpuExecutor run_;
  std::vector<ErrorTable> tables_;
  std::vector<float> sample_;
  std::size_t offset_ = 0;
};

/// Magnitudes of each channel in eighths of an octave: enough to find a good range.
class ChannelRanges {
 public:
  explicit ChannelRanges(std::size_t channels) : counts_(channels * bins, 0), channels_{channels} {}

  /// `positive`: only values above zero count.
  void add(std::span<const float> values, bool positive) {
    for (std::size_t i = 0; i + channels_ <= values.size(); i += channels_, ++seen_) {
      for (std::size_t c = 0; c < channels_; ++c) {
        const float v = positive ? values[i + c] : std::abs(values[i + c]);
        if (v <= 0x1p-10f) continue;
        const int bin = static_cast<int>(std::ceil(8 * std::log2(v))) + 80;
        ++counts_[c * bins + static_cast<std::size_t>(std::clamp(bin, 0, static_cast<int>(bins) - 1))];
      }
    }
  }

  /// Per channel, what all but one in two thousand values stay below: finer steps for the rest are worth clipping those.
  [[nodiscard]] std::vector<float> ranges() const {
    std::vector<float> result(channels_, 0.0f);
    for (std::size_t c = 0; c < channels_; ++c) {
      std::uint64_t above = 0;
      for (std::size_t b = bins; b-- > 0;) {
        above += counts_[c * bins + b];
        if (above > seen_ / 2000) {
          result[c] = std::exp2((static_cast<float>(b) - 80) / 8);
          break;
        }
      }
    }
    return result;
  }

 private:
  static constexpr std::size_t bins = 192;  // 2^-10 to 2^14
  std::vector<std::uint32_t> counts_;
  std::size_t channels_;
  std::uint64_t seen_ = 0;
};

/// Mean and variance per channel.
class MomentSums {
 public:
  MomentSums(TensorId tensor, std::size_t channels) : tensor_{tensor}, sums_(channels, 0.0), squares_(channels, 0.0) {}

  void add(std::span<const float> values) {
    const std::size_t channels = sums_.size();
    for (std::size_t i = 0; i + channels <= values.size(); i += channels, ++seen_) {
      for (std::size_t c = 0; c < channels; ++c) {
        const double v = values[i + c];
        sums_[c] += v;
        squares_[c] += v * v;
      }
    }
  }
  [[nodiscard]] TensorId tensor() const { return tensor_; }
  [[nodiscard]] ChannelMoments moments() const {
    ChannelMoments m{.tensor = tensor_};
    for (std::size_t c = 0; c < sums_.size(); ++c) {
      const double n = std::max<double>(static_cast<double>(seen_), 1), mean = sums_[c] / n;
      m.mean.push_back(static_cast<float>(mean));
      m.variance.push_back(static_cast<float>(std::max(0.0, squares_[c] / n - mean * mean)));
    }
    return m;
  }

 private:
  TensorId tensor_;
  std::vector<double> sums_, squares_;
  std::uint64_t seen_ = 0;
};

/// One per tensor that a convolution, dense layer or stand-alone affine node can read.
std::vector<MomentSums> moment_sums(const Graph& graph) {
  std::vector<MomentSums> sums;
  std::vector<double> scale, shift;
  for (TensorId t = 0; t < graph.tensors().size(); ++t) {
    const GraphTensor& tensor = graph.tensor(t);
    if (tensor.constant || (tensor.shape.rank() != 4 && tensor.shape.rank() != 2)) continue;
    const auto reads_weights = [&](NodeId n) {
      const Op op = graph.nodes()[n].op;
      return op == Op::conv || op == Op::gemm || op == Op::matmul || op == Op::reshape || op == Op::identity || channel_affine(graph, graph.nodes()[n], scale, shift);
    };
    const auto readers = graph.consumers(t);
    if (std::any_of(readers.begin(), readers.end(), reads_weights)) sums.emplace_back(t, static_cast<std::size_t>(tensor.shape[1]));
  }
  return sums;
}

/// The tensor whose bytes an output only moves; then both must have one fix point.
std::optional<TensorId> moved_from(const Node& node) {
  switch (node.op) {
    case Op::identity: case Op::reshape: case Op::transpose: case Op::slice: case Op::split: case Op::pad: case Op::gather:
    case Op::max_pool: return node.inputs[0];
    case Op::resize: return node.resize_mode == ResizeMode::nearest ? std::optional{node.inputs[0]} : std::nullopt;
    default: return std::nullopt;
  }
}

bool is_relu6(const Node& node) { return node.op == Op::clip && node.alpha == 0 && node.beta == 6; }

std::vector<int> choose_fix_points(const Graph& graph, const Observer& seen) {
  std::vector<int> fix_points(graph.tensors().size(), 0);
  for (const TensorId t : graph.inputs()) fix_points[t] = seen.table(t).best();
  for (const Node& node : graph.nodes()) {
    for (const TensorId t : node.outputs) {
      const auto source = moved_from(node);
      if (source && !graph.tensor(*source).constant) {
        fix_points[t] = fix_points[*source];
      } else if (is_relu6(node)) {
        fix_points[t] = seen.table(t).best(4, ErrorTable::highest, 4);  // the DPU clamps at 96, which is 6.0 at fix point 4
      } else {
        fix_points[t] = seen.table(t).best();
      }
    }
  }
  return fix_points;
}

/// The tensor a convolution's result is stored in when everything after `through` that can be attached is: its fix point decides the
/// output shift.
TensorId stored_result(const Graph& graph, NodeId through) {
  const TensorId t = graph.nodes()[through].outputs[0];
  const auto readers = graph.consumers(t);
  if (readers.size() != 1) return t;
  const Node& next = graph.nodes()[readers[0]];
  const bool activation = next.op == Op::relu || next.op == Op::clip || next.op == Op::leaky_relu || next.op == Op::hard_sigmoid || next.op == Op::hard_swish;
  return activation ? next.outputs[0] : t;
}

/// Weights and bias of one lowered convolution. The bounds are those of the board's shifters: 0 <= shift_cut <= 16 (the lower one is
/// left to the data) and shift_cut - 16 <= shift_bias <= 15, within which every intermediate fits its accumulator.
WeightQuant quantise(const LoweredOp& op, int fp_in, int fp_out, std::span<const float> importance) {
  WeightQuant w{.node = op.node, .folded_through = op.folded_through};
  const int most = std::clamp(16 + fp_out - fp_in, -40, 40);
  w.weight_fix_point = choose_weight_fix_point(op.weights, std::max(-24, most - 40), most, importance);
  const int sum = fp_in + w.weight_fix_point, shift_cut = sum - fp_out;
  w.bias_fix_point = choose_weight_fix_point(op.bias, sum - 15, sum - std::min(0, shift_cut - 16));
  return w;
}

const ChannelScale* find_scale(std::span<const ChannelScale> scales, TensorId t) {
  const auto at = std::lower_bound(scales.begin(), scales.end(), t, [](const ChannelScale& s, TensorId id) { return s.tensor < id; });
  return at != scales.end() && at->tensor == t ? &*at : nullptr;
}

/// The weight entries of one node: for every place a cut can end its folding, plain and beside equalised tensors.
class WeightChooser {
 public:
  WeightChooser(const Graph& graph, std::span<const LoweredOp> ops, const std::vector<int>& fix_points, std::span<const ChannelScale> scales,
                std::span<const ChannelMoments> moments)
      : graph_{graph}, fix_points_{fix_points}, scales_{scales}, moments_{moments}, whole_(graph.nodes().size(), nullptr) {
    for (const LoweredOp& op : ops) whole_[op.node] = &op;
  }

  std::vector<WeightQuant> run() {
    for (NodeId n = 0; n < graph_.nodes().size(); ++n) {
      if (!has_weights(n)) continue;
      std::vector<NodeId> ends = fold_chain(graph_, n);
      ends.insert(ends.begin(), n);
      for (const NodeId through : ends) add(n, through);
    }
    return std::move(weights_);
  }

 private:
  bool has_weights(NodeId n) const {
    const Node& node = graph_.nodes()[n];
    std::vector<double> scale, shift;
    if (node.op == Op::gemm || node.op == Op::matmul) return true;
    if (node.op != Op::conv) return channel_affine(graph_, node, scale, shift);
    return std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](TensorId t) { return graph_.tensor(t).constant; });
  }

  void add(NodeId n, NodeId through) {
    const LoweredOp* whole = whole_[n];
    const ChannelScale* in = whole && !whole->inputs.empty() ? find_scale(scales_, whole->inputs[0]) : nullptr;
    const ChannelScale* out = whole && whole->folded_through == through && !whole->outputs.empty() ? find_scale(scales_, whole->outputs[0]) : nullptr;
    add_variants(n, n, through, nullptr, nullptr);
    if (out) add_variants(n, n, through, nullptr, out);
    if (!in) return;
    // An equalised input is inside the segment, and so is a flatten between it and a dense layer.
    const auto writer = graph_.producer(in->tensor);
    const NodeId first = whole->dense && writer ? *writer + 1 : n;
    add_variants(first, n, through, in, nullptr);
    if (out) add_variants(first, n, through, in, out);
  }

  void add_variants(NodeId first, NodeId n, NodeId through, const ChannelScale* in, const ChannelScale* out) {
    for (LoweredOp& op : lower(graph_, first, through + 1).ops) {
      if (op.node != n || op.folded_through != through || op.op != Op::conv || op.weights.empty()) continue;
      scale_channels(op, in, out, op.weights, op.bias);
      const int fp_in = in ? in->fix_point : fix_points_[op.inputs[0]];
      const int fp_out = out ? out->fix_point : fix_points_[stored_result(graph_, through)];
      weights_.push_back(quantise(op, fp_in, fp_out, importance(op, in)));
      weights_.back().equalised_in = in != nullptr;
      weights_.back().equalised_out = out != nullptr;
    }
  }

  /// What a weight's error costs: the mean square of what it is multiplied with.
  std::vector<float> importance(const LoweredOp& op, const ChannelScale* in) const {
    const auto at = std::find_if(moments_.begin(), moments_.end(), [&](const ChannelMoments& m) { return m.tensor == op.inputs[0]; });
    if (at == moments_.end() || at->mean.size() != static_cast<std::size_t>(op.in_channels)) return {};
    std::vector<float> squares;
    for (std::size_t c = 0; c < at->mean.size(); ++c) {
      const float scale = in ? in->factors[c] : 1;
      squares.push_back((at->mean[c] * at->mean[c] + at->variance[c]) * scale * scale);
    }
    std::vector<float> result;
    for (const std::uint32_t c : input_channels(op)) result.push_back(squares[c]);
    return result;
  }

  const Graph& graph_;
  const std::vector<int>& fix_points_;
  std::span<const ChannelScale> scales_;
  std::span<const ChannelMoments> moments_;
  std::vector<const LoweredOp*> whole_;
  std::vector<WeightQuant> weights_;
};

/// The fix points of equalised tensors: by their own statistics, except where bytes only move.
void choose_scaled_fix_points(const Graph& graph, std::span<const ErrorTable> tables, const std::vector<int>& fix_points,
                              std::vector<ChannelScale>& scales) {
  for (std::size_t s = 0; s < scales.size(); ++s) {
    const Node& writer = graph.nodes()[*graph.producer(scales[s].tensor)];
    const int low = is_relu6(writer) ? 5 : ErrorTable::lowest;
    scales[s].fix_point = tables[s].best(low, ErrorTable::highest, fix_points[scales[s].tensor]);
    const auto source = moved_from(writer);  // written earlier, so already chosen
    const ChannelScale* from = source ? find_scale(scales, *source) : nullptr;
    if (from) scales[s].fix_point = from->fix_point;
  }
}

/// The graph lowered as a whole; empty when something in it cannot be lowered (then nothing is equalised).
std::vector<LoweredOp> lowered(const Graph& graph) {
  try {
    return lower(graph, 0, static_cast<NodeId>(graph.nodes().size())).ops;
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

void write_input(const Graph& graph, std::span<const Tensor> frame, TensorId id, const Representation& as, std::byte* to) {
  const auto inputs = graph.inputs();
  const auto k = static_cast<std::size_t>(std::find(inputs.begin(), inputs.end(), id) - inputs.begin());
  convert(graph.tensor(id).shape, {.channels_last = false}, frame[k].bytes().data(), as, to);
}

void check_frames(const Graph& graph, std::span<const Tensor> frames) {
  const std::size_t inputs = graph.inputs().size();
  if (frames.empty()) throw Error{Errc::bad_argument, "calibration: no frames; give some typical inputs (32 to 128 are plenty)"};
  if (frames.size() % inputs != 0) {
    throw Error{Errc::bad_argument, fmt::format("calibration: {} tensors are not a whole number of frames of {} inputs", frames.size(), inputs)};
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const GraphTensor& wanted = graph.tensor(graph.inputs()[i % inputs]);
    const TensorSpec& given = frames[i].spec();
    if (given.dtype != DType::f32 || given.shape != wanted.shape) {
      throw Error{Errc::mismatch, fmt::format("calibration: frame tensor {} is {} {}, the input '{}' is f32 {}", i, to_string(given.dtype),
                                              to_string(given.shape), wanted.name, to_string(wanted.shape))};
    }
  }
}

Quantizer::Quantizer(QuantizerOptions options) : options_{std::move(options)} {}

QuantizedGraph Quantizer::calibrate(const Graph& graph, std::span<const Tensor> frames) const {
  check_frames(graph, frames);
  const std::size_t inputs = graph.inputs().size();
  const std::size_t count = std::min(frames.size() / inputs, std::max<std::size_t>(options_.max_frames, 1));
  const std::vector<LoweredOp> ops = lowered(graph);
  const std::vector<EqualisableGroup> groups = find_groups(graph, ops);
  std::vector<std::vector<ChannelRanges>> magnitudes;
  for (const EqualisableGroup& g : groups) magnitudes.emplace_back(g.tensors.size(), ChannelRanges{g.channels});
  std::vector<MomentSums> sums = moment_sums(graph);
  const std::size_t again = groups.empty() ? 0 : std::min(count, second_look);

  Observer seen{graph};
  for (std::size_t f = 0; f < count; ++f) {
    seen.observe(frames.subspan(f * inputs, inputs));
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t i = 0; i < groups[g].tensors.size(); ++i) {
        magnitudes[g][i].add(seen.value(groups[g].tensors[i].observed), groups[g].tensors[i].positive);
      }
    }
    for (MomentSums& s : sums) s.add(seen.input_or_value(s.tensor()));
    if (options_.progress) options_.progress(f + 1, count + again);
  }
  std::vector<int> fix_points = choose_fix_points(graph, seen);

  std::vector<std::vector<std::vector<float>>> ranges(groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (const ChannelRanges& m : magnitudes[g]) ranges[g].push_back(m.ranges());
  }
  std::vector<ChannelScale> scales = equalise(ops, groups, ranges);
  std::vector<ErrorTable> tables(scales.size());
  for (std::size_t f = 0; f < again; ++f) {
    seen.observe(frames.subspan(f * count / again * inputs, inputs));
    for (std::size_t s = 0; s < scales.size(); ++s) seen.look_at_scaled(scales[s], tables[s]);
    if (options_.progress) options_.progress(count + f + 1, count + again);
  }
  choose_scaled_fix_points(graph, tables, fix_points, scales);
  std::vector<ChannelMoments> moments;
  for (const MomentSums& m : sums) moments.push_back(m.moments());
  std::vector<WeightQuant> weights = WeightChooser{graph, ops, fix_points, scales, moments}.run();
  std::sort(weights.begin(), weights.end(), [](const WeightQuant& a, const WeightQuant& b) {
    return std::tuple{a.node, a.folded_through, a.equalised_in, a.equalised_out} < std::tuple{b.node, b.folded_through, b.equalised_in, b.equalised_out};
  });
  return {graph, std::move(fix_points), std::move(weights), false, std::move(scales), std::move(moments)};
}

QuantizedGraph Quantizer::calibrate_synthetic(const Graph& graph, std::size_t frames) const {
  std::vector<Tensor> noise;
  std::uint64_t state = 0x5eed;
  const auto uniform = [&state] {  // in [-1, 1); the same on every machine
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-31f;
  };
  for (std::size_t f = 0; f < std::max<std::size_t>(frames, 1); ++f) {
    for (const TensorId t : graph.inputs()) {
      Tensor tensor{{.name = graph.tensor(t).name, .shape = graph.tensor(t).shape}};
      for (float& v : tensor.as<float>()) v = (uniform() + uniform() + uniform()) * 0.9f;  // about normal
      noise.push_back(std::move(tensor));
    }
  }
  const QuantizedGraph q = calibrate(graph, noise);
  return {graph, {q.fix_points().begin(), q.fix_points().end()}, {q.weights().begin(), q.weights().end()}, true,
          {q.channel_scales().begin(), q.channel_scales().end()}, {q.moments().begin(), q.moments().end()}};
}

}  // namespace splitcnn::inline v0
