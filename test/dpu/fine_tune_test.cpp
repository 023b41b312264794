// Successive rounding, fine tuning of a network, and what becomes of it in a file.
#include <cmath>
#include <fstream>
#include <random>

#include "core/convert.hpp"
#include "core/json_file.hpp"
#include "cpu/executor.hpp"
#include "dpu/normals.hpp"
#include "dpu/soft/executor.hpp"
#include "dpu/soft/successive_rounding.hpp"
#include "splitcnn/quantizer.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using splitcnn_test::normals;
using namespace splitcnn::soft;

namespace {

/// Examples whose inputs are strongly correlated, like those of neighbouring pixels.
struct Examples {
  std::size_t rows, inputs, outputs;
  std::vector<float> x, wanted;
};

Examples examples(std::mt19937_64& random, const RoundingProblem& p, std::size_t rows) {
  Examples e{rows, p.inputs, p.outputs, std::vector<float>(rows * p.inputs), std::vector<float>(rows * p.outputs)};
  for (std::size_t r = 0; r < rows; ++r) {
    const auto common = normals(random, 3), own = normals(random, p.inputs, 0.3f);
    for (std::size_t i = 0; i < p.inputs; ++i) e.x[r * p.inputs + i] = i + 1 == p.inputs ? 1 : common[i % 3] + own[i] + 0.5f;
    for (std::size_t o = 0; o < p.outputs; ++o) {
      for (std::size_t i = 0; i < p.inputs; ++i) e.wanted[r * p.outputs + o] += e.x[r * p.inputs + i] * p.start[i * p.outputs + o];
    }
  }
  return e;
}

double squared_error(const Examples& e, std::span<const std::int8_t> q, std::span<const float> steps) {
  double sum = 0;
  for (std::size_t r = 0; r < e.rows; ++r) {
    for (std::size_t o = 0; o < e.outputs; ++o) {
      double y = 0;
      for (std::size_t i = 0; i < e.inputs; ++i) y += static_cast<double>(e.x[r * e.inputs + i]) * q[i * e.outputs + o] * static_cast<double>(steps[i]);
      const double d = y - static_cast<double>(e.wanted[r * e.outputs + o]);
      sum += d * d;
    }
  }
  return sum;
}

std::vector<std::int8_t> nearest(const RoundingProblem& p) {
  std::vector<std::int8_t> q(p.start.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<std::int8_t>(std::clamp(std::round(p.start[i] / p.steps[i / p.outputs]), -128.0f, 127.0f));
  return q;
}

Graph net() {
  GraphBuilder b{"tuned"};
  std::mt19937_64 random{11};
  const auto constant = [&](const char* name, const Shape& shape, float scale) {
    return b.constant(name, shape, normals(random, static_cast<std::size_t>(shape.elements()), scale));
  };
  const Window three{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  TensorId x = b.input("x", {1, 3, 16, 16});
  x = b.add({.op = Op::conv, .name = "first", .inputs = {x, constant("w1", {24, 3, 3, 3}, 0.3f), constant("b1", {24}, 0.2f)}, .window = three});
  const TensorId skip = x = b.add({.op = Op::relu, .name = "relu1", .inputs = {x}});
  x = b.add({.op = Op::conv, .name = "depthwise", .inputs = {x, constant("w2", {24, 1, 3, 3}, 0.4f)}, .window = three, .groups = 24});
  x = b.add({.op = Op::clip, .name = "clip", .inputs = {x}, .alpha = 0, .beta = 6});
  x = b.add({.op = Op::conv, .name = "project", .inputs = {x, constant("w3", {24, 24, 1, 1}, 0.2f), constant("b3", {24}, 0.2f)}});
  x = b.add({.op = Op::add, .name = "sum", .inputs = {skip, x}});
  x = b.add({.op = Op::conv, .name = "grouped", .inputs = {x, constant("w4", {16, 12, 3, 3}, 0.1f)}, .window = {.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2}, .groups = 2});
  x = b.add({.op = Op::relu, .name = "relu2", .inputs = {x}});
  x = b.add({.op = Op::reshape, .name = "flat", .inputs = {x}}, "f", Shape{1, 16 * 7 * 7});
  x = b.add({.op = Op::gemm, .name = "scores", .inputs = {x, constant("w5", {10, 16 * 7 * 7}, 0.05f), constant("b5", {10}, 0.5f)}, .transpose_b = true, .alpha = 1, .beta = 1});
  b.output(x);
  return std::move(b).build();
}

std::vector<Tensor> frames(std::size_t count, unsigned long long seed) {
  std::mt19937_64 random{seed};
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < count; ++i) {
    Tensor t{{.name = "x", .shape = {1, 3, 16, 16}}};
    const auto base = normals(random, 3 * 16), own = normals(random, 3 * 256, 0.3f);
    for (std::size_t k = 0; k < own.size(); ++k) t.as<float>()[k] = base[k / 16] + own[k];
    all.push_back(std::move(t));
  }
  return all;
}

/// Mean square of the scores' error.
double error_against_float(const QuantizedGraph& quant, std::span<const Tensor> inputs) {
  const Graph& graph = quant.graph();
  const auto last = static_cast<NodeId>(graph.nodes().size());
  DpuExecutor dpu{quant, 0, last};
  CpuExecutor cpu{graph, 0, last, {}};
  double sum = 0;
  for (const Tensor& t : inputs) {
    convert(t.spec().shape, {.channels_last = false}, t.bytes().data(), {.dtype = DType::i8, .fix_point = dpu.input_fix_point(0)}, reinterpret_cast<std::byte*>(dpu.input(0).data()));
    convert(t.spec().shape, {.channels_last = false}, t.bytes().data(), {}, reinterpret_cast<std::byte*>(cpu.input(0).data()));
    dpu.run();
    cpu.run();
    for (std::size_t i = 0; i < cpu.output(0).size(); ++i) {
      const double d = std::ldexp(dpu.output(0)[i], -dpu.output_fix_point(0)) - static_cast<double>(cpu.output(0)[i]);
      sum += d * d;
    }
  }
  return sum / static_cast<double>(inputs.size());
}

Errc error_of(const auto& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("Cholesky and its solution agree with the definition", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const std::size_t n : {1u, 2u, 7u, 63u, 64u, 65u, 130u, 200u}) {
    const std::size_t columns = 1 + random() % 9;
    const auto m = normals(random, n * n), b = normals(random, n * columns);
    std::vector<float> a(n * n, 0.0f);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t k = 0; k < n; ++k) a[i * n + j] += m[i * n + k] * m[j * n + k] / static_cast<float>(n);
      }
      a[i * n + i] += 0.5f;
    }
    std::vector<float> l = a, x = b;
    REQUIRE(cholesky(l, n));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double product = 0;
        for (std::size_t k = 0; k <= j; ++k) product += static_cast<double>(l[i * n + k]) * static_cast<double>(l[j * n + k]);
        REQUIRE(product == Approx(a[i * n + j]).margin(1e-4));
      }
    }
    solve(l, n, x, columns);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (std::size_t k = 0; k < n; ++k) sum += static_cast<double>(a[i * n + k]) * static_cast<double>(x[k * columns + c]);
        REQUIRE(sum == Approx(b[i * columns + c]).margin(1e-3));
      }
    }
  }
  std::vector<float> bad{1, 2, 2, 1};
  CHECK_FALSE(cholesky(bad, 2));
}

