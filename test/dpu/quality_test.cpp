// measure_quality() against the definition: heads run by the reference kernels, compared value by value.
#include "splitcnn/quality.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/convert.hpp"
#include "cpu/executor.hpp"
#include "dpu/normals.hpp"
#include "dpu/soft/executor.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::normals;

namespace {

/// Two branches that meet in a concat; channels of very different size, so that they are equalised.
Graph branching() {
  GraphBuilder b{"branching"};
  std::mt19937_64 random{5};
  const auto constant = [&](const char* name, const Shape& shape, float scale) {
    return b.constant(name, shape, normals(random, static_cast<std::size_t>(shape.elements()), scale));
  };
  const Window three{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  auto uneven = normals(random, 8 * 27, 0.3f);
  for (std::size_t i = 0; i < uneven.size(); ++i) uneven[i] *= std::ldexp(1.0f, static_cast<int>(i / 27 % 4) - 2);
  TensorId x = b.input("x", {1, 3, 8, 8});
  x = b.add({.op = Op::conv, .name = "first", .inputs = {x, b.constant("w1", {8, 3, 3, 3}, uneven)}, .window = three});
  x = b.add({.op = Op::relu, .name = "relu", .inputs = {x}});
  x = b.add({.op = Op::conv, .name = "second", .inputs = {x, constant("w2", {8, 8, 3, 3}, 0.2f)}, .window = three});
  const TensorId left = b.add({.op = Op::conv, .name = "left", .inputs = {x, constant("w3", {4, 8, 1, 1}, 0.3f)}});
  const TensorId right = b.add({.op = Op::conv, .name = "right", .inputs = {x, constant("w4", {4, 8, 1, 1}, 0.3f)}});
  x = b.add({.op = Op::concat, .name = "joined", .inputs = {left, right}, .axes = {1}});
  b.output(b.add({.op = Op::conv, .name = "last", .inputs = {x, constant("w5", {6, 8, 1, 1}, 0.3f)}}));
  return std::move(b).build();
}

std::vector<Tensor> frames(std::size_t count, float scale) {
  std::mt19937_64 random{splitcnn_test::seed()};
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < count; ++i) {
    Tensor t{{.name = "x", .shape = {1, 3, 8, 8}}};
    std::ranges::copy(normals(random, 3 * 64, scale), t.as<float>().begin());
    all.push_back(std::move(t));
  }
  return all;
}

/// By the reference kernels, over what nodes [0, last) hand out.
double sqnr_of_head(const QuantizedGraph& quant, NodeId last, std::span<const Tensor> inputs) {
  DpuExecutor dpu{quant, 0, last, {.scalar = true}};
  CpuExecutor cpu{quant.graph(), 0, last, {.reference = true}};
  double signal = 0, noise = 0;
  for (const Tensor& t : inputs) {
    convert(t.spec().shape, {.channels_last = false}, t.bytes().data(), {.dtype = DType::i8, .fix_point = dpu.input_fix_point(0)},
            reinterpret_cast<std::byte*>(dpu.input(0).data()));
    convert(t.spec().shape, {.channels_last = false}, t.bytes().data(), {}, reinterpret_cast<std::byte*>(cpu.input(0).data()));
    dpu.run();
    cpu.run();
    for (std::size_t o = 0; o < dpu.output_ids().size(); ++o) {
      for (std::size_t i = 0; i < dpu.output(o).size(); ++i) {
        const double x = static_cast<double>(cpu.output(o)[i]), q = std::ldexp(dpu.output(o)[i], -dpu.output_fix_point(o));
        signal += x * x;
        noise += (x - q) * (x - q);
      }
    }
  }
  return 10 * std::log10(signal / noise);
}

const LayerQuality& layer(const Quality& q, const std::string& name) {
  const auto at = std::find_if(q.layers.begin(), q.layers.end(), [&](const LayerQuality& l) { return l.node == name; });
  REQUIRE(at != q.layers.end());
  return *at;
}

}  // namespace

