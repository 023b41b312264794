// Every operator of the fast path against the obvious loops, on random shapes and attributes.
#include "cpu/cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

constexpr double rounding = 2e-5;  // sums in another order
constexpr double exact = 0;        // moves, comparisons

template <class F>
void sweep(int cases, double tolerance, const F& make) {
  Random random{seed()};
  for (int i = 0; i < cases; ++i) {
    INFO("case " << i);
    Maker maker{random};
    const TensorId out = make(maker);
    const Graph graph = maker.finish(out);
    check_against_reference(graph, random, tolerance, {.threads = random.chance(20) ? 2 : 1});
  }
}

TensorId maybe_activated(Maker& m, TensorId x) {
  return m.random.chance(50) ? m.add(activation(m.random, x)) : x;
}

Window random_window(Random& r, int size) {
  Window w;
  w.kernel_h = r.draw(1, 4);
  w.kernel_w = r.draw(1, 4);
  w.stride_h = r.draw(1, 3);
  w.stride_w = r.draw(1, 3);
  w.dilation_h = r.draw(1, 2);
  w.dilation_w = r.draw(1, 2);
  w.pad_top = r.draw(0, size);
  w.pad_left = r.draw(0, size);
  w.pad_bottom = r.draw(0, size);
  w.pad_right = r.draw(0, size);
  return w;
}

TensorId make_conv(Maker& m) {
  Random& r = m.random;
  const int groups = r.pick({1, 1, 2, 3, 8, 16}), per_group = groups > 4 && r.chance(70) ? 1 : r.draw(1, 9);
  const int multiplier = r.draw(1, groups > 4 ? 2 : 9), in = groups * per_group, out = groups * multiplier;
  const TensorId x = m.input({r.draw(1, 2), in, r.draw(7, 15), r.draw(7, 15)});
  Node conv{.op = Op::conv, .window = random_window(r, 3), .groups = groups};
  conv.inputs = {x, m.constant({out, per_group, conv.window.kernel_h, conv.window.kernel_w})};
  if (r.chance(60)) conv.inputs.push_back(m.constant({out}));
  return m.add(std::move(conv));
}

}  // namespace

TEST_CASE("convolutions") {
  sweep(150, rounding, [](Maker& m) {
    TensorId y = make_conv(m);
    if (m.random.chance(40)) y = m.add(batch_norm(m, y));
    return maybe_activated(m, y);
  });
}

TEST_CASE("large convolutions keep their accuracy") {
  sweep(4, rounding, [](Maker& m) {
    const TensorId x = m.input({1, 256, 14, 14});
    Node conv{.op = Op::conv,
              .inputs = {x, m.constant({64, 256, 3, 3})},
              .window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1}};
    return m.add(conv);
  });
}

TEST_CASE("pools") {
  for (const Op op : {Op::max_pool, Op::average_pool}) {
    sweep(120, op == Op::max_pool ? exact : rounding, [op](Maker& m) {
      Random& r = m.random;
      const TensorId x = m.input({r.draw(1, 2), r.draw(1, 40), r.draw(7, 15), r.draw(7, 15)});
      Node pool{.op = op,
                .inputs = {x},
                .window = random_window(r, 4),
                .count_include_pad = r.chance(50),
                .ceil_mode = r.chance(50)};
      return m.add(std::move(pool));
    });
  }
  sweep(40, rounding, [](Maker& m) {
    const TensorId x = m.input(m.random.shape(4, 9));
    return maybe_activated(m, m.add({.op = Op::global_average_pool, .inputs = {x}}));
  });
}

