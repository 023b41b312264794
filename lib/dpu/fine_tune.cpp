// Fine tuning of weights: gathers, per layer, what the INT8 network feeds it and what the float network makes of the same frames.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/openmp.hpp"
#include "cpu/executor.hpp"
#include "dpu/soft/executor.hpp"
#include "dpu/soft/successive_rounding.hpp"
#include "graph/lower.hpp"
#include "quant/frames.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr float damping = 1;                           // few frames, all alike, must not decide everything
constexpr std::size_t most_rows = 16384;              // examples per layer
constexpr std::size_t most_floats = std::size_t{24} << 20;  // of float results that are kept at a time

struct Area {
  std::int64_t n = 1, h = 1, w = 1, c = 1;
};

/// The other side of the add behind a convolution: what that misses, the convolution can make up for.
struct Skip {
  TensorId tensor = 0;
  std::size_t step = 0, input = 0;  // of the DPU's add
  int fix_point = 0;
  const ChannelScale* scale = nullptr;
};

struct Layer {
  const LoweredOp* op = nullptr;
  std::size_t step = 0;          // of the DPU
  const ChannelScale *in = nullptr, *out = nullptr;
  std::optional<Skip> skip;
  Area from, to;
  std::size_t rows = 0;          // examples per frame
  std::vector<float> units;      // per input channel: what one unit of the byte is worth
  std::vector<float> wanted;     // [frames][rows][out channels]

  [[nodiscard]] std::size_t taps() const { return static_cast<std::size_t>(op->window.kernel_h * op->window.kernel_w); }
  [[nodiscard]] std::size_t per_group() const { return static_cast<std::size_t>(op->in_channels / op->groups); }
  [[nodiscard]] std::size_t outs() const { return static_cast<std::size_t>(op->out_channels); }
  [[nodiscard]] std::size_t positions() const { return static_cast<std::size_t>(to.n * to.h * to.w); }
  [[nodiscard]] std::size_t kept(std::size_t frames) const { return frames * rows * outs(); }
};

/// `rows` places of all, other ones for every frame.
template <class F>
void for_each_place(const Layer& layer, std::size_t frame, const F& f) {
  const std::size_t all = layer.positions();
  std::size_t stride = std::max<std::size_t>(all / layer.rows, 1);
  while (std::gcd(stride, all) != 1) ++stride;
  for (std::size_t r = 0, at = frame * 7919 % all; r < layer.rows; ++r, at = (at + stride) % all) f(r, at);
}

/// What one output of one group sees of the INT8 input, with a 1 for the bias.
void gather(const Layer& layer, std::span<const std::int8_t> bytes, std::size_t place, std::size_t group, float* x) {
  const Window& w = layer.op->window;
  const Area& in = layer.from;
  const auto at = static_cast<std::int64_t>(place), ox = at % layer.to.w, oy = at / layer.to.w % layer.to.h, n = at / (layer.to.w * layer.to.h);
  const std::size_t per = layer.per_group();
  for (int ky = 0; ky < w.kernel_h; ++ky) {
    for (int kx = 0; kx < w.kernel_w; ++kx, x += per) {
      const std::int64_t y = oy * w.stride_h - w.pad_top + ky * w.dilation_h, z = ox * w.stride_w - w.pad_left + kx * w.dilation_w;
      if (y < 0 || y >= in.h || z < 0 || z >= in.w) {
        std::fill_n(x, per, 0.0f);
        continue;
      }
      const std::int8_t* from = bytes.data() + static_cast<std::size_t>(((n * in.h + y) * in.w + z) * in.c) + group * per;
      const float* unit = layer.units.data() + group * per;
      for (std::size_t c = 0; c < per; ++c) x[c] = static_cast<float>(from[c]) * unit[c];
    }
  }
  *x = 1;
}

Area area_of(const Shape& logical) {
  if (logical.rank() == 4) return {logical[0], logical[2], logical[3], logical[1]};
  return {logical.elements() / std::max<std::int64_t>(logical.back(), 1), 1, 1, logical.back()};
}