TEST_CASE("quality of every cut and layer against the reference kernels", "[dpu]") {
  CAPTURE(splitcnn_test::seed());
  const Graph graph = branching();
  const auto some = frames(6, 1);
  const QuantizedGraph quant = Quantizer{}.calibrate(graph, some);
  std::size_t told = 0;
  const Quality q = measure_quality(quant, some, {.granularity = Granularity::op, .progress = [&](std::size_t done, std::size_t of) {
                                                    CHECK(done > told);
                                                    CHECK(done <= of);
                                                    told = done;
                                                  }});
  CHECK(q.frames == 6);
  const std::vector<Cut> all = cuts(graph, Granularity::op);
  REQUIRE(q.cut_sqnr_db.size() == all.size());
  CHECK(std::isnan(q.cut_sqnr_db[0]));
  for (std::size_t k = 1; k < all.size(); ++k) {
    CAPTURE(all[k].after);
    REQUIRE(all[k].legal);
    CHECK(std::abs(q.cut_sqnr_db[k] - sqnr_of_head(quant, all[k].node, some)) < 1e-3);
    CHECK(q.cut_sqnr_db[k] > 15);
  }
  // The whole network on the DPU: what its last layer writes is what it hands out.
  const LayerQuality& last = layer(q, "last");
  CHECK(std::abs(last.sqnr_db - q.cut_sqnr_db.back()) < 1e-9);
  CHECK(last.fix_point == quant.fix_point(graph.outputs()[0]));
  CHECK(last.weight_fix_point == quant.weight(*graph.producer(graph.outputs()[0]), *graph.producer(graph.outputs()[0])).weight_fix_point);
  CHECK_FALSE(last.equalised);
}

TEST_CASE("quality of layers inside the head: equalised ones, a concat of two steps, saturation", "[dpu]") {
  CAPTURE(splitcnn_test::seed());
  const Graph graph = branching();
  const auto some = frames(6, 1);
  const QuantizedGraph quant = Quantizer{}.calibrate(graph, some);
  const Quality q = measure_quality(quant, some);
  const LayerQuality& first = layer(q, "first");
  REQUIRE(first.equalised);  // else this test does not look at factors
  CHECK(first.sqnr_db > 25);
  CHECK_FALSE(layer(q, "joined").weight_fix_point);
  CHECK(std::count_if(q.layers.begin(), q.layers.end(), [](const LayerQuality& l) { return l.node == "joined"; }) == 1);
  CHECK(layer(q, "joined").sqnr_db > 15);
  for (const LayerQuality& l : q.layers) CHECK(l.saturated < 0.02);

  // A fix point four bits too fine: what the last layer writes does not fit into bytes.
  std::vector<int> fix_points(quant.fix_points().begin(), quant.fix_points().end());
  fix_points[graph.outputs()[0]] += 4;
  const QuantizedGraph narrow{graph, fix_points, {quant.weights().begin(), quant.weights().end()}, false,
                              {quant.channel_scales().begin(), quant.channel_scales().end()}, {quant.moments().begin(), quant.moments().end()}};
  const Quality clipped = measure_quality(narrow, some);
  CHECK(layer(clipped, "last").saturated > 0.5);
  CHECK(layer(clipped, "last").sqnr_db < 6);
  CHECK(layer(clipped, "first").sqnr_db == first.sqnr_db);
}

TEST_CASE("quality refuses what it cannot look at", "[dpu]") {
  const Graph graph = branching();
  const auto some = frames(2, 1);
  const QuantizedGraph quant = Quantizer{}.calibrate(graph, some);
  CHECK(measure_quality(quant, some, {.max_frames = 1}).frames == 1);
  CHECK_THROWS_AS(measure_quality(quant, {}), Error);
  const Tensor wrong{{.name = "x", .shape = {1, 3, 4, 4}}};
  CHECK_THROWS_AS(measure_quality(quant, std::span{&wrong, 1}), Error);
}
