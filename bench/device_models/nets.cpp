#include "device_models/nets.hpp"

#include <fmt/core.h>

#include <array>

namespace {

using namespace splitcnn;

class NetBuilder {
 public:
  NetBuilder(const std::string& name, std::int64_t h, std::int64_t w) : builder_{name} { x = builder_.input("image", {1, 3, h, w}); }

  TensorId conv(TensorId in, std::int64_t out, int kernel, int stride, bool relu = true) {
    const std::int64_t channels = builder_.shape(in)[1];
    const Shape shape{out, channels, kernel, kernel};
    const TensorId weights = builder_.constant(fresh("w"), shape, std::vector<float>(static_cast<std::size_t>(shape.elements())));
    const int before = (kernel - 1) / 2, after = before;
    TensorId y = builder_.add({.op = Op::conv,
                               .inputs = {in, weights},
                               .window = {.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride,
                                          .pad_top = before, .pad_left = before, .pad_bottom = after, .pad_right = after}});
    return relu ? builder_.add({.op = Op::relu, .inputs = {y}}) : y;
  }

  TensorId pool(TensorId in, int kernel, int stride, int pad = 0) {
    return builder_.add({.op = Op::max_pool,
                         .inputs = {in},
                         .window = {.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride,
                                    .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad}});
  }

  TensorId add(TensorId a, TensorId b) {
    const TensorId sum = builder_.add({.op = Op::add, .inputs = {a, b}});
    return builder_.add({.op = Op::relu, .inputs = {sum}});
  }

  TensorId flatten(TensorId in) {
    const Shape flat{1, builder_.shape(in).elements()};
    return builder_.add({.op = Op::reshape, .inputs = {in}}, {}, flat);
  }

  TensorId dense(TensorId in, std::int64_t out) {
    const Shape shape{builder_.shape(in)[1], out};
    const TensorId weights = builder_.constant(fresh("w"), shape, std::vector<float>(static_cast<std::size_t>(shape.elements())));
    return builder_.add({.op = Op::matmul, .inputs = {in, weights}});
  }

  TensorId average(TensorId in) { return builder_.add({.op = Op::global_average_pool, .inputs = {in}}); }
  std::int64_t channels(TensorId id) const { return builder_.shape(id)[1]; }

  Graph finish(TensorId y) {
    builder_.output(y);
    return std::move(builder_).build();
  }

  TensorId x = 0;

 private:
  std::string fresh(const char* prefix) { return fmt::format("{}{}", prefix, count_++); }
  GraphBuilder builder_;
  int count_ = 0;
};

enum class StrideAt { first_block, last_block };

TensorId bottleneck(NetBuilder& net, TensorId x, std::int64_t width, int stride) {
  TensorId y = net.conv(x, width, 1, 1);
  y = net.conv(y, width, 3, stride);
  y = net.conv(y, 4 * width, 1, 1, false);
  TensorId skip = x;
  if (net.channels(x) != 4 * width) {
    skip = net.conv(x, 4 * width, 1, stride, false);
  } else if (stride != 1) {
    skip = net.pool(x, 1, stride);
  }
  return net.add(y, skip);
}

Graph resnet(const std::string& name, const std::array<int, 4>& blocks, StrideAt where, std::int64_t h, std::int64_t w, bool classifier) {
  NetBuilder net{name, h, w};
  TensorId x = net.pool(net.conv(net.x, 64, 7, 2), 3, 2, 1);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    for (int i = 0; i < blocks[stage]; ++i) {
      const bool first = where == StrideAt::first_block && stage > 0 && i == 0;
      const bool last = where == StrideAt::last_block && stage < 3 && i + 1 == blocks[stage];
      x = bottleneck(net, x, std::int64_t{64} << stage, first || last ? 2 : 1);
    }
  }
  x = net.average(x);
  return net.finish(classifier ? net.conv(x, 1000, 1, 1, false) : x);
}

Graph vgg19() {
  NetBuilder net{"vgg19", 224, 224};
  TensorId x = net.x;
  for (const auto& [repeat, out] : {std::pair{2, 64}, {2, 128}, {4, 256}, {4, 512}, {4, 512}}) {
    for (int i = 0; i < repeat; ++i) x = net.conv(x, out, 3, 1);
    x = net.pool(x, 2, 2);
  }
  x = net.dense(net.flatten(x), 4096);
  x = net.dense(x, 4096);
  return net.finish(net.dense(x, 1000));
}

}  // namespace

Graph reference_net(const std::string& name) {
  if (name == "vgg19") return vgg19();
  if (name == "resnet_v1_50") return resnet(name, {3, 4, 6, 3}, StrideAt::last_block, 224, 224, true);
  if (name == "resnet_v1_101") return resnet(name, {3, 4, 23, 3}, StrideAt::last_block, 224, 224, true);
  if (name == "resnet_v1_152") return resnet(name, {3, 8, 36, 3}, StrideAt::last_block, 224, 224, true);
  if (name == "personreid_res50") return resnet(name, {3, 4, 6, 3}, StrideAt::first_block, 256, 128, false);
  return Graph::zoo(name);
}
