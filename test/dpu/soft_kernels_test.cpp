// The reference kernels against results worked out by hand from the formulas of docs/arithmetic.md.
#include "dpu/soft/moves.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn::soft;
using Bytes = std::vector<std::int8_t>;

namespace {

/// A 1x1 convolution of one pixel: y = (x * weight + bias * 2^shift_bias) * 2^-shift_cut.
int conv1(int x, int weight, int bias, int shift_bias, int shift_cut, Nonlinear nonlinear = Nonlinear::none, int fp_out = 0) {
  ConvSpec s;
  s.weights = {static_cast<std::int8_t>(weight)};
  s.bias = {static_cast<std::int8_t>(bias)};
  s.fp_weight = 0;
  s.fp_out = fp_out;
  s.fp_in = shift_cut + fp_out;
  s.fp_bias = s.fp_in - shift_bias;
  s.nonlinear = nonlinear;
  const auto in = static_cast<std::int8_t>(x);
  std::int8_t out = 99;
  scalar_conv(s, &in, &out);
  return out;
}

int activate(int x, Nonlinear nonlinear, int fp_in, int fp_out) {
  return requantise_table(fp_in, fp_out, nonlinear)[static_cast<std::uint8_t>(static_cast<std::int8_t>(x))];
}

BinarySpec pair(int fp_a, int fp_b, int fp_out) {
  BinarySpec s;
  s.dims = {1};
  s.strides = {{{1}, {1}}};
  s.fp_in = {fp_a, fp_b};
  s.fp_out = fp_out;
  return s;
}

int add(int a, int b, const BinarySpec& s) {
  const auto x = static_cast<std::int8_t>(a), y = static_cast<std::int8_t>(b);
  std::int8_t out = 99;
  scalar_add(s, &x, &y, &out);
  return out;
}

int mul(int a, int b, const BinarySpec& s) {
  const auto x = static_cast<std::int8_t>(a), y = static_cast<std::int8_t>(b);
  std::int8_t out = 99;
  scalar_mul(s, &x, &y, &out);
  return out;
}

int average(int kernel, int value, int fp_in = 0, int fp_out = 0) {
  PoolSpec s;
  s.in = {1, kernel, kernel, 1};
  s.window.kernel_h = s.window.kernel_w = kernel;
  s.average = true;
  s.fp_in = fp_in, s.fp_out = fp_out;
  const Bytes in(static_cast<std::size_t>(kernel * kernel), static_cast<std::int8_t>(value));
  std::int8_t out = 99;
  scalar_pool(s, in.data(), &out);
  return out;
}

}  // namespace

TEST_CASE("rounding is half up and saturates", "[dpu]") {
  CHECK(conv1(1, 1, 0, 0, 1) == 1);     // 0.5
  CHECK(conv1(-1, 1, 0, 0, 1) == 0);    // -0.5
  CHECK(conv1(-3, 1, 0, 0, 1) == -1);   // -1.5
  CHECK(conv1(3, 1, 0, 0, 2) == 1);     // 0.75
  CHECK(conv1(127, 127, 0, 0, 3) == 127);
  CHECK(conv1(-128, 127, 0, 0, 3) == -128);
  CHECK(conv1(-128, -128, 0, 0, 7) == 127);  // 128
  CHECK(conv1(3, 2, 0, 0, -2) == 24);        // a negative cut shifts left
  CHECK(dpu_round(0.49999999999999994) == 0);
}

TEST_CASE("the bias keeps its fraction until the one rounding", "[dpu]") {
  CHECK(conv1(0, 0, 1, -1, 0) == 1);    // 0.5
  CHECK(conv1(0, 0, -1, -1, 0) == 0);   // -0.5
  CHECK(conv1(1, 1, 1, -2, 1) == 1);    // (1 + 0.25) / 2 = 0.625
  CHECK(conv1(1, 1, -1, -2, 1) == 0);   // (1 - 0.25) / 2 = 0.375
  CHECK(conv1(10, 10, 3, 4, 3) == 19);  // (100 + 48) / 8 = 18.5
}

