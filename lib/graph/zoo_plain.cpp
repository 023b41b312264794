/// Networks without residual connections: LeNet-5, AlexNet, VGG16, SqueezeNet 1.1.
#include <fmt/core.h>

#include <array>

#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

Graph zoo_lenet5(const ZooOptions& options) {
  ZooNet net{"lenet5", options, {.channels = 1, .size = 32, .classes = 10}};
  TensorId x =
      net.relu("relu1", net.conv("conv1", net.image(), {.out = 6, .kernel = 5, .bias = true, .gain = 1}));
  x = net.max_pool("pool1", x, 2, 2);
  x = net.relu("relu2", net.conv("conv2", x, {.out = 16, .kernel = 5, .bias = true}));
  x = net.flatten("flatten", net.max_pool("pool2", x, 2, 2));
  x = net.relu("relu3", net.linear("fc1", x, 120, 2));
  x = net.relu("relu4", net.linear("fc2", x, 84, 2));
  const TensorId logits = net.linear("fc3", x, net.classes());
  return std::move(net).finish(logits);
}

Graph zoo_alexnet(const ZooOptions& options) {
  ZooNet net{"alexnet", options, {}};
  int child = 0;
  const auto feature = [&] { return fmt::format("features.{}", child++); };
  TensorId x = net.image();
  const auto conv_relu = [&](const ZooConv& conv) {
    x = net.conv(feature(), x, conv);
    x = net.relu(feature(), x);
  };
  conv_relu({.out = 64, .kernel = 11, .stride = 4, .pad = 2, .bias = true, .gain = 1});
  x = net.max_pool(feature(), x, 3, 2);
  conv_relu({.out = 192, .kernel = 5, .pad = 2, .bias = true});
  x = net.max_pool(feature(), x, 3, 2);
  conv_relu({.out = 384, .kernel = 3, .pad = 1, .bias = true});
  conv_relu({.out = 256, .kernel = 3, .pad = 1, .bias = true});
  conv_relu({.out = 256, .kernel = 3, .pad = 1, .bias = true});
  x = net.max_pool(feature(), x, 3, 2);

  x = net.flatten("flatten", net.adaptive_average_pool("avgpool", x, 6));
  x = net.linear("classifier.1", net.dropout("classifier.0", x), 4096, 2);
  x = net.relu("classifier.2", x);
  x = net.linear("classifier.4", net.dropout("classifier.3", x), 4096, 2);
  x = net.relu("classifier.5", x);
  const TensorId logits = net.linear("classifier.6", x, net.classes());
  return std::move(net).finish(logits);
}

Graph zoo_vgg16(const ZooOptions& options) {
  constexpr std::array<int, 18> plan{64, 64,  0,   128, 128, 0,   256, 256, 256,
                                     0,  512, 512, 512, 0,   512, 512, 512, 0};  // 0 = pool
  ZooNet net{"vgg16", options, {}};
  int child = 0;
  const auto feature = [&] { return fmt::format("features.{}", child++); };
  TensorId x = net.image();
  for (const int channels : plan) {
    if (channels == 0) {
      x = net.max_pool(feature(), x, 2, 2);
      continue;
    }
    x = net.conv(feature(), x,
                 {.out = channels, .kernel = 3, .pad = 1, .bias = true, .gain = child == 0 ? 1.0 : 2.0});
    x = net.relu(feature(), x);
  }
  x = net.flatten("flatten", net.adaptive_average_pool("avgpool", x, 7));
  x = net.relu("classifier.1", net.linear("classifier.0", x, 4096, 2));
  x = net.dropout("classifier.2", x);
  x = net.relu("classifier.4", net.linear("classifier.3", x, 4096, 2));
  x = net.dropout("classifier.5", x);
  const TensorId logits = net.linear("classifier.6", x, net.classes());
  return std::move(net).finish(logits);
}

namespace {

TensorId fire(ZooNet& net, int child, TensorId x, int squeeze, int expand) {
  const std::string name = fmt::format("features.{}", child);
  net.module(name);
  x = net.conv(name + ".squeeze", x, {.out = squeeze, .bias = true});
  x = net.relu(name + ".squeeze_activation", x);
  TensorId one = net.conv(name + ".expand1x1", x, {.out = expand, .bias = true});
  one = net.relu(name + ".expand1x1_activation", one);
  TensorId three = net.conv(name + ".expand3x3", x, {.out = expand, .kernel = 3, .pad = 1, .bias = true});
  three = net.relu(name + ".expand3x3_activation", three);
  x = net.concat(name + ".concat", {one, three});
  net.module("");
  return x;
}

}  // namespace

Graph zoo_squeezenet1_1(const ZooOptions& options) {
  ZooNet net{"squeezenet1_1", options, {}};
  TensorId x =
      net.conv("features.0", net.image(), {.out = 64, .kernel = 3, .stride = 2, .bias = true, .gain = 1});
  x = net.max_pool("features.2", net.relu("features.1", x), 3, 2, 0, true);
  x = fire(net, 3, x, 16, 64);
  x = fire(net, 4, x, 16, 64);
  x = net.max_pool("features.5", x, 3, 2, 0, true);
  x = fire(net, 6, x, 32, 128);
  x = fire(net, 7, x, 32, 128);
  x = net.max_pool("features.8", x, 3, 2, 0, true);
  x = fire(net, 9, x, 48, 192);
  x = fire(net, 10, x, 48, 192);
  x = fire(net, 11, x, 64, 256);
  x = fire(net, 12, x, 64, 256);
  x = net.dropout("classifier.0", x);
  x = net.conv("classifier.1", x, {.out = net.classes(), .bias = true, .gain = 1});
  x = net.global_average_pool("classifier.3", net.relu("classifier.2", x));
  const TensorId logits = net.flatten("flatten", x);
  return std::move(net).finish(logits);
}

}  // namespace splitcnn::inline v0
