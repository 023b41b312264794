#pragma once
/// What the zoo builders share: a GraphBuilder that makes its own seeded weights and names nodes and modules
/// as torchvision does.
///
///     ZooNet net{"lenet5", options, {.channels = 1, .size = 32, .classes = 10}};
///     TensorId x = net.conv("conv1", net.image(), {.out = 6, .kernel = 5, .bias = true});
///     return std::move(net).finish(net.linear("fc", net.flatten("flatten", x), net.classes()));
///
/// A weight depends on the seed and the weight's name alone, is computed with integers and one float
/// multiplication, and so is the same on every machine and with every compiler.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

struct ZooDefaults {
  int channels = 3;
  int size = 224;
  int classes = 1000;
};

struct ZooConv {
  int out = 0;
  int kernel = 1;
  int stride = 1;
  int pad = 0;
  int groups = 1;
  bool bias = false;
  /// Variance of the output over the mean square of the input: 2 behind a ReLU (He), 1 behind a linear layer.
  double gain = 2;
};

class ZooNet {
 public:
  ZooNet(std::string_view name, const ZooOptions& options, const ZooDefaults& defaults);

  [[nodiscard]] TensorId image() const noexcept { return image_; }
  [[nodiscard]] int classes() const noexcept { return classes_; }
  [[nodiscard]] const Shape& shape(TensorId id) const { return builder_.shape(id); }

  /// Nodes added from here on belong to this torchvision child module; with "" each node is a module of its
  /// own name.
  void module(std::string name) { module_ = std::move(name); }

  TensorId conv(const std::string& name, TensorId x, const ZooConv& conv);
  /// `gamma` is the typical scale: below 1 at the end of a residual branch, so that sums do not grow from
  /// block to block.
  TensorId batch_norm(const std::string& name, TensorId x, double gamma = 1, float epsilon = 1e-5f);
  TensorId relu(const std::string& name, TensorId x);
  TensorId relu6(const std::string& name, TensorId x);
  TensorId max_pool(const std::string& name, TensorId x, int kernel, int stride, int pad = 0,
                    bool ceil_mode = false);
  TensorId average_pool(const std::string& name, TensorId x, int kernel, int stride);
  TensorId global_average_pool(const std::string& name, TensorId x);
  /// Down to `size` x `size`. An identity where the map already has that size, or is smaller: then the
  /// classifier behind it shrinks with the map.
  TensorId adaptive_average_pool(const std::string& name, TensorId x, int size);
  TensorId flatten(const std::string& name, TensorId x);
  TensorId dropout(const std::string& name, TensorId x);
  TensorId linear(const std::string& name, TensorId x, int out, double gain = 1);
  TensorId add(const std::string& name, TensorId a, TensorId b);
  TensorId concat(const std::string& name, std::vector<TensorId> parts);

  [[nodiscard]] Graph finish(TensorId logits) &&;

 private:
  TensorId put(Op op, const std::string& name, Node node, std::optional<Shape> shape = {});
  TensorId noise(const std::string& name, const Shape& shape, double center, double deviation);

  GraphBuilder builder_;
  std::uint64_t seed_;
  int classes_;
  std::string module_;
  TensorId image_ = 0;
};

/// `count` values with the given mean and standard deviation, bell-shaped and within 3.5 deviations of the
/// mean.
std::vector<float> zoo_noise(std::uint64_t seed, std::string_view name, std::size_t count, double center,
                             double deviation);

Graph zoo_lenet5(const ZooOptions& options);
Graph zoo_alexnet(const ZooOptions& options);
Graph zoo_vgg16(const ZooOptions& options);
Graph zoo_squeezenet1_1(const ZooOptions& options);
Graph zoo_googlenet(const ZooOptions& options);
Graph zoo_densenet121(const ZooOptions& options);
Graph zoo_mobilenet_v1(const ZooOptions& options);
Graph zoo_mobilenet_v2(const ZooOptions& options);
Graph zoo_resnet18(const ZooOptions& options);
Graph zoo_resnet50(const ZooOptions& options);
Graph zoo_resnet101(const ZooOptions& options);
Graph zoo_resnet152(const ZooOptions& options);

}  // namespace splitcnn::inline v0
