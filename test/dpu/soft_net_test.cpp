// Whole networks: the automatic kernels give the bytes of the scalar ones, at several segments.
#include <algorithm>
#include <random>

#include "dpu/soft/executor.hpp"
#include "splitcnn/graph.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// Runs [first, last) on both back ends over random bytes. Returns the number of differing bytes.
std::size_t differing(const QuantizedGraph& quant, NodeId first, NodeId last, std::mt19937_64& random) {
  DpuExecutor scalar{quant, first, last, {.scalar = true}}, fast{quant, first, last}, threads{quant, first, last, {.threads = 2}};
  std::size_t wrong = 0;
  for (int frame = 0; frame < 2; ++frame) {
    for (std::size_t i = 0; i < scalar.input_ids().size(); ++i) {
      for (std::size_t k = 0; k < scalar.input(i).size(); ++k) {
        const auto v = static_cast<std::int8_t>(random() & 0xff);
        scalar.input(i)[k] = fast.input(i)[k] = threads.input(i)[k] = v;
      }
    }
    scalar.run();
    fast.run();
    threads.run();
    for (std::size_t o = 0; o < scalar.output_ids().size(); ++o) {
      REQUIRE(scalar.output_fix_point(o) == fast.output_fix_point(o));
      for (std::size_t k = 0; k < scalar.output(o).size(); ++k) {
        wrong += scalar.output(o)[k] != fast.output(o)[k] || scalar.output(o)[k] != threads.output(o)[k];
      }
    }
  }
  return wrong;
}

/// The whole legal head, both halves of it, and a segment from the middle.
void check_segments(const Graph& graph, std::mt19937_64& random, Granularity granularity = Granularity::block) {
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  std::vector<NodeId> legal;
  for (const Cut& cut : cuts(graph, granularity)) {
    if (cut.legal && cut.node > 0) legal.push_back(cut.node);
  }
  REQUIRE(!legal.empty());
  const NodeId end = legal.back(), middle = legal[legal.size() / 2], early = legal[legal.size() / 4];
  INFO(graph.name());
  CHECK(differing(quant, 0, end, random) == 0);
  CHECK(differing(quant, 0, middle, random) == 0);
  if (middle < end) CHECK(differing(quant, middle, end, random) == 0);
  if (early < middle) CHECK(differing(quant, early, middle, random) == 0);
}

Graph everything() {
  GraphBuilder b{"everything"};
  std::mt19937_64 random{7};
  std::normal_distribution<float> normal;
  int n = 0;
  const auto constant = [&](const Shape& shape, float scale) {
    std::vector<float> v(static_cast<std::size_t>(shape.elements()));
    for (float& x : v) x = normal(random) * scale;
    return b.constant("c" + std::to_string(n++), shape, std::move(v));
  };
  const auto conv = [&](TensorId x, std::int64_t out, int k, int stride, int groups) {
    const std::int64_t in = b.shape(x)[1] / groups;
    Window w{.kernel_h = k, .kernel_w = k, .stride_h = stride, .stride_w = stride, .pad_top = k / 2, .pad_left = k / 2, .pad_bottom = k / 2, .pad_right = k / 2};
    return b.add({.op = Op::conv, .inputs = {x, constant({out, in, k, k}, 1.0f / std::sqrt(static_cast<float>(in * k * k))), constant({out}, 0.1f)}, .window = w, .groups = groups});
  };
  TensorId x = b.input("x", {1, 3, 20, 20});
  x = b.add({.op = Op::mul, .inputs = {x, constant({1, 3, 1, 1}, 1)}});  // a stand-alone affine
  x = b.add({.op = Op::hard_swish, .inputs = {conv(x, 16, 3, 1, 1)}});
  TensorId a = b.add({.op = Op::clip, .inputs = {conv(x, 16, 3, 1, 16)}, .alpha = 0, .beta = 6});
  TensorId c = b.add({.op = Op::leaky_relu, .inputs = {conv(x, 16, 3, 1, 4)}, .alpha = 26.0f / 256});
  x = b.add({.op = Op::relu, .inputs = {b.add({.op = Op::add, .inputs = {a, c}})}});
  x = b.add({.op = Op::concat, .inputs = {x, a, c}, .axes = {1}});
  const auto parts = b.add_multi({.op = Op::split, .inputs = {x}, .axes = {1}}, {}, {{1, 8, 20, 20}, {1, 40, 20, 20}});
  TensorId se = b.add({.op = Op::global_average_pool, .inputs = {parts[1]}});
  se = b.add({.op = Op::hard_sigmoid, .inputs = {conv(se, 40, 1, 1, 1)}, .alpha = 1.0f / 6, .beta = 0.5f});
  TensorId y = b.add({.op = Op::mul, .inputs = {parts[1], parts[1]}});
  y = b.add({.op = Op::average_pool, .inputs = {y}, .window = {.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, .count_include_pad = true});
  y = b.add({.op = Op::resize, .inputs = {y}, .coordinates = Coordinates::asymmetric, .scales = {1, 1, 2, 2}}, {}, Shape{1, 40, 20, 20});
  TensorId z = b.add({.op = Op::max_pool, .inputs = {parts[0]}, .window = {.kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2}});
  z = b.add({.op = Op::slice, .inputs = {z}, .begins = {0, 0, 0, 0}, .ends = {1, 8, 10, 10}, .steps = {1, 1, 2, 2}});
  z = b.add({.op = Op::pad, .inputs = {z}, .begins = {0, 2, 1, 0}, .ends = {0, 2, 0, 1}});
  z = b.add({.op = Op::relu, .inputs = {z}});
  z = b.add({.op = Op::reshape, .inputs = {z}}, {}, Shape{1, 12 * 6 * 6});
  z = b.add({.op = Op::gemm, .inputs = {z, constant({10, 12 * 6 * 6}, 0.05f), constant({10}, 0.1f)}, .transpose_b = true, .alpha = 1, .beta = 1});
  b.output(se);
  b.output(y);
  b.output(z);
  return std::move(b).build();
}

}  // namespace