class Tuner {
 public:
  Tuner(const QuantizedGraph& quant, std::span<const Tensor> frames, const FineTuneOptions& options)
      : quant_{quant}, graph_{quant.graph()}, options_{options}, frames_{frames},
        count_{std::min(frames.size() / graph_.inputs().size(), std::max<std::size_t>(options.max_frames, 1))},
        weights_(quant.weights().begin(), quant.weights().end()), last_{last_legal()}, ops_{lower(graph_, 0, last_).ops} {
    find_layers();
  }

  QuantizedGraph run() {
    for (std::size_t from = 0; from < layers_.size();) {
      std::size_t to = from, floats = 0;
      while (to < layers_.size() && (to == from || floats + layers_[to].kept(count_) <= most_floats)) floats += layers_[to++].kept(count_);
      run_float(from, to);
      for (; from < to; ++from) {
        tune(layers_[from]);
        layers_[from].wanted = {};
        if (options_.progress) options_.progress(from + 1, layers_.size());
      }
    }
    return tuned();
  }

 private:
  NodeId last_legal() const {
    NodeId node = 0;
    for (const Cut& cut : cuts(graph_, Granularity::op)) {
      if (cut.legal) node = std::max(node, cut.node);
    }
    if (node == 0) throw Error{Errc::unsupported, fmt::format("fine tuning: no head of '{}' fits the DPU", graph_.name())};
    return node;
  }

  QuantizedGraph tuned() const {
    return {graph_, {quant_.fix_points().begin(), quant_.fix_points().end()}, weights_, quant_.synthetic(),
            {quant_.channel_scales().begin(), quant_.channel_scales().end()}, {quant_.moments().begin(), quant_.moments().end()}};
  }

  const ChannelScale* equalised(TensorId t) const {
    const ChannelScale* scale = quant_.channel_scale(t);
    return scale && scale->last <= last_ ? scale : nullptr;
  }
  int fix_point(TensorId t) const {
    const ChannelScale* scale = equalised(t);
    return scale ? scale->fix_point : quant_.fix_point(t);
  }

  /// The DPU's steps are the lowered operations in order; of those without weights some have none or several.
  void find_layers() {
    const auto steps = DpuExecutor{quant_, 0, last_}.steps();
    std::size_t step = 0;
    for (const LoweredOp& op : ops_) {
      if (op.op != Op::conv || op.weights.empty()) continue;
      while (step < steps.size() && steps[step].macs == 0) ++step;
      Layer layer{.op = &op, .step = step++, .in = equalised(op.inputs[0]), .out = equalised(op.outputs[0])};
      layer.from = area_of(graph_.tensor(op.inputs[0]).shape);
      layer.to = area_of(graph_.tensor(op.outputs[0]).shape);
      if (op.dense) {
        layer.from = {op.dense_rows, op.window.kernel_h, op.window.kernel_w, op.in_channels};
        layer.to = {op.dense_rows, 1, 1, op.out_channels};
      }
      const std::size_t inputs = layer.taps() * layer.per_group() + 1;
      if (inputs > options_.most_inputs + 1) continue;
      layer.units.assign(static_cast<std::size_t>(op.in_channels), std::ldexp(1.0f, -fix_point(op.inputs[0])));
      for (std::size_t c = 0; layer.in && c < layer.units.size(); ++c) layer.units[c] /= layer.in->factors[c];
      layer.rows = std::min(layer.positions(), (most_rows + count_ - 1) / count_);
      layers_.push_back(std::move(layer));
    }
    for (Layer& layer : layers_) find_skip(layer, steps);
  }