TEST_CASE("element by element") {
  for (const Op op : {Op::relu, Op::clip, Op::leaky_relu, Op::hard_sigmoid, Op::hard_swish, Op::sigmoid,
                      Op::tanh, Op::exp, Op::identity}) {
    sweep(12, 1e-6, [op](Maker& m) {
      const TensorId x = m.input(m.random.shape(m.random.draw(0, 8), 5));
      const bool clip = op == Op::clip;
      return m.add({.op = op, .inputs = {x}, .alpha = clip ? -0.4f : 0.3f, .beta = 0.45f});
    });
  }
  sweep(5, 1e-6, [](Maker& m) {
    const TensorId x = m.input(m.random.shape(3));
    return m.add({.op = Op::sqrt, .inputs = {m.add({.op = Op::exp, .inputs = {x}})}});
  });
}

TEST_CASE("exp, sigmoid and tanh over their whole range") {
  GraphBuilder b{"range"};
  const TensorId x = b.input("x", {4001});
  const TensorId y[] = {b.add({.op = Op::exp, .inputs = {x}}), b.add({.op = Op::sigmoid, .inputs = {x}}),
                        b.add({.op = Op::tanh, .inputs = {x}})};
  for (const TensorId t : y) b.output(t);
  const Graph graph = std::move(b).build();
  CpuExecutor run{graph, 0, 3, {}};
  for (int i = 0; i <= 4000; ++i)
    run.input(0)[static_cast<std::size_t>(i)] = static_cast<float>(i - 2000) * 0.06f;
  run.input(0)[0] = -INFINITY;
  run.input(0)[4000] = INFINITY;
  run.run();
  for (std::size_t i = 0; i <= 4000; ++i) {
    const double v = run.input(0)[i];
    const auto near = [&](float got, double want) {
      INFO("x = " << v);
      if (std::isinf(want) || want > 3.4028235e38) {
        REQUIRE(std::isinf(got));
      } else {
        REQUIRE(std::fabs(got - want) <= 5e-7 * std::fabs(want) + 2e-38);
      }
    };
    near(run.output(0)[i], std::exp(v));
    near(run.output(1)[i], 1 / (1 + std::exp(-v)));
    near(run.output(2)[i], std::tanh(v));
  }
}

TEST_CASE("arithmetic with broadcasting") {
  for (const Op op : {Op::add, Op::sub, Op::mul, Op::div}) {
    sweep(60, 1e-5, [op](Maker& m) {
      Random& r = m.random;
      const Shape full = r.shape(r.draw(0, 6));
      Shape sides[2] = {full, full};
      for (Shape& side : sides) {
        for (std::size_t d = 0; d < side.rank(); ++d) {
          if (r.chance(25)) side[d] = 1;
        }
      }
      const int dropped = r.chance(40) ? r.draw(0, static_cast<int>(full.rank())) : 0;
      Shape& shorter = sides[r.draw(0, 1)];
      shorter =
          Shape{std::span{shorter.begin() + dropped, shorter.rank() - static_cast<std::size_t>(dropped)}};
      const int constant = r.draw(0, 3);
      const float low = op == Op::div ? 0.5f : -1.0f;
      TensorId a = constant == 0 ? m.constant(sides[0]) : m.input(sides[0]);
      TensorId b = constant == 1 ? m.constant(sides[1], low) : m.input(sides[1]);
      if (op == Op::div && constant != 1) b = m.add({.op = Op::exp, .inputs = {b}});
      return maybe_activated(m, m.add({.op = op, .inputs = {a, b}}));
    });
  }
  sweep(30, 1e-6, [](Maker& m) {
    const Shape full = m.random.shape(m.random.draw(1, 5));
    Shape slope = full;
    for (std::size_t d = 0; d < slope.rank(); ++d) {
      if (m.random.chance(60)) slope[d] = 1;
    }
    return m.add({.op = Op::prelu, .inputs = {m.input(full), m.constant(slope)}});
  });
}

TEST_CASE("batch norm of any rank") {
  sweep(40, rounding, [](Maker& m) {
    const TensorId x = m.input(m.random.shape(m.random.draw(2, 6)));
    return maybe_activated(m, m.add(batch_norm(m, x)));
  });
}