TEST_CASE("every operation of the DPU in one graph", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  check_segments(everything(), random, Granularity::op);
}

TEST_CASE("small zoo networks: scalar and automatic agree", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  check_segments(Graph::zoo("lenet5"), random);
  check_segments(Graph::zoo("mobilenet_v2", {.input_size = 32}), random);
  check_segments(Graph::zoo("squeezenet1_1", {.input_size = 40}), random);
}

namespace {

/// Bytes that are hard on sums: in pieces of random length noise, extremes with random signs, one extreme, small values.
void fill_adversarial(std::span<std::int8_t> bytes, bool non_negative, std::mt19937_64& random) {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t end = std::min(bytes.size(), at + 1 + random() % 4096);
    const auto kind = random() % 5;
    for (; at < end; ++at) {
      const auto r = random();
      int value = static_cast<std::int8_t>(r & 0xff);
      if (kind == 1) value = r & 1 ? 127 : -128;
      if (kind == 2) value = 127;
      if (kind == 3) value = -128;
      if (kind == 4) value = static_cast<int>(r % 7) - 3;
      bytes[at] = static_cast<std::int8_t>(non_negative ? (value == -128 ? 127 : std::abs(value)) : value);
    }
  }
}

struct LayerCount {
  std::size_t layers = 0, bytes = 0, differing = 0;
};

/// Every instruction of a network by itself: adversarial bytes into both back ends, which must give the same.
LayerCount check_layers(const Graph& graph, std::mt19937_64& random) {
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  NodeId end = 0;
  for (const Cut& cut : cuts(graph, Granularity::op)) end = cut.legal ? std::max(end, cut.node) : end;
  DpuExecutor scalar{quant, 0, end, {.scalar = true}}, fast{quant, 0, end};
  LayerCount count;
  for (std::size_t i = 0; i < scalar.steps().size(); ++i) {
    const DpuStepBuffers a = scalar.buffers(i), b = fast.buffers(i);
    for (std::size_t k = 0; k < a.inputs.size(); ++k) {
      fill_adversarial(a.inputs[k], a.non_negative[k], random);
      std::copy(a.inputs[k].begin(), a.inputs[k].end(), b.inputs[k].begin());
    }
    std::fill(a.output.begin(), a.output.end(), std::int8_t{85});  // a part of a concat leaves the rest alone
    std::fill(b.output.begin(), b.output.end(), std::int8_t{85});
    scalar.run_step(i);
    fast.run_step(i);
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < a.output.size(); ++k) wrong += a.output[k] != b.output[k];
    if (wrong) UNSCOPED_INFO(graph.name() << ' ' << fast.steps()[i].name << ' ' << fast.steps()[i].kernel << ": " << wrong << " bytes differ");
    count.differing += wrong;
    count.bytes += a.output.size();
    ++count.layers;
  }
  return count;
}

}  // namespace

TEST_CASE("layers of small zoo networks over adversarial bytes", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const char* name : {"mobilenet_v2", "googlenet"}) CHECK(check_layers(Graph::zoo(name, {.input_size = 64}), random).differing == 0);
}

TEST_CASE("every layer of every zoo network over adversarial bytes", "[dpu][long]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const std::string& name : Graph::zoo_names()) {
    const LayerCount count = check_layers(Graph::zoo(name), random);
    std::printf("%s: %zu layers, %zu bytes, %zu differ\n", name.c_str(), count.layers, count.bytes, count.differing);
    std::fflush(stdout);
    CHECK(count.differing == 0);
  }
}

TEST_CASE("every zoo network: scalar and automatic agree", "[dpu][long]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const std::string& name : Graph::zoo_names()) {
    check_segments(Graph::zoo(name, {.input_size = name == "lenet5" ? 32 : 64}), random);
    std::printf("%s agrees\n", name.c_str());
  }
}