TEST_CASE("activations act on the unrounded value", "[dpu]") {
  CHECK(conv1(-100, 1, 0, 0, 0, Nonlinear::relu) == 0);
  CHECK(conv1(100, 1, 0, 0, 0, Nonlinear::relu6, 4) == 96);  // 6.0
  CHECK(conv1(100, 1, 0, 0, 0, Nonlinear::relu6, 3) == 96);  // the literal, whatever it means there
  CHECK(conv1(100, 1, 0, 0, 0, Nonlinear::relu6, 5) == 100);
  CHECK(conv1(-10, 1, 0, 0, 0, Nonlinear::leaky_relu) == -1);  // -1.015625
  CHECK(conv1(-5, 1, 0, 0, 0, Nonlinear::leaky_relu) == -1);   // -0.5078
  CHECK(conv1(-4, 1, 0, 0, 0, Nonlinear::leaky_relu) == 0);    // -0.40625
  CHECK(conv1(-9, 1, 0, 0, 1, Nonlinear::leaky_relu) == 0);    // -4.5 * 0.1015625 = -0.457; rounded first it would be the same of -4
  CHECK(activate(0, Nonlinear::hard_sigmoid, 4, 7) == 64);     // 0.5
  CHECK(activate(48, Nonlinear::hard_sigmoid, 4, 7) == 127);   // 1 saturates at 127/128
  CHECK(activate(48, Nonlinear::hard_sigmoid, 4, 6) == 64);    // 1
  CHECK(activate(127, Nonlinear::hard_sigmoid, 4, 6) == 64);   // 7.9: still 1
  CHECK(activate(-48, Nonlinear::hard_sigmoid, 4, 7) == 0);
  CHECK(activate(64, Nonlinear::hard_swish, 4, 4) == 64);      // 4 * 1
  CHECK(activate(-16, Nonlinear::hard_swish, 4, 4) == -5);     // -1/3 * 16 = -5.33
  CHECK(activate(-64, Nonlinear::hard_swish, 4, 4) == 0);
}

TEST_CASE("convolution: windows, padding, dilation, groups", "[dpu]") {
  ConvSpec s;
  s.in = {1, 3, 3, 1};
  s.out = {1, 3, 3, 1};
  s.window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  s.weights.assign(9, 1);
  s.bias = {0};
  const Bytes ones(9, 1);
  Bytes out(9);
  scalar_conv(s, ones.data(), out.data());
  CHECK(out == Bytes{4, 6, 4, 6, 9, 6, 4, 6, 4});

  s.window = {.kernel_h = 2, .kernel_w = 2, .dilation_h = 2, .dilation_w = 2};
  s.weights = {1, 2, 3, 4};
  s.out = {1, 1, 1, 1};
  const Bytes count{1, 2, 3, 4, 5, 6, 7, 8, 9};
  scalar_conv(s, count.data(), out.data());
  CHECK(out[0] == 1 + 2 * 3 + 3 * 7 + 4 * 9);

  ConvSpec g;  // two groups of two channels to one
  g.in = {1, 1, 1, 4}, g.out = {1, 1, 1, 2};
  g.groups = 2;
  g.weights = {1, 2, 3, 4};
  g.bias = {0, 1};
  scalar_conv(g, count.data(), out.data());
  CHECK(out[0] == 1 * 1 + 2 * 2);
  CHECK(out[1] == 3 * 3 + 4 * 4 + 1);
}

TEST_CASE("addition has seven guard bits, multiplication one rounding", "[dpu]") {
  CHECK(add(5, 7, pair(3, 5, 4)) == 14);        // (0.625 + 0.21875) * 16 = 13.5
  CHECK(add(-5, -7, pair(3, 5, 4)) == -13);     // -13.5
  CHECK(add(100, 100, pair(4, 4, 4)) == 127);
  CHECK(add(0, -1, pair(0, 9, 9)) == -4);       // -1/512 becomes floor(-0.25) = -1 guard unit = 1/128
  CHECK(add(0, 3, pair(0, 9, 9)) == 0);         // 3/4 of a guard unit is lost
  CHECK(add(0, 3, pair(0, 7, 7)) == 3);         // a spread of seven is exact
  CHECK(mul(3, 5, pair(2, 2, 3)) == 8);         // 7.5
  CHECK(mul(-3, 5, pair(2, 2, 3)) == -7);       // -7.5
  CHECK(mul(100, 100, pair(0, 0, 0)) == 127);
}

