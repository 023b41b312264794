#pragma once
/// The import of one ONNX model: names to values, nodes in order, problems collected.
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/onnx/const_tensor.hpp"
#include "graph/onnx/external_data.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// What an ONNX tensor name stands for while the graph is being built: a tensor of the graph, a constant, or
/// both.
struct Value {
  std::string name;
  Shape shape;
  pb::TensorProto* initializer = nullptr;  ///< not decoded yet
  std::unique_ptr<ConstTensor> constant;   ///< values known at load
  std::optional<TensorId> id;              ///< in the builder
  int readers = 0;      ///< uses that are still to come: the last one may take the values away
  bool broken = false;  ///< its node was reported: whatever reads it stays silent

  [[nodiscard]] bool is_constant() const noexcept { return initializer != nullptr || constant != nullptr; }
};

class Importer {
 public:
  /// `what` is the file's name for messages. The model is consumed: initialisers are released once decoded.
  Importer(pb::ModelProto& model, std::string what, const LoadOptions& options, ExternalData external);
  Graph run() &&;

  // For NodeContext.
  [[nodiscard]] int opset() const noexcept { return opset_; }
  [[nodiscard]] Value* find(const std::string& name);
  [[nodiscard]] bool has_readers(const std::string& name) const { return readers_.contains(name); }
  /// The values of a constant, decoded on first use.
  const ConstTensor& constant(Value& value);
  [[nodiscard]] static bool is_float(const Value& value);
  /// The value as a tensor of the graph; constants become weights.
  TensorId tensor(Value& value);
  Value& define(std::string name);                     ///< a new value under a model's name
  std::string unused_name(const std::string& wanted);  ///< a name no tensor of the model has
  GraphBuilder& builder() noexcept { return builder_; }
  ElementBudget& budget() noexcept { return budget_; }
  [[nodiscard]] const LoadOptions& options() const noexcept { return options_; }

 private:
  struct Problem {
    Errc code;
    std::string text;
  };

  void check_model() const;
  void declare_initializers();
  void declare_inputs();
  void declare_input(const pb::ValueInfoProto& input);
  void find_producers();
  void select_nodes();
  void check_inputs(int node);
  void sort_nodes();
  void import_node(int node);
  void declare_outputs();
  void report(Errc code, std::string text) { problems_.push_back({code, std::move(text)}); }
  void report_node(int node, Errc code, const std::string& text);
  void break_outputs(int node);
  void throw_problems() const;
  [[nodiscard]] std::string label(int node) const;

  pb::ModelProto& model_;
  pb::GraphProto& graph_;
  std::string what_;
  LoadOptions options_;
  ExternalData external_;
  ElementBudget budget_;
  int opset_ = 0;
  bool has_input_ = false;
  GraphBuilder builder_;
  std::unordered_map<std::string, Value> values_;
  std::unordered_set<std::string> names_;           ///< every tensor name of the model and those made up
  std::unordered_map<std::string, int> producers_;  ///< tensor name to node index
  std::unordered_set<std::string> input_names_;     ///< graph inputs that are no initialisers
  std::unordered_map<std::string, int> readers_;    ///< uses by wanted nodes and graph outputs
  std::vector<char> wanted_;                        ///< per node: an output of the graph depends on it
  std::vector<int> order_;                          ///< wanted nodes, topological, otherwise as in the file
  std::vector<Problem> problems_;
};

}  // namespace splitcnn::inline v0
