#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/reference_ops.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

using Index = std::vector<std::int64_t>;

/// Calls f(input row, input column, kernel row, kernel column) for the taps of output position (y, x);
/// coordinates may lie outside.
template <class F>
void for_taps(const Window& w, std::int64_t y, std::int64_t x, const F& f) {
  for (int i = 0; i < w.kernel_h; ++i) {
    for (int j = 0; j < w.kernel_w; ++j) {
      f(y * w.stride_h - w.pad_top + std::int64_t{i} * w.dilation_h,
        x * w.stride_w - w.pad_left + std::int64_t{j} * w.dilation_w, i, j);
    }
  }
}

}  // namespace

std::vector<float> reference_conv(const Graph& graph, const Node& node,
                                  const std::vector<std::vector<float>>& inputs) {
  const Shape &in = graph.tensor(node.inputs[0]).shape, &w = graph.tensor(node.inputs[1]).shape;
  const Shape& out = graph.tensor(node.outputs[0]).shape;
  std::vector<float> y(static_cast<std::size_t>(out.elements()));
  const std::int64_t outputs_per_group = w[0] / node.groups;
  for_each_index(out, [&](const Index& at) {
    double sum = node.inputs.size() == 3 ? inputs[2][static_cast<std::size_t>(at[1])] : 0.0;
    const std::int64_t first = at[1] / outputs_per_group * w[1];
    for_taps(node.window, at[2], at[3], [&](std::int64_t r, std::int64_t c, int i, int j) {
      if (r < 0 || r >= in[2] || c < 0 || c >= in[3]) return;
      for (std::int64_t k = 0; k < w[1]; ++k) {
        sum += static_cast<double>(inputs[0][flat(in, {at[0], first + k, r, c})]) *
               static_cast<double>(inputs[1][flat(w, {at[1], k, i, j})]);
      }
    });
    y[flat(out, at)] = static_cast<float>(sum);
  });
  return y;
}

std::vector<float> reference_pool(const Graph& graph, const Node& node, const std::vector<float>& input) {
  const Shape &in = graph.tensor(node.inputs[0]).shape, &out = graph.tensor(node.outputs[0]).shape;
  const Window& w = node.window;
  std::vector<float> y(static_cast<std::size_t>(out.elements()));
  for_each_index(out, [&](const Index& at) {
    float top = std::numeric_limits<float>::lowest();
    double sum = 0;
    int inside = 0, padded = 0;
    for_taps(w, at[2], at[3], [&](std::int64_t r, std::int64_t c, int, int) {
      if (r < in[2] + w.pad_bottom && c < in[3] + w.pad_right) ++padded;
      if (r < 0 || r >= in[2] || c < 0 || c >= in[3]) return;
      const float v = input[flat(in, {at[0], at[1], r, c})];
      top = std::max(top, v);
      sum += static_cast<double>(v);
      ++inside;
    });
    const int count = node.count_include_pad ? padded : inside;
    y[flat(out, at)] = node.op == Op::max_pool ? top : static_cast<float>(sum / std::max(count, 1));
  });
  return y;
}

std::vector<float> reference_lowered_conv(const LoweredOp& op, const Shape& in, const Shape& out,
                                          std::span<const float> x) {
  // Dense layers are convolutions of their input read as rows x H x W x C.
  const Window& w = op.window;
  const Shape from =
      op.dense ? Shape{op.dense_rows, w.kernel_h, w.kernel_w, op.in_channels} : storage_shape(in);
  const Shape to = op.dense ? Shape{op.dense_rows, 1, 1, op.out_channels} : storage_shape(out);
  const std::int64_t inputs = op.in_channels / op.groups, outputs = op.out_channels / op.groups;
  const Shape weights{op.out_channels, w.kernel_h, w.kernel_w, inputs};
  std::vector<float> y(static_cast<std::size_t>(to.elements()));
  for_each_index(to, [&](const Index& at) {
    double sum = op.bias[static_cast<std::size_t>(at[3])];
    for_taps(w, at[1], at[2], [&](std::int64_t r, std::int64_t c, int i, int j) {
      if (r < 0 || r >= from[1] || c < 0 || c >= from[2]) return;
      for (std::int64_t k = 0; k < inputs; ++k) {
        sum += static_cast<double>(x[flat(from, {at[0], r, c, at[3] / outputs * inputs + k})]) *
               static_cast<double>(op.weights[flat(weights, {at[3], i, j, k})]);
      }
    });
    y[flat(to, at)] = reference_activation(op.activation, static_cast<float>(sum));
  });
  return y;
}

float reference_activation(const Activation& activation, float x) {
  using Kind = Activation::Kind;
  const auto hard = [x](float alpha, float beta) { return std::max(0.0f, std::min(1.0f, alpha * x + beta)); };
  switch (activation.kind) {
    case Kind::none:
      return x;
    case Kind::relu:
      return std::max(0.0f, x);
    case Kind::clip:
      return std::min(std::max(x, activation.alpha), activation.beta);
    case Kind::leaky_relu:
      return x < 0 ? activation.alpha * x : x;
    case Kind::hard_sigmoid:
      return hard(activation.alpha, activation.beta);
    case Kind::hard_swish:
      return x * hard(1.0f / 6.0f, 0.5f);
  }
  return x;
}

}  // namespace splitcnn::inline v0::cpu
