#pragma once
/// Random graphs of a few nodes that become one kernel each, in shapes that kernels find awkward.
#include <algorithm>
#include <functional>

#include "cpu/cases.hpp"

namespace splitcnn_test {

inline TensorId maybe_activated(Maker& m, TensorId x) {
  return m.random.chance(60) ? m.add(activation(m.random, x)) : x;
}

inline TensorId relu6(Maker& m, TensorId x) {
  return m.add({.op = Op::clip, .inputs = {x}, .alpha = 0, .beta = 0.75f});
}

inline std::int64_t channels(Random& r) { return r.chance(50) ? 8 * r.draw(1, 6) : r.draw(1, 40); }

inline Window any_window(Random& r, int most) {
  return {r.draw(1, most), r.draw(1, most), r.draw(1, 3), r.draw(1, 3), r.draw(1, 2),
          r.draw(1, 2),    r.draw(0, 2),    r.draw(0, 2), r.draw(0, 2), r.draw(0, 2)};
}

inline Window square_window(int kernel, int stride, int pad) {
  return {kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad};
}

inline TensorId image(Maker& m, std::int64_t c, int least = 7) {
  return m.input({1, c, m.random.draw(least, least + 7), m.random.draw(least, least + 7)});
}

inline TensorId conv_case(Maker& m) {
  Random& r = m.random;
  const int groups = r.pick({1, 1, 1, 2, 3});
  const std::int64_t in = groups * (r.chance(50) ? 8 : r.draw(1, 12)),
                     out = groups * (r.chance(50) ? 8 : r.draw(1, 12));
  const TensorId x = image(m, in);
  Node conv{.op = Op::conv, .window = any_window(r, 3), .groups = groups};
  conv.inputs = {x, m.constant({out, in / groups, conv.window.kernel_h, conv.window.kernel_w})};
  if (r.chance(70)) conv.inputs.push_back(m.constant({out}));
  TensorId y = m.add(std::move(conv));
  if (r.chance(40)) y = m.add({.op = Op::add, .inputs = {y, m.input(m.shape(y))}});
  return r.chance(60) ? m.add({.op = Op::relu, .inputs = {y}}) : y;
}

inline TensorId depthwise_case(Maker& m) {
  Random& r = m.random;
  const std::int64_t c = std::max<std::int64_t>(2, channels(r));
  const int kernel = r.pick({3, 3, 5, 5, 2}), stride = r.draw(1, 2);
  const TensorId x = r.chance(50) ? relu6(m, image(m, c)) : image(m, c);
  Node conv{.op = Op::conv,
            .window = square_window(kernel, stride, r.draw(0, kernel / 2)),
            .groups = static_cast<int>(c)};
  if (r.chance(20)) conv.window = any_window(r, 4);
  conv.inputs = {x, m.constant({c, 1, conv.window.kernel_h, conv.window.kernel_w}), m.constant({c})};
  return maybe_activated(m, m.add(std::move(conv)));
}

inline TensorId pool_case(Maker& m) {
  Random& r = m.random;
  const TensorId x = r.chance(30) ? relu6(m, image(m, channels(r))) : image(m, channels(r));
  if (r.chance(25)) return maybe_activated(m, m.add({.op = Op::global_average_pool, .inputs = {x}}));
  const Window window = r.chance(50) ? square_window(3, 2, r.draw(0, 1)) : any_window(r, 4);
  return m.add({.op = r.pick({Op::max_pool, Op::average_pool}),
                .inputs = {x},
                .window = window,
                .count_include_pad = r.chance(50),
                .ceil_mode = r.chance(50)});
}

inline TensorId dense_case(Maker& m) {
  Random& r = m.random;
  const std::int64_t k = r.chance(40) ? 8 * r.draw(1, 20) : r.draw(1, 130), n = r.draw(1, 70);
  TensorId x = 0;
  if (r.chance(40)) {  // mean and dense layer
    const TensorId from = r.chance(50) ? relu6(m, image(m, k, 1)) : image(m, k, 1);
    x = m.add({.op = Op::reshape, .inputs = {m.add({.op = Op::global_average_pool, .inputs = {from}})}},
              Shape{1, k});
  } else {
    x = m.input({r.pick({1, 1, 1, 2, 5}), k});
  }
  const TensorId y = m.add({.op = Op::gemm,
                            .inputs = {x, m.constant({n, k}), m.constant({n})},
                            .transpose_b = true,
                            .alpha = 1,
                            .beta = 1});
  return r.chance(60) ? m.add({.op = Op::relu, .inputs = {y}}) : y;
}

inline TensorId unary_case(Maker& m) {
  Random& r = m.random;
  const TensorId x = r.chance(50) ? image(m, channels(r), 1) : m.input(r.shape(r.draw(1, 6)));
  const Op op = r.pick(
      {Op::relu, Op::clip, Op::leaky_relu, Op::hard_sigmoid, Op::hard_swish, Op::sigmoid, Op::tanh, Op::exp});
  return m.add({.op = op, .inputs = {x}, .alpha = op == Op::clip ? -0.4f : 0.3f, .beta = 0.45f});
}

inline TensorId binary_case(Maker& m) {
  Random& r = m.random;
  const bool is_image = r.chance(60);
  const Shape full = is_image ? Shape{1, channels(r), r.draw(1, 6), r.draw(1, 6)} : r.shape(r.draw(1, 5));
  Shape sides[2] = {full, full};
  Shape& broadcast = sides[r.draw(0, 1)];
  for (std::size_t d = 0; d < full.rank(); ++d) {
    if (r.chance(35)) broadcast[d] = 1;
  }
  if (is_image && r.chance(30)) broadcast = Shape{1, full[1], 1, 1};
  TensorId a = m.input(sides[0]);
  if (r.chance(30)) a = relu6(m, a);
  if (r.chance(15)) return m.add({.op = Op::prelu, .inputs = {a, m.constant(sides[0])}});
  const Op op = r.pick({Op::add, Op::sub, Op::mul, Op::div});
  const TensorId b = op == Op::div || r.chance(30) ? m.constant(sides[1], 0.5f, 2) : m.input(sides[1]);
  return maybe_activated(m, m.add({.op = op, .inputs = {a, b}}));
}

inline TensorId move_case(Maker& m) {
  Random& r = m.random;
  Shape shape = r.chance(60) ? Shape{1, 8 * r.draw(1, 4), r.draw(1, 5), r.draw(1, 5)} : r.shape(r.draw(1, 6));
  const auto rank = static_cast<int>(shape.rank());
  switch (r.draw(0, 3)) {
    case 0: {
      const int axis = shape.rank() == 4 && r.chance(70) ? 1 : r.draw(0, rank - 1);
      Node concat{.op = Op::concat, .axes = {axis}};
      for (int i = r.draw(2, 4); i > 0; --i) {
        shape[static_cast<std::size_t>(axis)] = r.chance(50) ? 8 * r.draw(1, 3) : r.draw(1, 9);
        concat.inputs.push_back(m.input(shape));
      }
      return m.add(std::move(concat));
    }
    case 1: {
      Node slice{.op = Op::slice, .inputs = {m.input(shape)}};
      for (std::size_t d = 0; d < shape.rank(); ++d) {
        const int size = static_cast<int>(shape[d]), begin = r.chance(50) ? 0 : r.draw(0, size - 1),
                  step = r.pick({1, 1, 2, -1});
        slice.begins.push_back(begin);
        slice.ends.push_back(step > 0 ? begin + r.draw(1, size - begin) : begin - r.draw(1, begin + 1));
        slice.steps.push_back(step);
      }
      return m.add(std::move(slice));
    }
    case 2: {
      Node pad{.op = Op::pad, .inputs = {m.input(shape)}, .alpha = r.pick({0.0f, -3.5f})};
      for (int d = 0; d < rank; ++d) {
        pad.begins.push_back(r.draw(0, 2));
        pad.ends.push_back(r.draw(0, 2));
      }
      return m.add(std::move(pad));
    }
    default: {
      Node transpose{.op = Op::transpose, .inputs = {m.input(shape)}};
      for (int d = 0; d < rank; ++d) transpose.axes.push_back(d);
      std::shuffle(transpose.axes.begin(), transpose.axes.end(), r.engine());
      return m.add(std::move(transpose));
    }
  }
}

inline TensorId reshape_case(Maker& m) {
  Random& r = m.random;
  const Shape in = r.shape(r.chance(60) ? 4 : r.draw(1, 6));
  std::vector<std::int64_t> out{1};  // the elements of `in`, divided into other dimensions
  for (std::int64_t rest = in.elements(), f = 2; rest > 1;) {
    if (rest % f != 0) {
      ++f;
      continue;
    }
    rest /= f;
    if (out.size() < 6 && r.chance(50)) out.push_back(1);
    out.back() *= f;
  }
  std::shuffle(out.begin(), out.end(), r.engine());
  return m.add({.op = Op::reshape, .inputs = {m.input(in)}}, Shape{std::span<const std::int64_t>{out}});
}

inline TensorId mean_case(Maker& m) {
  Random& r = m.random;
  const Shape in = r.shape(r.draw(2, 6));
  Node mean{.op = Op::reduce_mean, .inputs = {m.input(in)}};
  std::vector<std::int64_t> out;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    const bool reduced = r.chance(50) || (mean.axes.empty() && d + 1 == in.rank());
    if (reduced) mean.axes.push_back(static_cast<std::int64_t>(d));
    out.push_back(reduced ? 1 : in[d]);
  }
  return maybe_activated(m, m.add(std::move(mean), Shape{std::span<const std::int64_t>{out}}));
}

