#include <fmt/core.h>

#include <array>

#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

namespace {

TensorId conv_bn(ZooNet& net, const std::string& conv, const std::string& bn, TensorId x,
                 const ZooConv& shape, double gamma = 1) {
  return net.batch_norm(bn, net.conv(conv, x, shape), gamma);
}

}  // namespace

/// The paper's network (width 1): torchvision has none, so a module is one depthwise-separable layer.
Graph zoo_mobilenet_v1(const ZooOptions& options) {
  struct Layer {
    int out, stride;
  };
  constexpr std::array<Layer, 13> layers{{{64, 1},
                                          {128, 2},
                                          {128, 1},
                                          {256, 2},
                                          {256, 1},
                                          {512, 2},
                                          {512, 1},
                                          {512, 1},
                                          {512, 1},
                                          {512, 1},
                                          {512, 1},
                                          {1024, 2},
                                          {1024, 1}}};
  ZooNet net{"mobilenet_v1", options, {}};
  net.module("features.0");
  TensorId x = conv_bn(net, "features.0.0", "features.0.1", net.image(),
                       {.out = 32, .kernel = 3, .stride = 2, .pad = 1, .gain = 1});
  x = net.relu("features.0.2", x);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string name = fmt::format("features.{}", i + 1);
    net.module(name);
    const auto in = static_cast<int>(net.shape(x)[1]);
    x = conv_bn(net, name + ".0", name + ".1", x,
                {.out = in, .kernel = 3, .stride = layers[i].stride, .pad = 1, .groups = in});
    x = net.relu(name + ".2", x);
    x = conv_bn(net, name + ".3", name + ".4", x, {.out = layers[i].out});
    x = net.relu(name + ".5", x);
  }
  net.module("");
  x = net.flatten("flatten", net.global_average_pool("avgpool", x));
  const TensorId logits = net.linear("fc", x, net.classes());
  return std::move(net).finish(logits);
}

namespace {

TensorId inverted_residual_block(ZooNet& net, const std::string& name, TensorId x, int out, int stride,
                           int expand) {
  net.module(name);
  const auto in = static_cast<int>(net.shape(x)[1]);
  const bool skip = stride == 1 && in == out;
  TensorId y = x;
  int child = 0;
  const auto conv_bn_relu6 = [&](const ZooConv& shape) {
    const std::string part = fmt::format("{}.conv.{}", name, child++);
    y = conv_bn(net, part + ".0", part + ".1", y, shape);
    y = net.relu6(part + ".2", y);
  };
  if (expand != 1) conv_bn_relu6({.out = in * expand, .gain = 1});
  conv_bn_relu6({.out = in * expand, .kernel = 3, .stride = stride, .pad = 1, .groups = in * expand});
  y = conv_bn(net, fmt::format("{}.conv.{}", name, child), fmt::format("{}.conv.{}", name, child + 1), y,
              {.out = out}, skip ? 0.3 : 1);
  return skip ? net.add(name + ".add", x, y) : y;
}

}  // namespace

Graph zoo_mobilenet_v2(const ZooOptions& options) {
  struct Stage {
    int expand, out, repeats, stride;
  };
  constexpr std::array<Stage, 7> stages{{{1, 16, 1, 1},
                                         {6, 24, 2, 2},
                                         {6, 32, 3, 2},
                                         {6, 64, 4, 2},
                                         {6, 96, 3, 1},
                                         {6, 160, 3, 2},
                                         {6, 320, 1, 1}}};
  ZooNet net{"mobilenet_v2", options, {}};
  net.module("features.0");
  TensorId x = conv_bn(net, "features.0.0", "features.0.1", net.image(),
                       {.out = 32, .kernel = 3, .stride = 2, .pad = 1, .gain = 1});
  x = net.relu6("features.0.2", x);
  int child = 1;
  for (const Stage& stage : stages) {
    for (int i = 0; i < stage.repeats; ++i) {
      x = inverted_residual_block(net, fmt::format("features.{}", child++), x, stage.out, i == 0 ? stage.stride : 1,
                            stage.expand);
    }
  }
  net.module("features.18");
  x = conv_bn(net, "features.18.0", "features.18.1", x, {.out = 1280, .gain = 1});
  x = net.relu6("features.18.2", x);
  net.module("");
  x = net.flatten("flatten", net.global_average_pool("avgpool", x));
  const TensorId logits = net.linear("classifier.1", net.dropout("classifier.0", x), net.classes());
  return std::move(net).finish(logits);
}

}  // namespace splitcnn::inline v0
