#include <fmt/core.h>

#include <array>

#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

namespace {

// Inference batch norm does not re-normalise, so each block multiplies the energy by 1 + 2 * gamma^2: 7x in
// amplitude over the 50 blocks of ResNet152 with this scale, 10^15 with scale 1.
constexpr double branch_end_gamma = 0.2;

struct Block {
  std::string name;
  int width = 0;  ///< channels inside
  int out = 0;    ///< channels of the sum
  int stride = 1;
  bool bottleneck = false;
};

TensorId block_conv(ZooNet& net, const Block& b, int i, TensorId x, const ZooConv& conv, double gamma = 1) {
  x = net.conv(fmt::format("{}.conv{}", b.name, i), x, conv);
  return net.batch_norm(fmt::format("{}.bn{}", b.name, i), x, gamma);
}

TensorId residual_block(ZooNet& net, const Block& b, TensorId x) {
  net.module(b.name);
  TensorId y;
  if (b.bottleneck) {
    y = net.relu(b.name + ".relu1", block_conv(net, b, 1, x, {.out = b.width}));
    y = net.relu(b.name + ".relu2",
                 block_conv(net, b, 2, y, {.out = b.width, .kernel = 3, .stride = b.stride, .pad = 1}));
    y = block_conv(net, b, 3, y, {.out = b.out}, branch_end_gamma);
  } else {
    y = net.relu(b.name + ".relu1",
                 block_conv(net, b, 1, x, {.out = b.width, .kernel = 3, .stride = b.stride, .pad = 1}));
    y = block_conv(net, b, 2, y, {.out = b.out, .kernel = 3, .pad = 1}, branch_end_gamma);
  }
  TensorId skip = x;
  if (b.stride != 1 || net.shape(x)[1] != b.out) {
    skip = net.conv(b.name + ".downsample.0", x, {.out = b.out, .stride = b.stride});
    skip = net.batch_norm(b.name + ".downsample.1", skip);
  }
  return net.relu(b.name + ".relu", net.add(b.name + ".add", y, skip));
}

Graph resnet(std::string_view name, const ZooOptions& options, const std::array<int, 4>& blocks,
             bool bottleneck) {
  ZooNet net{name, options, {}};
  TensorId x = net.conv("conv1", net.image(), {.out = 64, .kernel = 7, .stride = 2, .pad = 3, .gain = 1});
  x = net.relu("relu", net.batch_norm("bn1", x));
  x = net.max_pool("maxpool", x, 3, 2, 1);
  for (int stage = 0; stage < 4; ++stage) {
    const int width = 64 << stage;
    for (int i = 0; i < blocks[static_cast<std::size_t>(stage)]; ++i) {
      x = residual_block(net,
                         {.name = fmt::format("layer{}.{}", stage + 1, i),
                          .width = width,
                          .out = bottleneck ? 4 * width : width,
                          .stride = stage > 0 && i == 0 ? 2 : 1,
                          .bottleneck = bottleneck},
                         x);
    }
  }
  net.module("");
  x = net.flatten("flatten", net.global_average_pool("avgpool", x));
  const TensorId logits = net.linear("fc", x, net.classes());
  return std::move(net).finish(logits);
}

}  // namespace

Graph zoo_resnet18(const ZooOptions& options) { return resnet("resnet18", options, {2, 2, 2, 2}, false); }
Graph zoo_resnet50(const ZooOptions& options) { return resnet("resnet50", options, {3, 4, 6, 3}, true); }
Graph zoo_resnet101(const ZooOptions& options) { return resnet("resnet101", options, {3, 4, 23, 3}, true); }
Graph zoo_resnet152(const ZooOptions& options) { return resnet("resnet152", options, {3, 8, 36, 3}, true); }

}  // namespace splitcnn::inline v0
