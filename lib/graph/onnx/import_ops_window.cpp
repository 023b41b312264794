// Operators with a window over height and width, and those that work per channel.
#include <fmt/core.h>

#include <array>

#include "graph/onnx/node_context.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Two values per spatial dimension list; `otherwise` for an absent attribute.
std::array<int, 2> pair_of(NodeContext& c, const char* name, int otherwise) {
  const auto values = c.integers(name);
  if (!values || values->empty()) return {otherwise, otherwise};
  if (values->size() != 2)
    c.bad(fmt::format("attribute {} has {} entries for two spatial dimensions; export the model again", name,
                      values->size()));
  std::array<int, 2> out{};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t v = (*values)[i];
    if (v < 1 || v > (1 << 20)) c.bad(fmt::format("attribute {} is {}; export the model again", name, v));
    out[i] = static_cast<int>(v);
  }
  return out;
}

void expect_image(NodeContext& c) {
  const Shape& x = c.shape(0);
  if (x.rank() != 4)
    c.unsupported(fmt::format("its input {} is no N,C,H,W image; only two spatial dimensions are supported",
                              to_string(x)));
}

/// Padding so that the output has ceil(size / stride) elements; the odd one goes behind (upper) or in front
/// (lower).
std::array<int, 2> same_padding(std::int64_t size, int kernel, int stride, int dilation, bool upper) {
  const std::int64_t out = (size + stride - 1) / stride;
  const std::int64_t total =
      std::max<std::int64_t>((out - 1) * stride + std::int64_t{dilation} * (kernel - 1) + 1 - size, 0);
  const auto small = static_cast<int>(total / 2), large = static_cast<int>(total - total / 2);
  return upper ? std::array{small, large} : std::array{large, small};
}

void explicit_padding(NodeContext& c, Window& w) {
  const auto pads = c.integers("pads");
  if (!pads || pads->empty()) return;
  if (pads->size() != 4)
    c.bad(fmt::format("attribute pads has {} entries, needs 4; export the model again", pads->size()));
  const std::array<int*, 4> to{&w.pad_top, &w.pad_left, &w.pad_bottom, &w.pad_right};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::int64_t v = (*pads)[i];
    if (v < 0) c.unsupported(fmt::format("padding of {}; crop with a Slice instead", v));
    if (v > (1 << 20)) c.bad(fmt::format("padding of {}; export the model again", v));
    *to[i] = static_cast<int>(v);
  }
}

Window window_of(NodeContext& c, std::array<int, 2> kernel) {
  Window w{.kernel_h = kernel[0], .kernel_w = kernel[1]};
  const auto strides = pair_of(c, "strides", 1), dilations = pair_of(c, "dilations", 1);
  w.stride_h = strides[0], w.stride_w = strides[1];
  w.dilation_h = dilations[0], w.dilation_w = dilations[1];
  const std::string automatic = c.text("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    const bool upper = automatic == "SAME_UPPER";
    const auto rows = same_padding(c.shape(0)[2], w.kernel_h, w.stride_h, w.dilation_h, upper);
    const auto columns = same_padding(c.shape(0)[3], w.kernel_w, w.stride_w, w.dilation_w, upper);
    w.pad_top = rows[0], w.pad_bottom = rows[1];
    w.pad_left = columns[0], w.pad_right = columns[1];
  } else if (automatic == "NOTSET" || automatic.empty()) {
    explicit_padding(c, w);
  } else if (automatic != "VALID") {
    c.bad(fmt::format("auto_pad '{}' is not known; export the model again", automatic));
  }
  return w;
}

void expect_constant(NodeContext& c, std::size_t i, const char* role) {
  if (c.has(i) && !c.is_constant(i))
    c.unsupported(
        fmt::format("its {} are computed from the input image; only constant ones are supported", role));
}