inline TensorId axis_case(Maker& m) {
  Random& r = m.random;
  if (r.chance(33)) {
    return m.add({.op = Op::lrn,
                  .inputs = {image(m, channels(r), 1)},
                  .alpha = r.pick({1e-4f, 0.5f}),
                  .beta = r.pick({0.75f, 0.5f}),
                  .bias = r.pick({1.0f, 2.0f}),
                  .size = r.draw(1, 7)});
  }
  const bool longer = r.chance(40);
  const Shape shape = longer ? Shape{r.draw(1, 3), r.draw(33, 300)} : r.shape(r.draw(1, 5), 9);
  const TensorId x = m.input(shape);
  return m.add({.op = r.pick({Op::softmax, Op::log_softmax}),
                .inputs = {x},
                .axes = {longer ? 1 : r.draw(0, static_cast<int>(shape.rank()) - 1)}});
}

inline TensorId resize_case(Maker& m) {
  Random& r = m.random;
  const bool usual = r.chance(70);
  const Shape in = usual ? Shape{1, channels(r), r.draw(1, 6), r.draw(1, 6)} : r.shape(r.draw(1, 5), 6);
  Node resize{.op = Op::resize, .inputs = {m.input(in)}, .nearest_floor = r.chance(50)};
  resize.resize_mode = r.pick({ResizeMode::nearest, ResizeMode::linear});
  resize.coordinates = r.pick({Coordinates::half_pixel, Coordinates::pytorch_half_pixel,
                               Coordinates::asymmetric, Coordinates::align_corners});
  Shape out = in;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    resize.scales.push_back(usual && d < 2 ? 1.0f : r.pick({1.0f, 2.0f, 3.0f, 1.5f, 2.4f, 0.7f}));
    out[d] = static_cast<std::int64_t>(std::floor(static_cast<float>(in[d]) * resize.scales[d]));
    if (out[d] != 0) continue;
    out[d] = in[d];
    resize.scales[d] = 1;
  }
  return m.add(std::move(resize), out);
}