TEST_CASE("means over any axes") {
  sweep(60, rounding, [](Maker& m) {
    const Shape in = m.random.shape(m.random.draw(1, 6));
    Node mean{.op = Op::reduce_mean, .inputs = {m.input(in)}};
    const bool keep = m.random.chance(50);
    std::vector<std::int64_t> out;
    for (std::size_t d = 0; d < in.rank(); ++d) {
      const bool reduced = m.random.chance(50);
      if (reduced) mean.axes.push_back(static_cast<std::int64_t>(d));
      if (!reduced || keep) out.push_back(reduced ? 1 : in[d]);
    }
    return m.add(std::move(mean), Shape{std::span<const std::int64_t>{out}});
  });
}

TEST_CASE("concat, split, slice, pad, gather, reshape and transpose move values only") {
  sweep(40, exact, [](Maker& m) {
    const Shape shape = m.random.shape(m.random.draw(1, 6));
    const auto axis = static_cast<std::size_t>(m.random.draw(0, static_cast<int>(shape.rank()) - 1));
    Node concat{.op = Op::concat, .axes = {static_cast<std::int64_t>(axis)}};
    for (int i = m.random.draw(1, 4); i > 0; --i) {
      Shape part = shape;
      part[axis] = m.random.draw(1, 5);
      concat.inputs.push_back(m.random.chance(20) ? m.constant(part) : m.input(part));
    }
    if (m.builder.shape(concat.inputs[0]) == shape) concat.inputs.push_back(concat.inputs[0]);
    concat.inputs.push_back(m.input(shape));
    return m.add(std::move(concat));
  });
  sweep(40, exact, [](Maker& m) {
    const Shape shape = m.random.shape(m.random.draw(1, 6));
    Node slice{.op = Op::slice, .inputs = {m.input(shape)}};
    for (std::size_t d = 0; d < shape.rank(); ++d) {
      const int step = m.random.pick({1, 1, 2, -1, -2, 3});
      const int begin = m.random.draw(0, static_cast<int>(shape[d]) - 1);
      const int room = step > 0 ? static_cast<int>(shape[d]) - begin : begin + 1;
      const int length = m.random.draw(1, room);
      slice.begins.push_back(begin);
      slice.ends.push_back(step > 0 ? begin + length : begin - length);
      slice.steps.push_back(step);
    }
    return m.add(std::move(slice));
  });
  sweep(40, exact, [](Maker& m) {
    const Shape shape = m.random.shape(m.random.draw(1, 6));
    Node pad{.op = Op::pad, .inputs = {m.input(shape)}, .alpha = m.random.pick({0.0f, -3.5f})};
    for (std::size_t d = 0; d < shape.rank(); ++d) {
      pad.begins.push_back(m.random.draw(0, 2));
      pad.ends.push_back(m.random.draw(0, 2));
    }
    return m.add(std::move(pad));
  });
  sweep(40, exact, [](Maker& m) {
    const Shape shape = m.random.shape(m.random.draw(1, 5));
    const int axis = m.random.draw(0, static_cast<int>(shape.rank()) - 1);
    Node gather{.op = Op::gather, .inputs = {m.input(shape)}, .axes = {axis}};
    const int form = m.random.draw(0, 2);  // scalar index, list, table
    const int rows = form == 2 ? m.random.draw(1, 3) : 1, columns = form == 0 ? 1 : m.random.draw(1, 5);
    for (int i = 0; i < rows * columns; ++i)
      gather.begins.push_back(m.random.draw(0, static_cast<int>(shape[static_cast<std::size_t>(axis)]) - 1));
    std::vector<std::int64_t> out(shape.begin(), shape.begin() + axis);
    if (form == 2) out.push_back(rows);
    if (form >= 1) out.push_back(columns);
    out.insert(out.end(), shape.begin() + axis + 1, shape.end());
    return m.add(std::move(gather), Shape{std::span<const std::int64_t>{out}});
  });
  sweep(60, exact, [](Maker& m) {
    const Shape in = m.random.shape(m.random.draw(1, 6));
    std::vector<std::int64_t> out{1};  // the elements of `in`, divided into other dimensions
    for (std::int64_t rest = in.elements(), f = 2; rest > 1;) {
      if (rest % f != 0) {
        ++f;
        continue;
      }
      rest /= f;
      if (out.size() < 6 && m.random.chance(50)) out.push_back(1);
      out.back() *= f;
    }
    std::shuffle(out.begin(), out.end(), m.random.engine());
    return m.add({.op = Op::reshape, .inputs = {m.input(in)}}, Shape{std::span<const std::int64_t>{out}});
  });
  sweep(60, exact, [](Maker& m) {
    const Shape shape = m.random.shape(m.random.draw(1, 6), m.random.chance(20) ? 40 : 6);
    Node transpose{.op = Op::transpose, .inputs = {m.input(shape)}};
    for (std::size_t d = 0; d < shape.rank(); ++d) transpose.axes.push_back(static_cast<std::int64_t>(d));
    std::shuffle(transpose.axes.begin(), transpose.axes.end(), m.random.engine());
    return m.add(std::move(transpose));
  });
}

