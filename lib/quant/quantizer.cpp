#include "splitcnn/quantizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>

#include "core/convert.hpp"
#include "cpu/executor.hpp"
#include "graph/lower.hpp"
#include "quant/fix_point.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t sample_size = 8192;  // values per tensor and frame that statistics look at

/// What calibration saw of each activation.
class Observer {
 public:
  explicit Observer(const Graph& graph)
      : graph_{graph}, run_{graph, 0, static_cast<NodeId>(graph.nodes().size()), {.keep_all = true}}, tables_(graph.tensors().size()) {}

  void observe(std::span<const Tensor> frame) {
    for (std::size_t i = 0; i < run_.input_ids().size(); ++i) {
      const TensorId id = run_.input_ids()[i];
      const auto inputs = graph_.inputs();
      const auto k = static_cast<std::size_t>(std::find(inputs.begin(), inputs.end(), id) - inputs.begin());
      convert(graph_.tensor(id).shape, {.channels_last = false}, frame[k].bytes().data(), {},
              reinterpret_cast<std::byte*>(run_.input(i).data()));
      look_at(id, run_.input(i), "the frame");
    }
    run_.run();
    for (const Node& node : graph_.nodes()) {
      for (const TensorId t : node.outputs) look_at(t, run_.value(t), node.name);
    }
  }

  [[nodiscard]] const ErrorTable& table(TensorId t) const { return tables_[t]; }

 private:
  void look_at(TensorId t, std::span<const float> values, const std::string& writer) {
    float poison = 0;  // stays 0 unless something is NaN or infinite
    for (const float v : values) poison += v * 0.0f;
    if (poison != 0 || std::isnan(poison)) {
      throw Error{Errc::bad_model, fmt::format("tensor '{}' written by '{}' holds NaN or infinite values during calibration; check the model and "
                                               "the frames", graph_.tensor(t).name, writer)};
    }
    if (values.size() <= sample_size) return tables_[t].add(values);
    // A stride that shares no factor with the size visits every channel and place alike.
    std::size_t stride = values.size() / sample_size | 1;
    while (std::gcd(stride, values.size()) != 1) ++stride;
    sample_.clear();
    for (std::size_t i = 0, at = offset_ % values.size(); i < sample_size; ++i, at = (at + stride) % values.size()) sample_.push_back(values[at]);
    offset_ += 7919;
    tables_[t].add(sample_);
  }

  const Graph& graph_;
  CpuExecutor run_;
  std::vector<ErrorTable> tables_;
  std::vector<float> sample_;
  std::size_t offset_ = 0;
};

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
WeightQuant quantise(const LoweredOp& op, int fp_in, int fp_out) {
  WeightQuant w{.node = op.node, .folded_through = op.folded_through};
  const int most = std::clamp(16 + fp_out - fp_in, -40, 40);
  w.weight_fix_point = choose_weight_fix_point(op.weights, std::max(-24, most - 40), most);
  const int sum = fp_in + w.weight_fix_point, shift_cut = sum - fp_out;
  w.bias_fix_point = choose_weight_fix_point(op.bias, sum - 15, sum - std::min(0, shift_cut - 16));
  return w;
}

std::vector<WeightQuant> choose_weights(const Graph& graph, const std::vector<int>& fix_points) {
  std::vector<WeightQuant> weights;
  for (NodeId n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    std::vector<double> scale, shift;
    const bool product = node.op == Op::conv || node.op == Op::gemm || node.op == Op::matmul;
    if (!product && !channel_affine(graph, node, scale, shift)) continue;
    if (node.op == Op::conv && !std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](TensorId t) { return graph.tensor(t).constant; })) continue;
    std::vector<NodeId> ends = fold_chain(graph, n);
    ends.insert(ends.begin(), n);
    for (const NodeId through : ends) {
      for (const LoweredOp& op : lower(graph, n, through + 1).ops) {
        if (op.node != n || op.folded_through != through || op.weights.empty()) continue;
        weights.push_back(quantise(op, fix_points[op.inputs[0]], fix_points[stored_result(graph, through)]));
      }
    }
  }
  return weights;
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

}  // namespace

Quantizer::Quantizer(QuantizerOptions options) : options_{std::move(options)} {}

QuantizedGraph Quantizer::calibrate(const Graph& graph, std::span<const Tensor> frames) const {
  check_frames(graph, frames);
  const std::size_t inputs = graph.inputs().size();
  const std::size_t count = std::min(frames.size() / inputs, std::max<std::size_t>(options_.max_frames, 1));
  Observer seen{graph};
  for (std::size_t f = 0; f < count; ++f) {
    seen.observe(frames.subspan(f * inputs, inputs));
    if (options_.progress) options_.progress(f + 1, count);
  }
  std::vector<int> fix_points = choose_fix_points(graph, seen);
  std::vector<WeightQuant> weights = choose_weights(graph, fix_points);
  return {graph, std::move(fix_points), std::move(weights)};
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
  return {graph, {q.fix_points().begin(), q.fix_points().end()}, {q.weights().begin(), q.weights().end()}, true};
}

}  // namespace splitcnn::inline v0