inline TensorId product_case(Maker& m) {
  Random& r = m.random;
  const int rows = r.draw(1, 9), k = r.draw(1, 40), n = r.draw(1, 20);
  if (r.chance(50)) {
    const std::int64_t batch = r.draw(1, 4);
    const Shape a = r.chance(50) ? Shape{batch, rows, k} : Shape{rows, k};
    return m.add({.op = Op::matmul, .inputs = {m.input(a), m.input({batch, k, n})}});
  }
  Node gemm{.op = Op::gemm,
            .transpose_a = r.chance(30),
            .transpose_b = r.chance(50),
            .alpha = r.pick({1.0f, 0.7f}),
            .beta = r.pick({1.0f, -0.3f})};
  const Shape a = gemm.transpose_a ? Shape{k, rows} : Shape{rows, k},
              b = gemm.transpose_b ? Shape{n, k} : Shape{k, n};
  gemm.inputs = {m.input(a), m.input(b)};
  if (r.chance(60)) gemm.inputs.push_back(m.input(r.pick<Shape>({Shape{n}, Shape{rows, 1}, Shape{rows, n}})));
  return m.add(std::move(gemm));
}

struct KernelCase {
  const char* name;
  int share;  ///< of the shapes drawn
  std::function<TensorId(Maker&)> make;
};

inline const std::vector<KernelCase>& kernel_cases() {
  static const std::vector<KernelCase> all{
      {"conv", 3, conv_case},   {"depthwise", 4, depthwise_case}, {"pool", 3, pool_case},
      {"dense", 4, dense_case}, {"unary", 2, unary_case},         {"binary", 4, binary_case},
      {"move", 5, move_case},   {"reshape", 2, reshape_case},     {"mean", 2, mean_case},
      {"axis", 3, axis_case},   {"resize", 3, resize_case},       {"product", 2, product_case}};
  return all;
}

}  // namespace splitcnn_test
