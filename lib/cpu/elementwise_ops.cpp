#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops.hpp"
#include "cpu/parallel.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

constexpr std::int64_t grain =
    1 << 14;  // elements per thread below which a parallel region costs more than it saves

void unary(const Node& node, const float* x, float* y, std::int64_t n) noexcept {
  switch (node.op) {
    case Op::relu:
      return relu(x, y, n);
    case Op::clip:
      return clip(x, y, n, node.alpha, node.beta);
    case Op::leaky_relu:
      return leaky_relu(x, y, n, node.alpha);
    case Op::hard_sigmoid:
      return hard_sigmoid(x, y, n, node.alpha, node.beta);
    case Op::hard_swish:
      return hard_swish(x, y, n);
    case Op::sigmoid:
      return sigmoid(x, y, n);
    case Op::tanh:
      return hyperbolic_tangent(x, y, n);
    case Op::exp:
      return exponential(x, y, n);
    case Op::sqrt:
      return square_root(x, y, n);
    default:
      std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(float));
  }
}

/// One row of a binary operation; a step of 0 means one value for the whole row.
void binary_row(Op op, const float* a, std::int64_t step_a, const float* b, std::int64_t step_b, float* y,
                std::int64_t n) noexcept {
  if (step_a == 1 && step_b == 1) {
    switch (op) {
      case Op::add:
        return add(a, b, y, n);
      case Op::sub:
        return sub(a, b, y, n);
      case Op::mul:
        return mul(a, b, y, n);
      case Op::div:
        return div(a, b, y, n);
      default:
        return prelu(a, b, y, n);
    }
  }
  if (step_a == 1 && step_b == 0) {
    switch (op) {
      case Op::add:
        return scale_shift(a, y, n, 1.0f, *b);
      case Op::sub:
        return scale_shift(a, y, n, 1.0f, -*b);
      case Op::mul:
        return scale_shift(a, y, n, *b, 0.0f);
      case Op::div:
        return divide_by(a, y, n, *b);
      default:
        return leaky_relu(a, y, n, *b);
    }
  }
  if (step_a == 0 && step_b == 1 && op != Op::prelu) {
    switch (op) {
      case Op::add:
        return scale_shift(b, y, n, 1.0f, *a);
      case Op::sub:
        return scale_shift(b, y, n, -1.0f, *a);
      case Op::mul:
        return scale_shift(b, y, n, *a, 0.0f);
      default:
        return divide_into(b, y, n, *a);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) binary_row(op, a + i * step_a, 1, b + i * step_b, 1, y + i, 1);
}

/// A broadcast, as loops over the output in storage order.
class Broadcast {
 public:
  Broadcast(const Shape& a, const Shape& b, const Shape& y) {
    const Strides to = storage_strides(y), sa = broadcast_strides(a, y), sb = broadcast_strides(b, y);
    std::vector<std::size_t> order;
    for (std::size_t d = 0; d < y.rank(); ++d) {
      if (y[d] != 1) order.push_back(d);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t l, std::size_t r) { return to[l] > to[r]; });
    for (const std::size_t d : order) {
      if (rank_ > 0 && a_[rank_ - 1] == sa[d] * y[d] && b_[rank_ - 1] == sb[d] * y[d]) {
        --rank_;
        n_[rank_] *= y[d];
      } else {
        n_[rank_] = y[d];
      }
      a_[rank_] = sa[d];
      b_[rank_] = sb[d];
      ++rank_;
    }
    if (rank_ == 0) {
      n_[0] = rank_ = 1;
    }
    rows_ = 1;
    for (std::size_t d = 0; d + 1 < rank_; ++d) rows_ *= n_[d];
  }

  std::int64_t rows() const noexcept { return rows_; }
  std::int64_t row_size() const noexcept { return n_[rank_ - 1]; }

  /// f(a offset, a step, b offset, b step, row number) for each row of [first, last).
  template <class F>
  void for_rows(std::int64_t first, std::int64_t last, const F& f) const noexcept {
    for (std::int64_t row = first; row < last; ++row) {
      std::int64_t rest = row, at_a = 0, at_b = 0;
      for (std::size_t d = rank_ - 1; d-- > 0;) {
        const std::int64_t i = rest % n_[d];
        rest /= n_[d];
        at_a += i * a_[d];
        at_b += i * b_[d];
      }
      f(at_a, a_[rank_ - 1], at_b, b_[rank_ - 1], row);
    }
  }

 private:
  static Strides broadcast_strides(const Shape& x, const Shape& y) {
    const Strides own = storage_strides(x);
    const std::size_t offset = y.rank() - x.rank();
    Strides strides{};
    for (std::size_t d = 0; d < x.rank(); ++d) strides[d + offset] = x[d] == 1 ? 0 : own[d];
    return strides;
  }

  Strides n_{}, a_{}, b_{};
  std::size_t rank_ = 0;
  std::int64_t rows_ = 1;
};

}  // namespace

