#pragma once
/// A small graph with a branch that skips far, a graph output in the middle, and tensors of ranks 4 and 2:
///
///     x -> t0 -> t1 ;  t2 = t0 + t1 -> t3 (output) ;  t4 = t3 + t0 -> t5 (pooled) -> t6 (1x3) -> t7 (output)
///     nodes 0     1         2          3                   4          5              6           7
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splitcnn/plan.hpp"

namespace splitcnn_test {

namespace sc = splitcnn;

inline sc::Graph branching_graph(const std::string& name = "branching") {
  sc::GraphBuilder b{name};
  const auto x = b.input("x", {1, 3, 8, 6});
  const auto t0 = b.add({.op = sc::Op::relu, .name = "n0", .inputs = {x}}, "t0");
  const auto t1 = b.add({.op = sc::Op::relu, .name = "n1", .inputs = {t0}}, "t1");
  const auto t2 = b.add({.op = sc::Op::add, .name = "n2", .inputs = {t0, t1}}, "t2");
  const auto t3 = b.add({.op = sc::Op::relu, .name = "n3", .inputs = {t2}}, "t3");
  const auto t4 = b.add({.op = sc::Op::add, .name = "n4", .inputs = {t3, t0}}, "t4");
  const auto t5 = b.add({.op = sc::Op::global_average_pool, .name = "n5", .inputs = {t4}}, "t5");
  const auto t6 = b.add({.op = sc::Op::reshape, .name = "n6", .inputs = {t5}}, "t6", sc::Shape{1, 3});
  const auto t7 = b.add({.op = sc::Op::softmax, .name = "n7", .inputs = {t6}, .axes = {1}}, "t7");
  b.output(t3);
  b.output(t7);
  return std::move(b).build();
}

/// Fix point 3 + id, so that every tensor's is different.
inline sc::QuantizedGraph quantised(const sc::Graph& graph) {
  std::vector<int> fix_points;
  for (std::size_t i = 0; i < graph.tensors().size(); ++i) fix_points.push_back(3 + static_cast<int>(i));
  return {graph, fix_points, {}};
}

/// Devices and where each one ends: {{"dpu:0", 3}, {"gpu:0", 8}}.
inline sc::Route route(const std::vector<std::pair<std::string, sc::NodeId>>& pieces, double weight = 1) {
  sc::Route r{.weight = weight};
  sc::NodeId first = 0;
  for (const auto& [device, last] : pieces) {
    r.segments.push_back({.device = device,
                          .first = first,
                          .last = last,
                          .first_unit = static_cast<int>(first),
                          .last_unit = static_cast<int>(last)});
    first = last;
  }
  return r;
}

template <class F>
sc::Errc code_of(F&& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const sc::Error& e) {
    if (message) *message = e.what();
    return e.code();
  }
  return sc::Errc::ok;
}

}  // namespace splitcnn_test
