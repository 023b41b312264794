/// GoogLeNet as torchvision builds it: batch-normalised convolutions, no auxiliary classifiers.
#include <array>

#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

namespace {

TensorId conv_bn_relu(ZooNet& net, const std::string& name, TensorId x, const ZooConv& conv) {
  x = net.conv(name + ".conv", x, conv);
  x = net.batch_norm(name + ".bn", x, 1, 1e-3f);
  return net.relu(name + ".relu", x);
}

struct Inception {
  int one, reduce3, three, reduce5, five, pool;
};

// The branch the paper gives a 5x5 kernel has 3x3 here, as in torchvision's trained weights.
TensorId inception(ZooNet& net, const std::string& name, TensorId x, const Inception& c) {
  net.module(name);
  const TensorId one = conv_bn_relu(net, name + ".branch1", x, {.out = c.one});
  TensorId three = conv_bn_relu(net, name + ".branch2.0", x, {.out = c.reduce3});
  three = conv_bn_relu(net, name + ".branch2.1", three, {.out = c.three, .kernel = 3, .pad = 1});
  TensorId five = conv_bn_relu(net, name + ".branch3.0", x, {.out = c.reduce5});
  five = conv_bn_relu(net, name + ".branch3.1", five, {.out = c.five, .kernel = 3, .pad = 1});
  TensorId pool = net.max_pool(name + ".branch4.0", x, 3, 1, 1, true);
  pool = conv_bn_relu(net, name + ".branch4.1", pool, {.out = c.pool});
  x = net.concat(name + ".concat", {one, three, five, pool});
  net.module("");
  return x;
}

}  // namespace

Graph zoo_googlenet(const ZooOptions& options) {
  ZooNet net{"googlenet", options, {}};
  const auto stem = [&](const std::string& name, TensorId x, const ZooConv& conv) {
    net.module(name);
    x = conv_bn_relu(net, name, x, conv);
    net.module("");
    return x;
  };
  TensorId x = stem("conv1", net.image(), {.out = 64, .kernel = 7, .stride = 2, .pad = 3, .gain = 1});
  x = net.max_pool("maxpool1", x, 3, 2, 0, true);
  x = stem("conv2", x, {.out = 64});
  x = stem("conv3", x, {.out = 192, .kernel = 3, .pad = 1});
  x = net.max_pool("maxpool2", x, 3, 2, 0, true);
  x = inception(net, "inception3a", x, {64, 96, 128, 16, 32, 32});
  x = inception(net, "inception3b", x, {128, 128, 192, 32, 96, 64});
  x = net.max_pool("maxpool3", x, 3, 2, 0, true);
  x = inception(net, "inception4a", x, {192, 96, 208, 16, 48, 64});
  x = inception(net, "inception4b", x, {160, 112, 224, 24, 64, 64});
  x = inception(net, "inception4c", x, {128, 128, 256, 24, 64, 64});
  x = inception(net, "inception4d", x, {112, 144, 288, 32, 64, 64});
  x = inception(net, "inception4e", x, {256, 160, 320, 32, 128, 128});
  x = net.max_pool("maxpool4", x, 2, 2, 0, true);
  x = inception(net, "inception5a", x, {256, 160, 320, 32, 128, 128});
  x = inception(net, "inception5b", x, {384, 192, 384, 48, 128, 128});
  x = net.flatten("flatten", net.global_average_pool("avgpool", x));
  const TensorId logits = net.linear("fc", net.dropout("dropout", x), net.classes());
  return std::move(net).finish(logits);
}

}  // namespace splitcnn::inline v0
