#pragma once
/// The shared contents of a Graph. Written by GraphBuilder, immutable afterwards.
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

struct Graph::Data {
  static constexpr NodeId no_node = ~NodeId{0};

  std::string name;
  std::vector<Node> nodes;
  std::vector<GraphTensor> tensors;
  std::vector<std::shared_ptr<const std::vector<float>>> constants;  // per tensor; null for activations
  std::vector<NodeId> producers;                                     // per tensor; no_node for inputs and constants
  std::vector<std::vector<NodeId>> consumers;                        // per tensor, ascending
  std::vector<TensorId> inputs, outputs;
  std::unordered_map<std::string, TensorId> by_name;
  std::unordered_set<std::string> node_names;
};

}  // namespace splitcnn::inline v0
