#include <fmt/core.h>

#include <array>

#include "core/listed.hpp"
#include "graph/zoo_net.hpp"

namespace splitcnn::inline v0 {

namespace {

struct Network {
  std::string_view name;
  Graph (*build)(const ZooOptions&);
  std::int64_t min_size;  ///< below it a pool or a convolution would have no output
};

constexpr std::array<Network, 12> networks{{
    {"lenet5", zoo_lenet5, 16},
    {"alexnet", zoo_alexnet, 63},
    {"googlenet", zoo_googlenet, 31},
    {"squeezenet1_1", zoo_squeezenet1_1, 25},
    {"mobilenet_v1", zoo_mobilenet_v1, 1},
    {"mobilenet_v2", zoo_mobilenet_v2, 1},
    {"vgg16", zoo_vgg16, 32},
    {"resnet18", zoo_resnet18, 1},
    {"resnet50", zoo_resnet50, 1},
    {"resnet101", zoo_resnet101, 1},
    {"resnet152", zoo_resnet152, 1},
    {"densenet121", zoo_densenet121, 29},
}};
constexpr std::int64_t max_size = 8192;
constexpr int max_classes = 1'000'000;

}  // namespace

std::vector<std::string> Graph::zoo_names() {
  std::vector<std::string> names;
  for (const Network& entry : networks) names.emplace_back(entry.name);
  return names;
}

Graph Graph::zoo(std::string_view name, const ZooOptions& options) {
  for (const Network& entry : networks) {
    if (entry.name != name) continue;
    if (options.input_size != 0 && (options.input_size < entry.min_size || options.input_size > max_size)) {
      throw Error{Errc::bad_argument,
                  fmt::format("zoo {}: input_size {} does not work; use 0 for the usual size, or {} to {}",
                              name, options.input_size, entry.min_size, max_size)};
    }
    if (options.classes < 0 || options.classes > max_classes) {
      throw Error{Errc::bad_argument,
                  fmt::format("zoo {}: {} classes do not work; use 0 for the usual number, or 1 to {}", name,
                              options.classes, max_classes)};
    }
    return entry.build(options);
  }
  throw Error{Errc::bad_argument, fmt::format("zoo: no network is called '{}'; use one of {}", name,
                                              listed(zoo_names()))};
}

}  // namespace splitcnn::inline v0