TEST_CASE("rounding one after the other beats rounding to nearest, and is close to the best there is", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  double ours = 0, plain = 0;
  for (int trial = 0; trial < 40; ++trial) {
    RoundingProblem p{.inputs = 1 + random() % 90, .outputs = 1 + random() % 20};
    p.start = normals(random, p.inputs * p.outputs);
    p.steps.assign(p.inputs, 0.25f);
    p.steps.back() = 0.5f;
    const Examples e = examples(random, p, 400);
    auto wanted = e.wanted;
    p.add(e.x, wanted, e.rows);
    const auto q = round_successively(p, 0.01f);
    REQUIRE(q.size() == p.start.size());
    ours += squared_error(e, q, p.steps);
    plain += squared_error(e, nearest(p), p.steps);
  }
  CHECK(ours < plain / 4);

  double best = 0, found = 0;
  for (int trial = 0; trial < 20; ++trial) {  // small enough to try everything
    RoundingProblem p{.inputs = 6, .outputs = 1};
    p.start = normals(random, 6);
    p.steps.assign(6, 0.5f);
    const Examples e = examples(random, p, 200);
    auto wanted = e.wanted;
    p.add(e.x, wanted, e.rows);
    found += squared_error(e, round_successively(p, 0.001f), p.steps);
    double least = 1e300;
    for (int code = 0; code < 4096; ++code) {
      std::vector<std::int8_t> q(6);
      for (std::size_t i = 0; i < 6; ++i) q[i] = static_cast<std::int8_t>(std::floor(p.start[i] / 0.5f) - 1 + (code >> (2 * i) & 3));
      least = std::min(least, squared_error(e, q, p.steps));
    }
    best += least;
  }
  CHECK(found < 2 * best);
}