void conv(NodeContext& c) {
  c.expect_inputs(2, 3);
  expect_image(c);
  expect_constant(c, 1, "weights");
  expect_constant(c, 2, "biases");
  const Shape& w = c.shape(1);
  if (w.rank() != 4)
    c.bad(fmt::format("its weights have the shape {}, not O,I,H,W; export the model again", to_string(w)));
  std::array<int, 2> kernel = pair_of(c, "kernel_shape", 0);
  for (std::size_t i = 0; i < 2; ++i) {
    if (w[i + 2] < 1 || w[i + 2] > (1 << 20) || (kernel[i] != 0 && kernel[i] != w[i + 2])) {
      c.bad(fmt::format("kernel_shape does not fit its weights {}; export the model again", to_string(w)));
    }
    kernel[i] = static_cast<int>(w[i + 2]);
  }
  const std::int64_t groups = c.integer("group", 1);
  if (groups < 1 || groups > (1 << 24)) c.bad(fmt::format("group is {}; export the model again", groups));
  Node node{.op = Op::conv, .window = window_of(c, kernel), .groups = static_cast<int>(groups)};
  std::vector<Value*> inputs{&c.input(0), &c.input(1)};
  if (c.has(2)) inputs.push_back(&c.input(2));
  c.emit(std::move(node), std::move(inputs));
}

Node pool_node(NodeContext& c, Op op) {
  c.expect_inputs(1, 1);
  expect_image(c);
  if (!c.has_attribute("kernel_shape")) c.bad("has no kernel_shape; export the model again");
  Node node{.op = op,
            .window = window_of(c, pair_of(c, "kernel_shape", 1)),
            .ceil_mode = c.flag("ceil_mode", false)};
  const Window& w = node.window;
  // A window that lies in the padding altogether has no maximum and no mean.
  if (std::max(w.pad_top, w.pad_bottom) >= w.kernel_h || std::max(w.pad_left, w.pad_right) >= w.kernel_w) {
    c.bad("its padding is as large as its kernel; export the model again");
  }
  return node;
}

void max_pool(NodeContext& c) {
  c.only_first_output("indices");
  c.emit(pool_node(c, Op::max_pool), {&c.input(0)});
}

void average_pool(NodeContext& c) {
  Node node = pool_node(c, Op::average_pool);
  node.count_include_pad = c.flag("count_include_pad", false);
  c.emit(std::move(node), {&c.input(0)});
}

void global_average_pool(NodeContext& c) {
  c.expect_inputs(1, 1);
  const Shape& x = c.shape(0);
  if (x.rank() == 4) return c.emit({.op = Op::global_average_pool}, {&c.input(0)});
  if (x.rank() < 3)
    c.bad(fmt::format("its input {} has no spatial dimensions; export the model again", to_string(x)));
  Node node{.op = Op::reduce_mean};
  Shape out = x;
  for (std::size_t d = 2; d < x.rank(); ++d) {
    node.axes.push_back(static_cast<std::int64_t>(d));
    out[d] = 1;
  }
  c.emit(std::move(node), {&c.input(0)}, out);
}

void batch_normalization(NodeContext& c) {
  c.expect_inputs(5, 5);
  c.only_first_output("running statistics");
  if (c.flag("training_mode", false)) c.unsupported("is in training mode; export the model for inference");
  if (!c.flag("spatial", true))
    c.unsupported("spatial = 0 (per-element statistics); export the model with a newer opset");
  for (std::size_t i = 1; i < 5; ++i) expect_constant(c, i, "parameters");
  std::vector<Value*> inputs;
  for (std::size_t i = 0; i < 5; ++i) inputs.push_back(&c.input(i));
  c.emit({.op = Op::batch_norm, .alpha = c.real("epsilon", 1e-5f)}, std::move(inputs));
}

void lrn(NodeContext& c) {
  c.expect_inputs(1, 1);
  const std::int64_t size = c.integer("size", 0);
  if (size < 1 || size > (1 << 20)) c.bad(fmt::format("size is {}; export the model again", size));
  c.emit({.op = Op::lrn,
          .alpha = c.real("alpha", 1e-4f),
          .beta = c.real("beta", 0.75f),
          .bias = c.real("bias", 1.0f),
          .size = static_cast<int>(size)},
         {&c.input(0)});
}

constexpr OperatorEntry window_entries[] = {
    {"Conv", conv},
    {"MaxPool", max_pool},
    {"AveragePool", average_pool},
    {"GlobalAveragePool", global_average_pool},
    {"BatchNormalization", batch_normalization},
    {"LRN", lrn},
};

}  // namespace

std::span<const OperatorEntry> window_operators() { return window_entries; }

}  // namespace splitcnn::inline v0