TEST_CASE("split writes several outputs, also ones that nobody reads") {
  Random random{seed()};
  for (int i = 0; i < 40; ++i) {
    Maker m{random};
    Shape shape = random.shape(random.draw(1, 6));
    const auto axis = static_cast<std::size_t>(random.draw(0, static_cast<int>(shape.rank()) - 1));
    std::vector<Shape> parts;
    shape[axis] = 0;
    for (int p = random.draw(1, 4); p > 0; --p) {
      parts.push_back(shape);
      parts.back()[axis] = random.draw(1, 4);
    }
    for (const Shape& p : parts) shape[axis] += p[axis];
    const TensorId x = m.input(shape);
    const auto outs = m.builder.add_multi(
        {.op = Op::split, .inputs = {x}, .axes = {static_cast<std::int64_t>(axis)}}, {}, parts);
    for (std::size_t p = 1; p < outs.size(); ++p) m.builder.output(outs[p]);
    check_against_reference(m.finish(m.add({.op = Op::relu, .inputs = {outs.back()}})), random, exact);
  }
}

TEST_CASE("resize") {
  sweep(150, rounding, [](Maker& m) {
    Random& r = m.random;
    const Shape in = r.shape(r.chance(70) ? 4 : r.draw(1, 5), 6);
    Node resize{.op = Op::resize, .inputs = {m.input(in)}, .nearest_floor = r.chance(50)};
    resize.resize_mode = r.pick({ResizeMode::nearest, ResizeMode::linear});
    resize.coordinates = r.pick({Coordinates::half_pixel, Coordinates::pytorch_half_pixel,
                                 Coordinates::asymmetric, Coordinates::align_corners});
    Shape out = in;
    for (std::size_t d = 0; d < in.rank(); ++d) {
      const bool same = in.rank() == 4 && d < 2 && r.chance(80);
      resize.scales.push_back(same ? 1.0f : r.pick({1.0f, 2.0f, 3.0f, 1.5f, 2.4f, 0.7f}));
      out[d] = static_cast<std::int64_t>(std::floor(static_cast<float>(in[d]) * resize.scales[d]));
      if (out[d] == 0) {
        out[d] = in[d];
        resize.scales[d] = 1;
      }
    }
    return m.add(std::move(resize), out);
  });
}

