#include "graph/shape_inference.hpp"

#include <random>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// The number of window positions by walking, the slow obvious way.
std::int64_t count_windows(std::int64_t size, int kernel, int stride, int dilation, int before, int after, bool ceil_mode) {
  const std::int64_t extent = std::int64_t{dilation} * (kernel - 1) + 1;
  std::int64_t count = 0;
  for (std::int64_t start = -before;; start += stride) {
    const bool whole = start + extent <= size + after;
    const bool partial = ceil_mode && count > 0 && start < size && start - stride + extent < size + after;
    if (!whole && !partial) return count;
    ++count;
  }
}

Shape one(Node node, std::vector<Shape> inputs, std::vector<Shape> given = {}) { return infer_shapes(node, inputs, given).front(); }

}  // namespace

TEST_CASE("window_output equals walking over the positions") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int i = 0; i < 20'000; ++i) {
    const auto draw = [&](int low, int high) { return std::uniform_int_distribution{low, high}(random); };
    const int size = draw(1, 20), kernel = draw(1, 6), stride = draw(1, 5), dilation = draw(1, 3);
    const int before = draw(0, kernel - 1), after = draw(0, kernel - 1);
    const bool ceil_mode = draw(0, 1) == 1;
    INFO(size << " k" << kernel << " s" << stride << " d" << dilation << " p" << before << "," << after << " ceil " << ceil_mode);
    REQUIRE(window_output(size, kernel, stride, dilation, before, after, ceil_mode) ==
            count_windows(size, kernel, stride, dilation, before, after, ceil_mode));
  }
}

TEST_CASE("broadcast follows numpy") {
  CHECK(broadcast({2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast({}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast({1}, {1}) == Shape{1});
  CHECK_FALSE(broadcast({2, 3}, {2}));
}

TEST_CASE("shapes of the operators") {
  Node conv{.op = Op::conv};
  conv.window = {.kernel_h = 3, .kernel_w = 5, .stride_h = 2, .stride_w = 1, .pad_top = 1, .pad_bottom = 0};
  conv.groups = 2;
  CHECK(one(conv, {{2, 4, 9, 11}, {6, 2, 3, 5}, {6}}) == Shape{2, 6, 4, 7});
  CHECK(one({.op = Op::gemm, .transpose_b = true}, {{1, 7}, {3, 7}, {3}}) == Shape{1, 3});
  CHECK(one({.op = Op::matmul}, {{5, 1, 2, 3}, {4, 3, 6}}) == Shape{5, 4, 2, 6});
  CHECK(one({.op = Op::concat, .axes = {1}}, {{1, 2, 3}, {1, 5, 3}}) == Shape{1, 7, 3});
  CHECK(one({.op = Op::slice, .begins = {0, 9}, .ends = {1, -1}, .steps = {1, -2}}, {{1, 10}}) == Shape{1, 5});
  CHECK(one({.op = Op::pad, .begins = {0, 1}, .ends = {0, 2}}, {{1, 4}}) == Shape{1, 7});
  CHECK(one({.op = Op::gather, .axes = {1}, .begins = {2, 0}}, {{1, 4, 5}}) == Shape{1, 2, 5});
  CHECK(one({.op = Op::gather, .axes = {1}, .begins = {2}}, {{1, 4, 5}}, {{1, 5}}) == Shape{1, 5});
  CHECK(one({.op = Op::transpose, .axes = {0, 2, 3, 1}}, {{1, 2, 3, 4}}) == Shape{1, 3, 4, 2});
  CHECK(one({.op = Op::reduce_mean, .axes = {2, 3}}, {{1, 8, 3, 3}}, {{1, 8}}) == Shape{1, 8});
  CHECK(one({.op = Op::resize, .scales = {1, 1, 2, 1.5f}}, {{1, 3, 5, 5}}) == Shape{1, 3, 10, 7});
  CHECK(infer_shapes({.op = Op::split, .axes = {1}}, std::vector<Shape>{{1, 5}}, std::vector<Shape>{{1, 2}, {1, 3}}).size() == 2);
}

TEST_CASE("shape errors are bad_model and name the node") {
  const auto refuse = [](Node node, std::vector<Shape> inputs, std::vector<Shape> given = {}) {
    node.name = "the_node";
    try {
      (void)infer_shapes(node, inputs, given);
    } catch (const Error& e) {
      return e.code() == Errc::bad_model && std::string{e.what()}.find("the_node") != std::string::npos;
    }
    return false;
  };
  Node big{.op = Op::max_pool};
  big.window.kernel_h = 9;
  CHECK(refuse(big, {{1, 1, 4, 4}}));
  Node negative{.op = Op::max_pool};
  negative.window.pad_left = -1;
  CHECK(refuse(negative, {{1, 1, 4, 4}}));
  CHECK(refuse({.op = Op::add}, {{2, 3}, {4}}));
  CHECK(refuse({.op = Op::concat, .axes = {2}}, {{1, 2}, {1, 2}}));
  CHECK(refuse({.op = Op::slice, .begins = {0}, .ends = {4}, .steps = {0}}, {{4}}));
  CHECK(refuse({.op = Op::slice, .begins = {0}, .ends = {5}, .steps = {1}}, {{4}}));
  CHECK(refuse({.op = Op::transpose, .axes = {0, 0}}, {{1, 2}}));
  CHECK(refuse({.op = Op::gather, .axes = {0}, .begins = {7}}, {{3}}));
  CHECK(refuse({.op = Op::reshape}, {{4}}));
  CHECK(refuse({.op = Op::split, .axes = {0}}, {{4}}, {{1}, {2}}));
  CHECK(refuse({.op = Op::pad, .begins = {std::int64_t{1} << 62}, .ends = {0}}, {{4}}));
  CHECK(refuse({.op = Op::matmul}, {{1 << 30, 4}, {4, 1 << 30}}));
  CHECK(refuse({.op = Op::relu}, {{1}, {1}}));
}
