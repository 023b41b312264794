// Fix points, equalisation, rounding, and the calibration file.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/json_file.hpp"
#include "dpu/soft/executor.hpp"
#include "quant/equalise.hpp"
#include "quant/fix_point.hpp"
#include "quant/rounding.hpp"
#include "splitcnn/quantizer.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
namespace fs = std::filesystem;

namespace {

/// A file that goes away.
struct TemporaryFile {
  splitcnn_test::TemporaryFolder folder;
  fs::path path = folder / "quant.json";
};

/// conv + bn + relu6 -> depthwise + relu6 -> conv, with channels of very different size in the middle.
Graph uneven() {
  GraphBuilder b{"uneven"};
  std::mt19937_64 random{3};
  std::normal_distribution<float> normal;
  const auto constant = [&](const char* name, const Shape& shape, float scale) {
    std::vector<float> v(static_cast<std::size_t>(shape.elements()));
    for (float& x : v) x = normal(random) * scale;
    return b.constant(name, shape, std::move(v));
  };
  std::vector<float> gamma, ones(16, 1.0f), zeros(16, 0.0f), wild;
  for (int c = 0; c < 16; ++c) gamma.push_back(std::exp2(static_cast<float>(c % 8) - 6));
  for (int c = 0; c < 16; ++c) {
    for (int k = 0; k < 9; ++k) wild.push_back(normal(random) / gamma[static_cast<std::size_t>(c)] / 3);
  }
  TensorId x = b.input("x", {1, 3, 16, 16});
  x = b.add({.op = Op::conv, .name = "first", .inputs = {x, constant("w1", {16, 3, 1, 1}, 0.5f)}}, "a");
  x = b.add({.op = Op::batch_norm, .name = "norm", .inputs = {x, b.constant("g", {16}, gamma), b.constant("b", {16}, zeros), b.constant("m", {16}, zeros), b.constant("v", {16}, ones)}}, "n");
  x = b.add({.op = Op::clip, .name = "clip1", .inputs = {x}, .alpha = 0, .beta = 6}, "c1");
  x = b.add({.op = Op::conv, .name = "depthwise", .inputs = {x, b.constant("w2", {16, 1, 3, 3}, wild)},
             .window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, .groups = 16}, "d");
  x = b.add({.op = Op::clip, .name = "clip2", .inputs = {x}, .alpha = 0, .beta = 6}, "c2");
  x = b.add({.op = Op::conv, .name = "last", .inputs = {x, constant("w3", {8, 16, 1, 1}, 0.3f)}}, "y");
  b.output(x);
  return std::move(b).build();
}

std::vector<Tensor> noise(const Shape& shape, std::size_t count, unsigned long long seed) {
  std::mt19937_64 random{seed};
  std::normal_distribution<float> normal;
  std::vector<Tensor> frames;
  for (std::size_t i = 0; i < count; ++i) {
    Tensor t{{.name = "x", .shape = shape}};
    for (float& v : t.as<float>()) v = normal(random);
    frames.push_back(std::move(t));
  }
  return frames;
}

Errc error_of(auto&& f) {
  try {
    f();
  } catch (const Error& e) {
    INFO(e.what());
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("constants round half away from zero and saturate", "[quant]") {
  const std::vector<float> values{0.5f, -0.5f, 1.5f, -1.5f, 0.49f, 200.0f, -200.0f};
  std::vector<std::int8_t> bytes(values.size());
  quantise_half_away(values, 0, bytes);
  CHECK(bytes == std::vector<std::int8_t>{1, -1, 2, -2, 0, 127, -128});
  quantise_half_away(values, 2, bytes);
  CHECK(bytes[0] == 2);
}

TEST_CASE("fix points have the least round-trip error", "[quant]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int round = 0; round < 50; ++round) {
    std::normal_distribution<float> normal{0, std::exp2(std::uniform_real_distribution<float>{-8, 8}(random))};
    std::vector<float> values(500);
    for (float& v : values) v = normal(random);
    const auto error = [&](int fp, bool half_up) {
      double sum = 0;
      for (const float v : values) {
        const double x = std::ldexp(static_cast<double>(v), fp);
        const double q = std::clamp(half_up ? std::floor(x + 0.5) : std::round(x), -128.0, 127.0);
        sum += std::pow(v - std::ldexp(q, -fp), 2);
      }
      return sum;
    };
    const int weight = choose_weight_fix_point(values, -30, 30);
    ErrorTable table;
    table.add(values);
    const int activation = table.best();
    for (int fp = -14; fp <= 18; ++fp) {
      CHECK(error(weight, false) <= error(fp, false) * 1.0001);
      CHECK(error(activation, true) <= error(fp, true) * 1.0001);
    }
  }
  ErrorTable zeros;
  zeros.add(std::vector<float>(10, 0.0f));
  CHECK(zeros.best(4, 10, 0) == 4);
  CHECK(choose_weight_fix_point(std::vector<float>{3.0f}, -5, 5) == 4);   // exact; the smaller of equals
  CHECK(choose_weight_fix_point(std::vector<float>{3.0f}, -5, 2) == 2);   // the bound holds
}

TEST_CASE("equalised weights compute the same network", "[quant]") {
  const Graph graph = uneven();
  const auto ops = lower(graph, 0, static_cast<NodeId>(graph.nodes().size())).ops;
  const auto groups = find_groups(graph, ops);
  REQUIRE(groups.size() == 2);
  const std::vector<std::vector<std::vector<float>>> ranges{{std::vector<float>(16, 3.0f)}, {std::vector<float>(16, 7.0f)}};
  const auto scales = equalise(ops, groups, ranges);
  REQUIRE(scales.size() == 2);
  for (const float f : scales[1].factors) CHECK(f == Approx(127.0 / 32 / 6));  // the clip bites: 6 becomes the top of the byte
  for (const float f : scales[0].factors) CHECK(f <= 127.0f / 32 / 3 * 1.001f);
  // Depthwise, one tap: in / s0 times weight * s1 / s0 ... equals s1 times the original.
  std::vector<float> weights = ops[1].weights, bias = ops[1].bias;
  scale_channels(ops[1], &scales[0], &scales[1], weights, bias);
  for (std::size_t c = 0; c < 16; ++c) {
    CHECK(weights[c * 9] == Approx(ops[1].weights[c * 9] * scales[1].factors[c] / scales[0].factors[c]));
  }
}

TEST_CASE("rounding keeps the mean of the output", "[quant]") {
  LoweredOp op;
  op.op = Op::conv;
  op.in_channels = 64, op.out_channels = 8;
  std::mt19937_64 random{splitcnn_test::seed()};
  std::normal_distribution<float> normal;
  op.weights.resize(512), op.bias.resize(8);
  for (float& w : op.weights) w = normal(random);
  for (float& b : op.bias) b = 10 * normal(random);
  const WeightQuant q{.weight_fix_point = 4, .bias_fix_point = 1};
  ChannelMoments moments{.tensor = 0, .mean = std::vector<float>(64, 0.7f), .variance = std::vector<float>(64, 0.3f)};
  const auto plain = round_weights(op, q, nullptr, nullptr, nullptr), tuned = round_weights(op, q, nullptr, nullptr, &moments);
  const auto mean_error = [&](const WeightBytes& b, std::size_t o) {
    double e = std::ldexp(b.bias[o], -1) - static_cast<double>(op.bias[o]);
    for (std::size_t i = 0; i < 64; ++i) e += 0.7 * (std::ldexp(b.weights[o * 64 + i], -4) - static_cast<double>(op.weights[o * 64 + i]));
    return std::abs(e);
  };
  double before = 0, after = 0;
  for (std::size_t o = 0; o < 8; ++o) {
    before += mean_error(plain, o);
    after += mean_error(tuned, o);
    for (std::size_t i = 0; i < 64; ++i) CHECK(std::abs(tuned.weights[o * 64 + i] - plain.weights[o * 64 + i]) <= 1);
  }
  CHECK(after < before / 3);
}

TEST_CASE("calibration covers every cut", "[quant]") {
  const Graph graph = uneven();
  const QuantizedGraph quant = Quantizer{}.calibrate(graph, noise({1, 3, 16, 16}, 4, 1));
  CHECK_FALSE(quant.synthetic());
  CHECK(quant.fix_point(*graph.find_tensor("c1")) >= 4);  // ReLU6
  for (NodeId first = 0; first < graph.nodes().size(); ++first) {
    for (NodeId last = first + 1; last <= graph.nodes().size(); ++last) CHECK_NOTHROW(DpuExecutor(quant, first, last));
  }
  CHECK(error_of([&] { (void)quant.weight(0, 5); }) == Errc::mismatch);
  CHECK(error_of([&] { (void)Quantizer{}.calibrate(graph, {}); }) == Errc::bad_argument);
  CHECK(error_of([&] { (void)Quantizer{}.calibrate(graph, noise({1, 3, 8, 8}, 1, 1)); }) == Errc::mismatch);
  auto poisoned = noise({1, 3, 16, 16}, 1, 1);
  poisoned[0].as<float>()[5] = std::nanf("");
  CHECK(error_of([&] { (void)Quantizer{}.calibrate(graph, poisoned); }) == Errc::bad_model);
  std::size_t calls = 0;
  (void)Quantizer{{.max_frames = 2, .progress = [&](std::size_t done, std::size_t all) { ++calls; CHECK(done <= all); }}}.calibrate(graph, noise({1, 3, 16, 16}, 4, 1));
  CHECK(calls >= 2);
}

TEST_CASE("calibration files come back as they were", "[quant]") {
  const Graph graph = uneven();
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 2);
  CHECK(quant.synthetic());
  TemporaryFile file;
  write_json(file.path, {{"labels", {"cat", "dog"}}});
  quant.save(file.path);
  const QuantizedGraph again = QuantizedGraph::load(graph, file.path);
  CHECK(std::equal(quant.weights().begin(), quant.weights().end(), again.weights().begin(), again.weights().end()));
  CHECK(std::equal(quant.channel_scales().begin(), quant.channel_scales().end(), again.channel_scales().begin(), again.channel_scales().end()));
  CHECK(std::equal(quant.moments().begin(), quant.moments().end(), again.moments().begin(), again.moments().end()));
  CHECK(again.synthetic());
  for (TensorId t = 0; t < graph.tensors().size(); ++t) CHECK((graph.tensor(t).constant || quant.fix_point(t) == again.fix_point(t)));
  CHECK(read_json(file.path).at("labels").size() == 2);  // other parts stay
}

TEST_CASE("bad calibration files are refused by name", "[quant]") {
  const Graph graph = uneven();
  TemporaryFile file;
  CHECK(error_of([&] { (void)QuantizedGraph::load(graph, file.path); }) == Errc::io);
  Quantizer{}.calibrate_synthetic(graph, 1).save(file.path);
  const nlohmann::json good = read_json(file.path);
  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer{pointer}] = value;
    write_json(file.path, bad);
    return error_of([&] { (void)QuantizedGraph::load(graph, file.path); });
  };
  CHECK(with("/calibration/format", "something") == Errc::bad_file);
  CHECK(with("/calibration/version", 99) == Errc::bad_file);
  CHECK(with("/calibration/graph_hash", "0123456789abcdef") == Errc::mismatch);
  CHECK(with("/calibration/fix_points", 5) == Errc::bad_file);
  CHECK(with("/calibration/fix_points/x", 1000) == Errc::bad_file);
  CHECK(with("/calibration/fix_points/x", "four") == Errc::bad_file);
  CHECK(with("/calibration/weights", 1) == Errc::bad_file);
  CHECK(with("/calibration/weights/0/node", "nobody") == Errc::bad_file);
  CHECK(with("/calibration/weights/0/equalised", nlohmann::json::array()) == Errc::bad_file);
  CHECK(with("/calibration/equalisation/0/factors", nlohmann::json::array({1})) == Errc::bad_file);
  CHECK(with("/calibration/equalisation/0/factors/0", 0) == Errc::bad_file);
  CHECK(with("/calibration/moments/0/variance/0", -1) == Errc::bad_file);
  CHECK(with("/calibration", nullptr) == Errc::bad_file);
  std::ofstream{file.path} << "{ not json";
  CHECK(error_of([&] { (void)QuantizedGraph::load(graph, file.path); }) == Errc::bad_file);
}