  void find_skip(Layer& layer, std::span<const DpuStep> steps) {
    const TensorId t = layer.op->outputs[0];
    if (layer.op->activation.kind != Activation::Kind::none || graph_.tensor(t).shape.rank() != 4) return;
    const LoweredOp* reader = nullptr;
    for (const LoweredOp& op : ops_) {
      if (std::find(op.inputs.begin(), op.inputs.end(), t) == op.inputs.end()) continue;
      if (reader) return;
      reader = &op;
    }
    if (!reader || reader->op != Op::add) return;
    const std::size_t side = reader->inputs[0] == t ? 1 : 0;
    const TensorId other = reader->inputs[side];
    if (graph_.tensor(other).constant || !(graph_.tensor(other).shape == graph_.tensor(t).shape)) return;
    const auto written = [&](std::size_t until) {
      const auto producer = graph_.producer(other);
      if (!producer) return true;
      for (const Layer& l : layers_) {
        if (l.op->outputs[0] == other) return l.step < until;
      }
      return *producer < layer.op->node;
    };
    const auto step = std::find_if(steps.begin(), steps.end(), [&](const DpuStep& s) { return s.name == graph_.nodes()[reader->node].name; });
    const ChannelScale* scale = equalised(other);
    if (!written(layer.step) || step == steps.end() || (scale != nullptr) != (layer.out != nullptr)) return;
    layer.skip = {other, static_cast<std::size_t>(step - steps.begin()), side, fix_point(other), scale};
  }

  void run_float(std::size_t from, std::size_t to) {
    const OmpThreads threads{options_.threads};
    CpuExecutor run{graph_, 0, last_, {.keep_all = true, .threads = options_.threads}};
    for (std::size_t i = from; i < to; ++i) layers_[i].wanted.resize(layers_[i].kept(count_));
    for (std::size_t f = 0; f < count_; ++f) {
      for (std::size_t i = 0; i < run.input_ids().size(); ++i) write_input(graph_, frame(f), run.input_ids()[i], {}, reinterpret_cast<std::byte*>(run.input(i).data()));
      run.run();
      for (std::size_t i = from; i < to; ++i) keep(layers_[i], run, f);
    }
  }

  [[nodiscard]] std::span<const Tensor> frame(std::size_t f) const { return frames_.subspan(f * graph_.inputs().size(), graph_.inputs().size()); }

  std::span<const float> value(const CpuExecutor& run, TensorId t) const {
    const auto ids = run.input_ids();
    const auto at = std::find(ids.begin(), ids.end(), t);
    return at == ids.end() ? run.value(t) : const_cast<CpuExecutor&>(run).input(static_cast<std::size_t>(at - ids.begin()));
  }

  void keep(Layer& layer, const CpuExecutor& run, std::size_t frame) const {
    const auto result = run.value(graph_.nodes()[layer.op->folded_through].outputs[0]);
    const std::span<const float> skip = layer.skip ? value(run, layer.skip->tensor) : std::span<const float>{};
    const std::size_t outs = layer.outs();
    for_each_place(layer, frame, [&](std::size_t r, std::size_t place) {
      float* to = layer.wanted.data() + (frame * layer.rows + r) * outs;
      for (std::size_t c = 0; c < outs; ++c) {
        to[c] = result[place * outs + c] + (layer.skip ? skip[place * outs + c] : 0.0f);
      }
    });
  }

  /// One per group of channels, with the plain weights.
  std::vector<soft::RoundingProblem> problems(const Layer& layer) const {
    const LoweredOp& op = *layer.op;
    const auto groups = static_cast<std::size_t>(op.groups);
    const std::size_t inputs = layer.taps() * layer.per_group(), outs = layer.outs() / groups;
    std::vector<soft::RoundingProblem> all(groups);
    for (std::size_t g = 0; g < groups; ++g) {
      soft::RoundingProblem& p = all[g];
      p.inputs = inputs + 1;
      p.outputs = outs;
      p.start.resize(p.inputs * outs);
      for (std::size_t o = 0; o < outs; ++o) {
        for (std::size_t i = 0; i < inputs; ++i) p.start[i * outs + o] = op.weights[(g * outs + o) * inputs + i];
        p.start[inputs * outs + o] = op.bias[g * outs + o];
      }
    }
    return all;
  }

