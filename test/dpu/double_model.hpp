#pragma once
/// The models of the tests' double of VART: a text file instead of an xmodel, so that no VART is needed to
/// make one.
///
///     small 0 4 6             network, first node, node behind the last, batch
///     abort 20                a fault at the 20th batch of a process (the golden frame is the first): abort,
///     kill, stop, exit, hang, garbage,
///                             scribble (over the shared memory), cut, fail
///     once /tmp/x             faults happen only while this file exists, and it is removed by the first
///     slow_start 100          milliseconds before the model is open
///     delay 5                 milliseconds per batch
///     wrong scaled            the result is not what it should be: scaled, shifted, transposed, other,
///     fix_point refuse unsupported      opening fails with an Error; die_opening: ends the process as VART
///     does
#include <filesystem>
#include <fstream>
#include <string>

#include "splitcnn/quantizer.hpp"

namespace splitcnn_test {

/// Two convolutions, a pool, an add; or a network of the zoo ("zoo:lenet5").
inline splitcnn::QuantizedGraph double_network(const std::string& name) {
  namespace sc = splitcnn;
  if (name.starts_with("zoo:"))
    return sc::Quantizer{}.calibrate_synthetic(
        sc::Graph::zoo(name.substr(4), {.input_size = name == "zoo:lenet5" ? 0 : 32}), 1);
  const auto ramp = [](std::size_t n) {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i * 7 % 11) * 0.1f - 0.5f;
    return values;
  };
  const sc::Window window{
      .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  sc::GraphBuilder b{"small"};
  const auto x = b.input("x", {1, 3, 8, 6});
  const auto c = b.add({.op = sc::Op::conv,
                        .name = "conv",
                        .inputs = {x, b.constant("w", {4, 3, 3, 3}, ramp(108))},
                        .window = window},
                       "c");
  const auto r = b.add({.op = sc::Op::relu, .name = "relu", .inputs = {c}}, "r");
  const auto d = b.add({.op = sc::Op::conv,
                        .name = "conv2",
                        .inputs = {r, b.constant("v", {4, 4, 3, 3}, ramp(144))},
                        .window = window},
                       "d");
  const auto s = b.add({.op = sc::Op::add, .name = "sum", .inputs = {d, r}}, "s");
  b.output(b.add({.op = sc::Op::relu, .name = "last", .inputs = {s}}, "y"));
  return sc::Quantizer{}.calibrate_synthetic(std::move(b).build(), 2);
}

}  // namespace splitcnn_test
