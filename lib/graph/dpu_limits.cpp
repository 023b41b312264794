#include "graph/dpu_limits.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "graph/dpu_engines.hpp"
#include "graph/node_kinds.hpp"

namespace splitcnn::inline v0 {

namespace {

DpuLimits illegal(std::string why) {
  return {.legal = false, .board_legal = false, .reason = std::move(why)};
}
DpuLimits software_only(std::string why) { return {.board_legal = false, .reason = std::move(why)}; }
DpuLimits board_if(const Reason& reason) { return reason ? software_only(*reason) : DpuLimits{}; }

bool near(double a, double b) { return std::abs(a - b) < 1e-6; }

const Shape& input_shape(const Graph& g, const Node& n) { return g.tensor(n.inputs[0]).shape; }
const Shape& output_shape(const Graph& g, const Node& n) { return g.tensor(n.outputs[0]).shape; }

// ---- looking around a node

/// The node whose result this one is fused into or folded with: the writer of the activation it reads, past
/// identities and affine nodes, as long as nobody else reads what lies between.
const Node* host_of(const Graph& g, const Node& node) {
  const Node* at = &node;
  while (true) {
    const auto data =
        std::find_if(at->inputs.begin(), at->inputs.end(), [&](TensorId t) { return !g.tensor(t).constant; });
    if (data == at->inputs.end()) return nullptr;
    const auto writer = g.producer(*data);
    if (!writer || g.consumers(*data).size() != 1 || is_output(g, *data)) return nullptr;
    at = &g.nodes()[*writer];
    if (!is_identity(g, *at) && !is_channel_affine(g, *at)) return at;
  }
}

bool moves_data(const Shape& from, const Shape& to) {
  const auto same_order = [](const Shape& s) {
    return s.rank() != 4 || s[1] == 1 || (s[2] == 1 && s[3] == 1);
  };
  return from != to && !(same_order(from) && same_order(to));
}

/// The map a dense layer reads through a flatten: then it is a convolution over that map.
const Shape* flattened_map(const Graph& g, TensorId rows) {
  for (auto writer = g.producer(rows); writer; writer = g.producer(g.nodes()[*writer].inputs[0])) {
    const Node& node = g.nodes()[*writer];
    if (is_identity(g, node)) continue;
    return node.op == Op::reshape && input_shape(g, node).rank() == 4 ? &input_shape(g, node) : nullptr;
  }
  return nullptr;
}

/// Last node in the chain of identities and dense layers that reads a flattened tensor; nothing when someone
/// else reads it.
std::optional<NodeId> last_dense_reader(const Graph& g, TensorId t) {
  const auto readers = g.consumers(t);
  if (readers.empty() || is_output(g, t)) return {};
  NodeId last = 0;
  for (const NodeId reader : readers) {
    const Node& node = g.nodes()[reader];
    std::optional<NodeId> found;
    if (is_identity(g, node)) found = last_dense_reader(g, node.outputs[0]);
    if (node.op == Op::gemm || node.op == Op::matmul) found = reader;
    if (!found) return {};
    last = std::max(last, *found);
  }
  return last;
}

// ---- one function per kind of operator

// 8 x 8 bit products: beyond this many a 32-bit sum could overflow.
constexpr std::int64_t max_products = 131'071;

DpuLimits conv_limits(const Graph& g, const Node& n) {
  if (!g.tensor(n.inputs[1]).constant)
    return illegal("its weights are computed at run time, a DPU needs constant weights");
  if (n.inputs.size() > 2 && !g.tensor(n.inputs[2]).constant)
    return illegal("its bias is computed at run time, a DPU needs a constant");
  const Shape& w = g.tensor(n.inputs[1]).shape;
  const Shape& x = input_shape(g, n);
  if (x.rank() != 4 || w.rank() != 4)
    return illegal(fmt::format("its input {} is not an image", to_string(x)));
  const std::int64_t products = w[1] * w[2] * w[3];
  if (products > max_products) {
    return illegal(fmt::format("it adds {} products, a 32-bit sum holds {}", products, max_products));
  }
  if (is_depthwise(g, n)) return board_if(alu_engine(n.window));
  if (n.groups != 1) {
    return software_only(
        fmt::format("it has {} groups, the DPUCVDX8G convolves with 1 group or depthwise", n.groups));
  }
  const bool covers = n.window.kernel_h == x[2] && n.window.kernel_w == x[3];
  return board_if(conv_engine(n.window, x[1], w[0], covers));
}

DpuLimits dense_limits(const Graph& g, const Node& n) {
  const Shape& x = input_shape(g, n);
  if (g.tensor(n.inputs[0]).constant || !g.tensor(n.inputs[1]).constant) {
    return illegal("its weights are not a constant second operand, a DPU needs constant weights");
  }
  if (n.inputs.size() > 2 && !g.tensor(n.inputs[2]).constant)
    return illegal("its bias is computed at run time, a DPU needs a constant");
  if (x.rank() != 2 || output_shape(g, n).rank() != 2) {
    return illegal(fmt::format(
        "its input {} does not have rank 2, a DPU runs dense layers over one row per frame", to_string(x)));
  }
  if (n.transpose_a) return illegal("it transposes its input, a DPU does not");
  if (x[1] > max_products)
    return illegal(fmt::format("it adds {} products, a 32-bit sum holds {}", x[1], max_products));
  if (n.inputs.size() > 2) {
    const Shape& c = g.tensor(n.inputs[2]).shape;
    if (c.elements() != 1 && c.elements() != output_shape(g, n)[1])
      return illegal(fmt::format("its bias {} differs from row to row", to_string(c)));
  }
  Window window;
  std::int64_t channels = x[1];
  if (const Shape* map = flattened_map(g, n.inputs[0])) {
    window.kernel_h = static_cast<int>((*map)[2]);
    window.kernel_w = static_cast<int>((*map)[3]);
    channels = (*map)[1];
  }
  return board_if(conv_engine(window, channels, output_shape(g, n)[1], true));
}

DpuLimits pool_limits(const Graph& g, const Node& n) {
  const Window& w = n.window;
  if (input_shape(g, n).rank() != 4) return illegal("its input is not an image");
  if (w.dilation_h != 1 || w.dilation_w != 1) return illegal("it dilates, a DPU pools without dilation");
  if (n.op == Op::average_pool) {
    const bool padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
    if (padded && !n.count_include_pad) {
      return illegal(
          "it averages without counting its padding, a DPU divides by the whole window (count_include_pad = "
          "1)");
    }
    const Shape& x = input_shape(g, n);
    const Shape& y = output_shape(g, n);
    const bool overhangs = (y[2] - 1) * w.stride_h + w.kernel_h > x[2] + w.pad_top + w.pad_bottom ||
                           (y[3] - 1) * w.stride_w + w.kernel_w > x[3] + w.pad_left + w.pad_right;
    if (overhangs)
      return illegal(
          "its last window reaches beyond the image (ceil_mode), a DPU divides by the whole window");
  }
  return board_if(alu_engine(w));
}

/// Global average pool, and a mean over height and width.
DpuLimits mean_limits(const Graph& g, const Node& n) {
  const Shape& x = input_shape(g, n);
  if (x.rank() != 4) return illegal(fmt::format("its input {} is not an image", to_string(x)));
  if (n.op == Op::reduce_mean && n.axes != std::vector<std::int64_t>{2, 3}) {
    return illegal("a DPU takes means over height and width together only");
  }
  if (x[2] * x[3] > max_products)
    return illegal(fmt::format("its {} pixels are more than {}", x[2] * x[3], max_products));
  return board_if(
      first_of({above("the height it averages", x[2], 256), above("the width it averages", x[3], 256),
                above("height x width it averages", x[2] * x[3], 8192)}));
}

DpuLimits affine_limits(const Graph& g, const Node& n) {
  const Node* host = host_of(g, n);
  if (host && has_weights(g, *host)) return {};
  return software_only(
      "no convolution before it can take it up, the DPUCVDX8G runs channel-wise scales only folded into "
      "weights");
}

DpuLimits binary_limits(const Graph& g, const Node& n) {
  if (is_channel_affine(g, n)) return affine_limits(g, n);
  if (n.op == Op::batch_norm)
    return illegal("its parameters are not constants per channel of an image or row");
  const GraphTensor& a = g.tensor(n.inputs[0]);
  const GraphTensor& b = g.tensor(n.inputs[1]);
  if (a.constant || b.constant) {
    return illegal(fmt::format("its constant operand {} is not one value per channel",
                               to_string(a.constant ? a.shape : b.shape)));
  }
  if (n.op == Op::sub || n.op == Op::div)
    return illegal("a DPU combines two activations by add and mul only");
  if (a.shape != b.shape) {
    return illegal(fmt::format("its operands {} and {} differ in shape, a DPU does not broadcast",
                               to_string(a.shape), to_string(b.shape)));
  }
  return {};
}

/// An activation the software DPU has. On the board it must be part of the node before, and not every engine
/// has every one.
DpuLimits activation_limits(const Graph& g, const Node& n) {
  if (n.op == Op::leaky_relu || n.op == Op::hard_sigmoid) return {};  // the ALU runs them alone, too
  const Node* host = host_of(g, n);
  const bool relu6 = n.op == Op::clip;
  const bool swish = n.op == Op::hard_swish;
  if (host) {
    if (has_weights(g, *host) && !is_depthwise(g, *host)) return {};
    if (is_depthwise(g, *host) || host->op == Op::max_pool || host->op == Op::average_pool ||
        host->op == Op::global_average_pool) {
      if (!swish) return {};
      return software_only("the DPUCVDX8G applies hard_swish behind ordinary convolutions only");
    }
    if (host->op == Op::add || host->op == Op::mul) {
      if (!relu6 && !swish) return {};
      return software_only("the DPUCVDX8G applies relu, and nothing else, behind add and mul");
    }
  }
  return software_only(
      "no convolution, pool, add or mul before it can take it up, the DPUCVDX8G does not run it alone");
}

DpuLimits leaky_limits(const Graph& g, const Node& n) {
  if (near(n.alpha, 26.0 / 256)) return activation_limits(g, n);
  return illegal(
      fmt::format("its alpha is {}, the DPU computes 26/256 = 0.1015625 and nothing else", n.alpha));
}

DpuLimits clip_limits(const Graph& g, const Node& n) {
  if (n.alpha == 0 && n.beta == 6) return activation_limits(g, n);
  return illegal(fmt::format("it clips to [{}, {}], a DPU clips to [0, 6] only", n.alpha, n.beta));
}

DpuLimits hard_sigmoid_limits(const Graph& g, const Node& n) {
  if (near(n.alpha, 1.0 / 6) && near(n.beta, 0.5)) return activation_limits(g, n);
  return illegal(
      fmt::format("its alpha and beta are {} and {}, a DPU computes 1/6 and 0.5", n.alpha, n.beta));
}

DpuLimits concat_limits(const Graph& g, const Node& n) {
  for (const TensorId t : n.inputs) {
    if (g.tensor(t).constant) return illegal(fmt::format("its input '{}' is a constant", g.tensor(t).name));
  }
  if (input_shape(g, n).rank() != 4)
    return illegal(fmt::format("its inputs ({}) are not images", to_string(input_shape(g, n))));
  if (n.axes[0] == 1) return {};
  return software_only(fmt::format("it joins along axis {}, the DPUCVDX8G joins channels only", n.axes[0]));
}

/// slice, pad, split: copies that the software DPU makes.
DpuLimits copy_limits(const Graph& g, const Node& n) {
  if (input_shape(g, n).rank() != 4)
    return illegal(fmt::format("its input {} is not an image", to_string(input_shape(g, n))));
  if (n.op == Op::pad && n.alpha != 0)
    return illegal(fmt::format("it pads with {}, a DPU pads with 0", n.alpha));
  if (n.op == Op::split && n.axes[0] != 1)
    return illegal(fmt::format("it splits axis {}, a DPU splits channels", n.axes[0]));
  if (n.op == Op::slice &&
      std::any_of(n.steps.begin(), n.steps.end(), [](std::int64_t s) { return s < 1; })) {
    return illegal("it slices backwards, a DPU does not");
  }
  return software_only(fmt::format("the DPUCVDX8G has no {}", to_string(n.op)));
}

/// Does the node repeat each pixel `factor` times along one axis?
bool repeats(const Node& n, std::int64_t in, std::int64_t out, std::size_t axis) {
  if (in == 0 || out % in != 0) return false;
  const std::int64_t factor = out / in;
  if (n.scales.size() > axis && !near(n.scales[axis], static_cast<double>(factor))) return false;
  for (std::int64_t i = 0; i < out; ++i) {
    const auto at = static_cast<double>(i), f = static_cast<double>(factor);
    double source = 0;
    switch (n.coordinates) {
      case Coordinates::asymmetric:
        source = at / f;
        break;
      case Coordinates::half_pixel:
        source = (at + 0.5) / f - 0.5;
        break;
      case Coordinates::pytorch_half_pixel:
        source = out > 1 ? (at + 0.5) / f - 0.5 : 0;
        break;
      case Coordinates::align_corners:
        source = out > 1 ? at * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
        break;
    }
    const double nearest = n.nearest_floor ? std::floor(source) : std::ceil(source - 0.5);
    if (std::clamp(static_cast<std::int64_t>(nearest), std::int64_t{0}, in - 1) != i / factor) return false;
  }
  return true;
}

DpuLimits resize_limits(const Graph& g, const Node& n) {
  const Shape& x = input_shape(g, n);
  const Shape& y = output_shape(g, n);
  if (n.resize_mode != ResizeMode::nearest)
    return illegal("it interpolates, a DPU resizes by repeating pixels");
  if (x.rank() != 4 || x[0] != y[0] || x[1] != y[1])
    return illegal("it resizes more than height and width of an image");
  if (repeats(n, x[2], y[2], 2) && repeats(n, x[3], y[3], 3)) return {};
  return illegal(fmt::format("it maps {} to {} with other coordinates than plain repetition by whole numbers",
                             to_string(x), to_string(y)));
}

DpuLimits reshape_limits(const Graph& g, const Node& n) {
  if (!moves_data(input_shape(g, n), output_shape(g, n))) return {};
  const auto reader = last_dense_reader(g, n.outputs[0]);
  if (!reader)
    return software_only("it reorders its data, the DPUCVDX8G flattens only where a dense layer follows");
  DpuLimits limits;
  limits.board_until = *reader;
  limits.reason = fmt::format(
      "it reorders its data, on the DPUCVDX8G it must be in the same head as the dense layer \"{}\"",
      g.nodes()[*reader].name);
  return limits;
}

DpuLimits judge(const Graph& g, const Node& n) {
  if (is_identity(g, n)) return {};
  switch (n.op) {
    case Op::conv:
      return conv_limits(g, n);
    case Op::gemm:
    case Op::matmul:
      return dense_limits(g, n);
    case Op::batch_norm:
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
      return binary_limits(g, n);
    case Op::relu:
    case Op::hard_swish:
      return activation_limits(g, n);
    case Op::clip:
      return clip_limits(g, n);
    case Op::leaky_relu:
      return leaky_limits(g, n);
    case Op::hard_sigmoid:
      return hard_sigmoid_limits(g, n);
    case Op::max_pool:
    case Op::average_pool:
      return pool_limits(g, n);
    case Op::global_average_pool:
    case Op::reduce_mean:
      return mean_limits(g, n);
    case Op::concat:
      return concat_limits(g, n);
    case Op::slice:
    case Op::split:
    case Op::pad:
      return copy_limits(g, n);
    case Op::resize:
      return resize_limits(g, n);
    case Op::reshape:
      return reshape_limits(g, n);
    case Op::identity:
      return {};
    case Op::prelu:
    case Op::sigmoid:
    case Op::tanh:
    case Op::exp:
    case Op::sqrt:
    case Op::gather:
    case Op::transpose:
    case Op::softmax:
    case Op::log_softmax:
    case Op::lrn:
      break;
  }
  return illegal("a DPU has no such operation");
}

}  // namespace

DpuLimits dpu_limits(const Graph& graph, NodeId node) {
  const Node& n = graph.nodes()[node];
  DpuLimits limits = judge(graph, n);
  if (!limits.reason.empty())
    limits.reason = fmt::format("{} \"{}\": {}", to_string(n.op), n.name, limits.reason);
  return limits;
}

}  // namespace splitcnn::inline v0