  void tune(Layer& layer) {
    const OmpThreads threads{options_.threads};
    auto all = problems(layer);
    DpuExecutor run{tuned(), 0, last_, {.threads = options_.threads}};
    const std::size_t inputs = all[0].inputs, outs = all[0].outputs;
    std::vector<float> x(layer.rows * inputs), wanted(layer.rows * outs);
    for (std::size_t f = 0; f < count_; ++f) {
      for (std::size_t i = 0; i < run.input_ids().size(); ++i)
        write_input(graph_, frame(f), run.input_ids()[i], {.dtype = DType::i8, .fix_point = run.input_fix_point(i)}, reinterpret_cast<std::byte*>(run.input(i).data()));
      for (std::size_t s = 0; s < layer.step; ++s) run.run_step(s);
      if (layer.skip) subtract_skip(layer, run, f);
      const auto bytes = run.buffers(layer.step).inputs[0];
      for (std::size_t g = 0; g < all.size(); ++g) {
        for_each_place(layer, f, [&](std::size_t r, std::size_t place) {
          gather(layer, bytes, place, g, x.data() + r * inputs);
          std::copy_n(layer.wanted.data() + (f * layer.rows + r) * layer.outs() + g * outs, outs, wanted.data() + r * outs);
        });
        all[g].add(x, wanted, layer.rows);
      }
    }
    for (WeightQuant& w : weights_) {
      if (w.node == layer.op->node && w.folded_through == layer.op->folded_through) round(layer, all, w);
    }
  }

  void subtract_skip(Layer& layer, DpuExecutor& run, std::size_t frame) const {
    const auto bytes = run.buffers(layer.skip->step).inputs[layer.skip->input];
    const float unit = std::ldexp(1.0f, -layer.skip->fix_point);
    const std::size_t outs = layer.outs();
    for_each_place(layer, frame, [&](std::size_t r, std::size_t place) {
      float* to = layer.wanted.data() + (frame * layer.rows + r) * outs;
      for (std::size_t c = 0; c < outs; ++c) to[c] -= static_cast<float>(bytes[place * outs + c]) * unit / (layer.out ? layer.out->factors[c] : 1.0f);
    });
  }

  /// For one way the tensors around the layer are stored: plain or equalised.
  void round(const Layer& layer, std::span<const soft::RoundingProblem> all, WeightQuant& w) const {
    const ChannelScale *in = quant_.channel_scale(layer.op->inputs[0]), *out = quant_.channel_scale(layer.op->outputs[0]);
    if ((w.equalised_in && !in) || (w.equalised_out && !out)) return;
    WeightBytes bytes{std::vector<std::int8_t>(layer.op->weights.size()), std::vector<std::int8_t>(layer.op->bias.size())};
    for (std::size_t g = 0; g < all.size(); ++g) {
      const std::size_t inputs = all[g].inputs - 1, outs = all[g].outputs, per = layer.per_group();
      soft::RoundingProblem p = all[g];
      std::vector<float> from(p.inputs, 1.0f), to(outs, 1.0f);
      for (std::size_t i = 0; w.equalised_in && i < inputs; ++i) from[i] = in->factors[g * per + i % per];
      for (std::size_t o = 0; w.equalised_out && o < outs; ++o) to[o] = out->factors[g * outs + o];
      p.rescale(from, to);
      p.steps.assign(p.inputs, std::ldexp(1.0f, -w.weight_fix_point));
      p.steps.back() = std::ldexp(1.0f, -w.bias_fix_point);
      const auto q = soft::round_successively(p, damping);
      if (q.empty()) return;
      for (std::size_t o = 0; o < outs; ++o) {
        for (std::size_t i = 0; i < inputs; ++i) bytes.weights[(g * outs + o) * inputs + i] = q[i * outs + o];
        bytes.bias[g * outs + o] = q[inputs * outs + o];
      }
    }
    w.tuned = std::make_shared<const WeightBytes>(std::move(bytes));
  }

  const QuantizedGraph& quant_;
  const Graph& graph_;
  const FineTuneOptions& options_;
  std::span<const Tensor> frames_;
  std::size_t count_;
  std::vector<WeightQuant> weights_;
  NodeId last_;
  std::vector<LoweredOp> ops_;
  std::vector<Layer> layers_;
};

}  // namespace

QuantizedGraph fine_tune(const QuantizedGraph& quant, std::span<const Tensor> frames, const FineTuneOptions& options) {
  check_frames(quant.graph(), frames);
  return Tuner{quant, frames, options}.run();
}

}  // namespace splitcnn::inline v0