TEST_CASE("the solution follows other units of input and output", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  RoundingProblem p{.inputs = 5, .outputs = 3};
  p.start = normals(random, 15);
  p.steps.assign(5, 1.0f / 64);
  const Examples e = examples(random, p, 100);
  auto wanted = e.wanted;
  p.add(e.x, wanted, e.rows);
  RoundingProblem scaled = p;
  const std::vector<float> in{2, 2, 2, 2, 1}, out{4, 4, 4};
  scaled.rescale(in, out);
  for (std::size_t i = 0; i < 15; ++i) CHECK(scaled.start[i] == Approx(p.start[i] * 4 / in[i / 3]));
  scaled.steps.assign(5, 2.0f / 64);
  scaled.steps.back() = 4.0f / 64;
  CHECK(round_successively(scaled, 0) == round_successively(p, 0));
}

TEST_CASE("fine tuning brings INT8 closer to float on frames it has not seen", "[dpu]") {
  const Graph graph = net();
  const auto seen = frames(32, splitcnn_test::seed());
  const QuantizedGraph plain = Quantizer{}.calibrate(graph, seen);
  std::size_t layers = 0;
  const QuantizedGraph tuned = fine_tune(plain, seen, {.progress = [&](std::size_t done, std::size_t all) { layers = all; CHECK(done <= all); }});
  CHECK(layers == 5);
  double before = 0, after = 0;
  for (unsigned long long s = 0; s < 6; ++s) {
    const auto few = frames(32, splitcnn_test::seed() + 2 * s), unseen = frames(64, splitcnn_test::seed() + 2 * s + 1);
    const QuantizedGraph one = Quantizer{}.calibrate(graph, few);
    before += error_against_float(one, unseen);
    after += error_against_float(fine_tune(one, few), unseen);
  }
  INFO(before << " " << after);
  CHECK(after < before);
  for (NodeId first = 0; first < graph.nodes().size(); ++first) {
    for (NodeId last = first + 1; last <= graph.nodes().size(); ++last) CHECK_NOTHROW(DpuExecutor(tuned, first, last));
  }
  const QuantizedGraph again = fine_tune(plain, seen, {});
  CHECK(std::equal(tuned.weights().begin(), tuned.weights().end(), again.weights().begin(), again.weights().end()));
  CHECK(error_of([&] { (void)fine_tune(plain, {}); }) == Errc::bad_argument);
  CHECK(error_of([&] { (void)fine_tune(plain, std::vector<Tensor>{Tensor{{.name = "x", .shape = {1, 3, 8, 8}}}}); }) == Errc::mismatch);
}

TEST_CASE("tuned weights come back from their file, and only from it", "[dpu]") {
  const Graph graph = net();
  const auto seen = frames(4, 5);
  const QuantizedGraph plain = Quantizer{}.calibrate(graph, seen), tuned = fine_tune(plain, seen);
  const splitcnn_test::TemporaryFolder folder;
  const auto path = folder / "net.splitcnn.json", weights = folder / "net.splitcnn.weights";
  tuned.save(path);
  const auto load = [&] { return error_of([&] { (void)QuantizedGraph::load(graph, path); }); };
  const QuantizedGraph again = QuantizedGraph::load(graph, path);
  REQUIRE(again.weights().size() == tuned.weights().size());
  for (std::size_t i = 0; i < tuned.weights().size(); ++i) CHECK(again.weights()[i] == tuned.weights()[i]);
  CHECK_FALSE(again.weights()[0] == plain.weights()[0]);

  const nlohmann::json good = read_json(path);
  nlohmann::json bad = good;
  bad["calibration"]["weights"][0]["tuned"] = {0, 1u << 30, 1};
  write_json(path, bad);
  CHECK(load() == Errc::bad_file);
  bad["calibration"]["weights"][0]["tuned"] = {-1, "x"};
  write_json(path, bad);
  CHECK(load() == Errc::bad_file);
  bad["calibration"]["weights"][0]["tuned"] = {0, 3, 1};  // in the file, but not of that layer
  write_json(path, bad);
  CHECK(error_of([&] { DpuExecutor{QuantizedGraph::load(graph, path), 0, 2}; }) == Errc::bad_file);
  write_json(path, good);
  CHECK(load() == Errc::ok);
  { std::fstream{weights, std::ios::in | std::ios::out | std::ios::binary}.write("\x55\xaa\x55\xaa", 4); }
  CHECK(load() == Errc::bad_file);
  std::filesystem::resize_file(weights, 10);
  CHECK(load() == Errc::bad_file);
  std::filesystem::remove(weights);
  CHECK(load() == Errc::io);
  tuned.save(path);
  plain.save(path);  // what is not tuned leaves no file
  CHECK(load() == Errc::ok);
  CHECK_FALSE(std::filesystem::exists(weights));
}