TEST_CASE("pools", "[dpu]") {
  CHECK(average(3, 100) == 98);  // 900 * 7/64 = 98.44
  CHECK(average(5, 100) == 98);  // 2500 * 10/256 = 97.66
  CHECK(average(6, 100) == 98);  // 3600 * 7/256 = 98.44
  CHECK(average(7, 100) == 100);  // 4900 * 21/1024 = 100.49
  CHECK(average(14, 100) == 100);
  CHECK(average(2, 3) == 3);
  CHECK(average(8, -7) == -7);
  CHECK(average(2, 3, 0, 2) == 12);   // to another fix point, in the same rounding
  CHECK(average(2, 3, 1, 0) == 2);    // 1.5
  CHECK(average_factor(4, 4, 16).n == 1);
  CHECK(average_factor(4, 4, 16).m == 4);
  CHECK(average_factor(1, 3, 3).n == 85);  // 85/256 is the first of the closest below 2^9
  CHECK(average_factor(1, 3, 3).m == 8);

  PoolSpec max;
  max.in = {1, 2, 2, 1}, max.out = {1, 2, 2, 1};
  max.window = {.kernel_h = 2, .kernel_w = 2, .pad_bottom = 1, .pad_right = 1};
  const Bytes in{-5, -6, -7, -8};
  Bytes out(4);
  scalar_pool(max, in.data(), out.data());
  CHECK(out == Bytes{-5, -6, -7, -8});  // padding never wins
}

TEST_CASE("moves follow logical order over channels-last storage", "[dpu]") {
  GraphBuilder b{"moves"};
  const TensorId x = b.input("x", {1, 2, 2, 2});
  const TensorId flat = b.add({.op = Op::reshape, .inputs = {x}}, "flat", Shape{1, 8});
  const TensorId cut = b.add({.op = Op::slice, .inputs = {x}, .begins = {0, 1, 0, 0}, .ends = {1, 2, 2, 2}, .steps = {1, 1, 1, 2}}, "cut");
  const TensorId padded = b.add({.op = Op::pad, .inputs = {cut}, .begins = {0, 0, 0, 1}, .ends = {0, 0, 0, 0}}, "padded");
  const TensorId joined = b.add({.op = Op::concat, .inputs = {x, padded}, .axes = {1}}, "joined");
  b.output(flat);
  b.output(joined);
  const Graph g = std::move(b).build();
  // Storage of x: pixel (0,0) channels 0 1, pixel (0,1) channels 0 1, ...: value 10 * channel + pixel.
  const Bytes in{0, 10, 1, 11, 2, 12, 3, 13};
  const auto run = [&](NodeId n, const Bytes& from, std::size_t count) {
    MoveSpec s;
    s.runs = move_runs(g, g.nodes()[n], 0);
    Bytes out(count, 99);
    scalar_move(s, from.data(), out.data());
    return out;
  };
  CHECK(run(0, in, 8) == Bytes{0, 1, 2, 3, 10, 11, 12, 13});
  CHECK(run(1, in, 2) == Bytes{10, 12});
  CHECK(run(2, {10, 12}, 4) == Bytes{0, 10, 0, 12});
  Bytes out(12, 99);
  for (std::size_t i = 0; i < 2; ++i) {
    MoveSpec s;
    s.runs = concat_runs(g, g.nodes()[3], i);
    s.fp_in = i == 0 ? 0 : 1;  // the second input is halved
    scalar_move(s, (i == 0 ? in : Bytes{0, 10, 0, -3}).data(), out.data());
  }
  CHECK(out == Bytes{0, 10, 0, 1, 11, 5, 2, 12, 0, 3, 13, -1});
}