void activate(const Activation& activation, const float* x, float* y, std::int64_t n) noexcept {
  using Kind = Activation::Kind;
  switch (activation.kind) {
    case Kind::none:
      return;
    case Kind::relu:
      return relu(x, y, n);
    case Kind::clip:
      return clip(x, y, n, activation.alpha, activation.beta);
    case Kind::leaky_relu:
      return leaky_relu(x, y, n, activation.alpha);
    case Kind::hard_sigmoid:
      return hard_sigmoid(x, y, n, activation.alpha, activation.beta);
    case Kind::hard_swish:
      return hard_swish(x, y, n);
  }
}

Step make_unary(const OpContext& context) {
  const float* x = context.in[0].data;
  float* y = context.out[0].data;
  const std::int64_t n = context.out[0].shape.elements();
  return [x, y, n, node = context.node, threads = context.threads] {
    split_work(threads, n, grain, [&](std::int64_t begin, std::int64_t end) {
      unary(*node, x + begin, y + begin, end - begin);
    });
  };
}

Step make_binary(const OpContext& context) {
  const Broadcast loops{context.in[0].shape, context.in[1].shape, context.out[0].shape};
  const float *a = context.in[0].data, *b = context.in[1].data;
  float* y = context.out[0].data;
  const Op op = context.node->op;
  const Activation activation = context.op->activation;
  if (loops.rows() == 1) {  // no broadcasting, or a single value: one long row, divided among threads
    return [=, threads = context.threads] {
      loops.for_rows(
          0, 1, [&](std::int64_t, std::int64_t step_a, std::int64_t, std::int64_t step_b, std::int64_t) {
            split_work(threads, loops.row_size(), grain, [&](std::int64_t begin, std::int64_t end) {
              // Pieces stay in the cache between the operation and its activation.
              for (std::int64_t i = begin; i < end; i += 2048) {
                const std::int64_t n = std::min<std::int64_t>(2048, end - i);
                binary_row(op, a + i * step_a, step_a, b + i * step_b, step_b, y + i, n);
                activate(activation, y + i, y + i, n);
              }
            });
          });
    };
  }
  return [=, threads = context.threads] {
    split_work(threads, loops.rows(), std::max<std::int64_t>(1, grain / loops.row_size()),
               [&](std::int64_t begin, std::int64_t end) {
                 loops.for_rows(begin, end,
                                [&](std::int64_t at_a, std::int64_t step_a, std::int64_t at_b,
                                    std::int64_t step_b, std::int64_t row) {
                                  float* to = y + row * loops.row_size();
                                  binary_row(op, a + at_a, step_a, b + at_b, step_b, to, loops.row_size());
                                  activate(activation, to, to, loops.row_size());
                                });
               });
  };
}

Step make_affine(const OpContext& context) {
  const Shape& shape = context.out[0].shape;
  const std::int64_t channels = shape[1], pixels = channels == 0 ? 0 : shape.elements() / channels;
  const float* x = context.in[0].data;
  float* y = context.out[0].data;
  return [=, s = std::move(context.op->weights), t = std::move(context.op->bias),
          activation = context.op->activation, threads = context.threads] {
    split_work(threads, pixels, std::max<std::int64_t>(1, grain / channels),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t p = begin; p < end; ++p) {
                   affine(x + p * channels, s.data(), t.data(), y + p * channels, channels);
                   activate(activation, y + p * channels, y + p * channels, channels);
                 }
               });
  };
}

Step make_batch_norm(const OpContext& context) {
  const Shape& shape = context.out[0].shape;
  const std::int64_t batch = shape[0], channels = shape[1];
  const std::int64_t inner = batch * channels == 0 ? 0 : shape.elements() / (batch * channels);
  const bool last = shape.rank() == 4;  // channels last: one value per channel, else one per run of `inner`
  return [=, in = context.in, y = context.out[0].data, epsilon = context.node->alpha] {
    for (std::int64_t n = 0; n < batch; ++n) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const float scale = in[1].data[c] / std::sqrt(in[4].data[c] + epsilon);
        const float shift = in[2].data[c] - in[3].data[c] * scale;
        const std::int64_t at = last ? n * inner * channels + c : (n * channels + c) * inner,
                           step = last ? channels : 1;
        for (std::int64_t i = 0; i < inner; ++i) y[at + i * step] = in[0].data[at + i * step] * scale + shift;
      }
    }
  };
}

}  // namespace splitcnn::inline v0::cpu
