#include <algorithm>
#include <cmath>

#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

/// A logical axis of a stored tensor as [outer, length, inner].
struct AxisView {
  std::int64_t outer = 1, length = 1, inner = 1;

  AxisView(const Shape& logical, std::size_t axis) {
    const Shape stored = storage_shape(logical);
    const std::size_t at = storage_axis(logical, axis);
    for (std::size_t d = 0; d < stored.rank(); ++d) (d < at ? outer : d == at ? length : inner) *= stored[d];
  }
};

/// One softmax over a contiguous row.
void softmax_row(float* row, std::int64_t n, bool log) noexcept {
  const float top = largest(row, n);
  scale_shift(row, row, n, 1.0f, -top);
  double sum = 0;
  if (log) {
    for (std::int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(row[i]));
    scale_shift(row, row, n, 1.0f, -static_cast<float>(std::log(sum)));
    return;
  }
  exponential(row, row, n);
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]);
  scale_shift(row, row, n, static_cast<float>(1.0 / sum), 0.0f);
}

}  // namespace

Step make_softmax(const OpContext& context) {
  const AxisView view{context.in[0].shape, static_cast<std::size_t>(context.node->axes[0])};
  const float* x = context.in[0].data;
  float* y = context.out[0].data;
  const bool log = context.node->op == Op::log_softmax;
  return [=, row = std::vector<float>(static_cast<std::size_t>(view.length))]() mutable {
    for (std::int64_t o = 0; o < view.outer; ++o) {
      for (std::int64_t i = 0; i < view.inner; ++i) {
        const std::int64_t at = o * view.length * view.inner + i;
        for (std::int64_t k = 0; k < view.length; ++k)
          row[static_cast<std::size_t>(k)] = x[at + k * view.inner];
        softmax_row(row.data(), view.length, log);
        for (std::int64_t k = 0; k < view.length; ++k)
          y[at + k * view.inner] = row[static_cast<std::size_t>(k)];
      }
    }
  };
}

Step make_lrn(const OpContext& context) {
  const AxisView view{context.in[0].shape, 1};
  const float* x = context.in[0].data;
  float* y = context.out[0].data;
  const Node& node = *context.node;
  const std::int64_t before = (node.size - 1) / 2, after = node.size - 1 - before;
  const float factor = node.alpha / static_cast<float>(node.size), beta = node.beta, bias = node.bias;
  const auto row_size = static_cast<std::size_t>(view.length);
  // Channels of one pixel at a time: values, then denominators. The squares are padded with zeros on both
  // sides.
  return [=, values = std::vector<float>(row_size), denominators = std::vector<float>(row_size),
          squares = std::vector<float>(row_size + static_cast<std::size_t>(node.size))]() mutable {
    for (std::int64_t o = 0; o < view.outer; ++o) {
      for (std::int64_t i = 0; i < view.inner; ++i) {
        const std::int64_t at = o * view.length * view.inner + i;
        for (std::int64_t c = 0; c < view.length; ++c)
          values[static_cast<std::size_t>(c)] = x[at + c * view.inner];
        mul(values.data(), values.data(), squares.data() + before, view.length);
        fill(denominators.data(), view.length, bias);
        for (std::int64_t k = 0; k <= before + after; ++k)
          multiply_add(squares.data() + k, denominators.data(), view.length, factor);
        if (beta == 0.75f) {
          lrn_three_quarters(values.data(), denominators.data(), values.data(), view.length);
        } else {
          for (std::size_t c = 0; c < row_size; ++c) values[c] /= std::pow(denominators[c], beta);
        }
        for (std::int64_t c = 0; c < view.length; ++c)
          y[at + c * view.inner] = values[static_cast<std::size_t>(c)];
      }
    }
  };
}

}  // namespace splitcnn::inline v0::cpu
