#pragma once
/// Random graphs with everything fusion has to be careful about.
#include "cpu/cases.hpp"

namespace splitcnn_test {

inline TensorId random_conv(Maker& m, TensorId x) {
  Random& r = m.random;
  const std::int64_t in = m.shape(x)[1], kernel = r.pick({1, 3});
  const bool depthwise = r.chance(25);
  const std::int64_t out = depthwise ? in : r.draw(1, 12), pad = kernel / 2;
  Node conv{.op = Op::conv, .groups = depthwise ? static_cast<int>(in) : 1};
  conv.window = {.kernel_h = static_cast<int>(kernel),
                 .kernel_w = static_cast<int>(kernel),
                 .pad_top = static_cast<int>(pad),
                 .pad_left = static_cast<int>(pad),
                 .pad_bottom = static_cast<int>(pad),
                 .pad_right = static_cast<int>(pad)};
  conv.inputs = {x, m.constant({out, depthwise ? 1 : in, kernel, kernel}, -0.5f, 0.5f)};
  if (r.chance(50)) conv.inputs.push_back(m.constant({out}));
  return m.add(std::move(conv));
}

/// A graph of `count` nodes that reads tensors anywhere before, with several outputs: everything fusion has
/// to be careful about.
inline Graph random_graph(Random& random, int count) {
  Maker m{random};
  std::vector<TensorId> images{m.input({1, 3, 6, 5})};
  const auto any = [&] {
    return images[static_cast<std::size_t>(random.chance(60)
                                               ? static_cast<int>(images.size()) - 1
                                               : random.draw(0, static_cast<int>(images.size()) - 1))];
  };
  for (int i = 0; i < count; ++i) {
    const TensorId x = any();
    const std::int64_t c = m.shape(x)[1];
    const Shape per_channel =
        random.pick<Shape>({Shape{c, 1, 1}, Shape{1, c, 1, 1}, Shape{1}, Shape{}, Shape{5}, Shape{6, 1}});
    const Op arithmetic = random.pick({Op::add, Op::sub, Op::mul});
    TensorId y = x;
    switch (random.draw(0, 9)) {
      case 0:
      case 1:
        y = random_conv(m, x);
        break;
      case 2:
        y = m.add(batch_norm(m, x));
        break;
      case 3:
        y = m.add(activation(random, x));
        break;
      case 4:
        y = m.add({.op = Op::identity, .inputs = {x}});
        break;
      case 5:
        y = random.chance(50) ? m.add({.op = arithmetic, .inputs = {x, m.constant(per_channel)}})
                              : m.add({.op = arithmetic, .inputs = {m.constant(per_channel), x}});
        break;
      case 6: {
        TensorId other = any();
        if (m.shape(other) != m.shape(x)) other = x;
        y = m.add({.op = arithmetic, .inputs = {x, other}});
        break;
      }
      case 7:
        y = m.add({.op = Op::concat, .inputs = {x, any()}, .axes = {1}});
        break;
      case 8:
        y = m.add({.op = Op::max_pool,
                   .inputs = {x},
                   .window = {.kernel_h = 3,
                              .kernel_w = 3,
                              .pad_top = 1,
                              .pad_left = 1,
                              .pad_bottom = 1,
                              .pad_right = 1}});
        break;
      default: {
        if (!random.chance(30)) break;
        const TensorId flat = m.add({.op = Op::reshape, .inputs = {x}}, Shape{1, c * 30});
        y = m.add({.op = Op::gemm,
                   .inputs = {flat, m.constant({4, c * 30}, -0.1f, 0.1f)},
                   .transpose_b = true,
                   .alpha = 1,
                   .beta = 1});
        if (random.chance(50)) y = m.add(batch_norm(m, y));
        m.builder.output(m.add(activation(random, y)));
        y = x;
      }
    }
    if (m.shape(y)[1] < 40 && y != x) images.push_back(y);
    if (random.chance(8) && y != x) m.builder.output(y);
  }
  return m.finish(m.add({.op = Op::relu, .inputs = {images.back()}}));
}

}  // namespace splitcnn_test
