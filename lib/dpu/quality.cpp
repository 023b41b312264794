// The INT8 network beside the float one, tensor by tensor.
#include "splitcnn/quality.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "cpu/executor.hpp"
#include "dpu/soft/executor.hpp"
#include "graph/lower.hpp"
#include "quant/frames.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Sums over frames.
class NoiseMeter {
 public:
  /// `factors`: what channel c was multiplied with before it became a byte; empty for none.
  void add(std::span<const float> wanted, std::span<const std::int8_t> bytes, int fix_point, std::span<const float> factors) {
    const double unit = std::ldexp(1.0, -fix_point);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const double x = wanted[i], q = bytes[i] * unit / (factors.empty() ? 1.0 : static_cast<double>(factors[i % factors.size()]));
      signal_ += x * x;
      noise_ += (x - q) * (x - q);
      saturated_ += bytes[i] == -128 || bytes[i] == 127;
    }
    values_ += wanted.size();
  }
  [[nodiscard]] double sqnr_db() const { return noise_ > 0 ? 10 * std::log10(signal_ / noise_) : std::numeric_limits<double>::infinity(); }
  [[nodiscard]] double saturated() const { return values_ == 0 ? 0 : static_cast<double>(saturated_) / static_cast<double>(values_); }

 private:
  double signal_ = 0, noise_ = 0;
  std::size_t saturated_ = 0, values_ = 0;
};

/// The part [0, last) of the network in both arithmetics, on the same frame.
class Pair {
 public:
  Pair(const QuantizedGraph& quant, NodeId last, int threads)
      : graph_{quant.graph()}, floats_{graph_, 0, last, {.keep_all = true, .threads = threads}}, bytes_{quant, 0, last, {.threads = threads}} {}

  void feed(std::span<const Tensor> frame) {
    for (std::size_t i = 0; i < floats_.input_ids().size(); ++i)
      write_input(graph_, frame, floats_.input_ids()[i], {}, reinterpret_cast<std::byte*>(floats_.input(i).data()));
    for (std::size_t i = 0; i < bytes_.input_ids().size(); ++i)
      write_input(graph_, frame, bytes_.input_ids()[i], {.dtype = DType::i8, .fix_point = bytes_.input_fix_point(i)}, reinterpret_cast<std::byte*>(bytes_.input(i).data()));
    floats_.run();
  }

  CpuExecutor& floats() { return floats_; }
  DpuExecutor& bytes() { return bytes_; }

 private:
  const Graph& graph_;
  CpuExecutor floats_;
  DpuExecutor bytes_;
};

class Meter {
 public:
  Meter(const QuantizedGraph& quant, std::span<const Tensor> frames, const QualityOptions& options)
      : quant_{quant}, graph_{quant.graph()}, options_{options}, inputs_{graph_.inputs().size()},
        frames_{frames.first(std::min(frames.size(), std::max<std::size_t>(options.max_frames, 1) * inputs_))} {}

  Quality run() {
    const std::vector<Cut> all = cuts(graph_, options_.granularity);
    Quality quality{.layers = {}, .cut_sqnr_db = std::vector<double>(all.size(), std::numeric_limits<double>::quiet_NaN()), .frames = frames_.size() / inputs_};
    NodeId last = 0;
    for (std::size_t k = 1; k < all.size(); ++k) {
      if (all[k].legal) last = std::max(last, all[k].node);
    }
    if (last == 0) throw Error{Errc::unsupported, fmt::format("quality: no head of '{}' fits the DPU", graph_.name())};
    for (std::size_t k = 1; k < all.size(); ++k) {
      if (all[k].legal) quality.cut_sqnr_db[k] = crossing(all[k].node);
      if (options_.progress) options_.progress(k, all.size());
    }
    quality.layers = layers(last);
    if (options_.progress) options_.progress(all.size(), all.size());
    return quality;
  }

 private:
  template <class F>
  void for_each_frame(const F& f) const {
    for (std::size_t at = 0; at + inputs_ <= frames_.size(); at += inputs_) f(frames_.subspan(at, inputs_));
  }

  double crossing(NodeId last) const {
    Pair pair{quant_, last, options_.threads};
    NoiseMeter noise;
    for_each_frame([&](std::span<const Tensor> frame) {
      pair.feed(frame);
      pair.bytes().run();
      for (std::size_t i = 0; i < pair.bytes().output_ids().size(); ++i)
        noise.add(pair.floats().value(pair.bytes().output_ids()[i]), pair.bytes().output(i), pair.bytes().output_fix_point(i), {});
    });
    return noise.sqnr_db();
  }

  /// Instructions that write parts of one tensor (concat) are one layer, which is complete after the last of them.
  std::vector<LayerQuality> layers(NodeId last) const {
    Pair pair{quant_, last, options_.threads};
    const std::vector<DpuStep> steps = pair.bytes().steps();
    std::map<TensorId, std::size_t> last_writer;
    for (std::size_t s = 0; s < steps.size(); ++s) last_writer[steps[s].tensor] = s;
    std::vector<NoiseMeter> noise(steps.size());
    for_each_frame([&](std::span<const Tensor> frame) {
      pair.feed(frame);
      for (std::size_t s = 0; s < steps.size(); ++s) {
        pair.bytes().run_step(s);
        if (last_writer.at(steps[s].tensor) != s) continue;
        noise[s].add(pair.floats().value(steps[s].tensor), pair.bytes().buffers(s).output, steps[s].fix_point, factors(steps[s].tensor, last));
      }
    });
    const std::map<TensorId, int> weights = weight_fix_points(last);
    std::vector<LayerQuality> all;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const TensorId t = steps[s].tensor;
      if (last_writer.at(t) != s) continue;
      LayerQuality l{.node = steps[s].name, .tensor = graph_.tensor(t).name, .fix_point = steps[s].fix_point};
      if (const auto w = weights.find(t); w != weights.end()) l.weight_fix_point = w->second;
      l.equalised = !factors(t, last).empty();
      l.saturated = noise[s].saturated();
      l.sqnr_db = noise[s].sqnr_db();
      all.push_back(std::move(l));
    }
    return all;
  }

  [[nodiscard]] const ChannelScale* equalised(TensorId t, NodeId last) const {
    const ChannelScale* scale = quant_.channel_scale(t);
    return scale && scale->last <= last ? scale : nullptr;
  }
  [[nodiscard]] std::span<const float> factors(TensorId t, NodeId last) const {
    const ChannelScale* scale = equalised(t, last);
    return scale ? std::span<const float>{scale->factors} : std::span<const float>{};
  }

  /// By what the layer writes.
  [[nodiscard]] std::map<TensorId, int> weight_fix_points(NodeId last) const {
    std::map<TensorId, int> all;
    for (const LoweredOp& op : lower(graph_, 0, last).ops) {
      if (op.op != Op::conv || op.weights.empty()) continue;
      const bool in = equalised(op.inputs[0], last) != nullptr, out = equalised(op.outputs[0], last) != nullptr;
      all[op.outputs[0]] = quant_.weight(op.node, op.folded_through, in, out).weight_fix_point;
    }
    return all;
  }

  const QuantizedGraph& quant_;
  const Graph& graph_;
  const QualityOptions& options_;
  std::size_t inputs_;
  std::span<const Tensor> frames_;
};

}  // namespace

Quality measure_quality(const QuantizedGraph& quant, std::span<const Tensor> frames, const QualityOptions& options) {
  check_frames(quant.graph(), frames);
  return Meter{quant, frames, options}.run();
}

}  // namespace splitcnn::inline v0