TEST_CASE("matrix products") {
  sweep(80, rounding, [](Maker& m) {
    Random& r = m.random;
    const int rows = r.draw(1, 9), k = r.draw(1, 70), n = r.draw(1, 40);
    Node gemm{.op = Op::gemm,
              .transpose_a = r.chance(30),
              .transpose_b = r.chance(50),
              .alpha = r.pick({1.0f, 0.7f}),
              .beta = r.pick({1.0f, -0.3f})};
    const Shape a = gemm.transpose_a ? Shape{k, rows} : Shape{rows, k},
                b = gemm.transpose_b ? Shape{n, k} : Shape{k, n};
    const bool constant_b = r.chance(80);
    gemm.inputs = {!constant_b && r.chance(50) ? m.constant(a) : m.input(a), m.constant(b)};
    if (!constant_b) gemm.inputs[1] = m.input(b);
    const int form = r.draw(0, 5);
    const Shape c = form == 0   ? Shape{n}
                    : form == 1 ? Shape{1, n}
                    : form == 2 ? Shape{}
                    : form == 3 ? Shape{rows, 1}
                                : Shape{rows, n};
    if (form < 5) gemm.inputs.push_back(r.chance(80) ? m.constant(c) : m.input(c));
    return maybe_activated(m, m.add(std::move(gemm)));
  });
  sweep(80, rounding, [](Maker& m) {
    Random& r = m.random;
    const int rows = r.draw(1, 9), k = r.draw(1, 40), n = r.draw(1, 20);
    const Shape outer = r.shape(r.draw(0, 3), 3);
    Shape sides[2] = {outer, outer};
    for (Shape& side : sides) {
      for (std::size_t d = 0; d < side.rank(); ++d) {
        if (r.chance(30)) side[d] = 1;
      }
      const auto drop = r.chance(40) ? side.rank() : 0;
      side = Shape{std::span{side.begin() + drop, side.rank() - drop}};
    }
    const auto with = [](const Shape& front, int h, int w) {
      std::vector<std::int64_t> dims(front.begin(), front.end());
      dims.push_back(h);
      dims.push_back(w);
      return Shape{std::span<const std::int64_t>{dims}};
    };
    const Shape a = with(sides[0], rows, k), b = with(sides[1], k, n);
    const int constant = r.draw(0, 3);
    return maybe_activated(m,
                           m.add({.op = Op::matmul,
                                  .inputs = {constant == 0 ? m.constant(a) : m.input(a),
                                             constant == 1 || constant == 2 ? m.constant(b) : m.input(b)}}));
  });
}

TEST_CASE("flatten in front of a dense layer") {
  sweep(60, rounding, [](Maker& m) {
    Random& r = m.random;
    const Shape in = r.shape(4);
    TensorId x = m.add(activation(r, m.input(in)));
    const std::int64_t k = in.elements() / in[0];
    const TensorId flat = m.add({.op = Op::reshape, .inputs = {x}}, Shape{in[0], k});
    TensorId y = r.chance(30) ? m.add({.op = Op::identity, .inputs = {flat}}) : flat;
    y = r.chance(50) ? m.add({.op = Op::gemm,
                              .inputs = {y, m.constant({5, k}), m.constant({5})},
                              .transpose_b = true,
                              .alpha = 1,
                              .beta = 1})
                     : m.add({.op = Op::matmul, .inputs = {y, m.constant({k, 5})}});
    if (r.chance(30)) y = m.add({.op = Op::add, .inputs = {y, m.constant({5})}});
    if (r.chance(30)) m.builder.output(flat);
    return maybe_activated(m, y);
  });
}

TEST_CASE("softmax and lrn") {
  for (const Op op : {Op::softmax, Op::log_softmax}) {
    sweep(40, rounding, [op](Maker& m) {
      const TensorId x = m.input(m.random.shape(m.random.draw(1, 6), 9));
      return m.add(
          {.op = op, .inputs = {x}, .axes = {m.random.draw(0, static_cast<int>(m.shape(x).rank()) - 1)}});
    });
  }
  sweep(40, rounding, [](Maker& m) {
    Random& r = m.random;
    const TensorId x = m.input(r.shape(r.draw(2, 5), 9));
    return m.add({.op = Op::lrn,
                  .inputs = {x},
                  .alpha = r.pick({1e-4f, 0.5f}),
                  .beta = r.pick({0.75f, 0.5f}),
                  .bias = r.pick({1.0f, 2.0f}),
                  .size = r.draw(1, 7)});
  });
}
