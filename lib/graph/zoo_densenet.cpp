/// DenseNet121 as torchvision builds it, with one difference that changes no value: a layer's new channels
/// are appended to what it read, where torchvision joins all earlier outputs anew. So one tensor crosses
/// between two layers.
#include <fmt/core.h>

#include <array>

#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr int growth = 32;
constexpr int bottleneck = 4 * growth;

TensorId norm_relu(ZooNet& net, const std::string& prefix, const std::string& number, TensorId x) {
  x = net.batch_norm(prefix + "norm" + number, x);
  return net.relu(prefix + "relu" + number, x);
}

TensorId dense_layer(ZooNet& net, const std::string& name, TensorId x) {
  net.module(name);
  TensorId y = norm_relu(net, name + ".", "1", x);
  y = net.conv(name + ".conv1", y, {.out = bottleneck});
  y = norm_relu(net, name + ".", "2", y);
  y = net.conv(name + ".conv2", y, {.out = growth, .kernel = 3, .pad = 1});
  return net.concat(name + ".concat", {x, y});
}

TensorId transition(ZooNet& net, const std::string& name, TensorId x) {
  net.module(name);
  x = norm_relu(net, name + ".", "", x);
  x = net.conv(name + ".conv", x, {.out = static_cast<int>(net.shape(x)[1]) / 2});
  return net.average_pool(name + ".pool", x, 2, 2);
}

}  // namespace

Graph zoo_densenet121(const ZooOptions& options) {
  ZooNet net{"densenet121", options, {}};
  TensorId x =
      net.conv("features.conv0", net.image(), {.out = 64, .kernel = 7, .stride = 2, .pad = 3, .gain = 1});
  x = norm_relu(net, "features.", "0", x);
  x = net.max_pool("features.pool0", x, 3, 2, 1);
  constexpr std::array layers{6, 12, 24, 16};
  for (std::size_t block = 0; block < layers.size(); ++block) {
    for (int i = 1; i <= layers[block]; ++i)
      x = dense_layer(net, fmt::format("features.denseblock{}.denselayer{}", block + 1, i), x);
    if (block + 1 < layers.size()) x = transition(net, fmt::format("features.transition{}", block + 1), x);
  }
  net.module("");
  x = net.relu("relu", net.batch_norm("features.norm5", x));
  x = net.flatten("flatten", net.global_average_pool("avgpool", x));
  const TensorId logits = net.linear("classifier", x, net.classes());
  return std::move(net).finish(logits);
}

}  // namespace splitcnn::inline v0
