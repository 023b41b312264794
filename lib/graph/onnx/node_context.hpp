#pragma once
/// One ONNX node while it is imported: checked access to attributes and inputs, and emission of internal
/// nodes.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/onnx/importer.hpp"

namespace splitcnn::inline v0 {

class NodeContext {
 public:
  NodeContext(Importer& importer, const pb::NodeProto& proto) : importer_{importer}, proto_{proto} {}

  [[nodiscard]] int opset() const noexcept { return importer_.opset(); }
  [[noreturn]] void bad(const std::string& what) const { throw Error{Errc::bad_model, what}; }
  [[noreturn]] void unsupported(const std::string& what) const { throw Error{Errc::unsupported, what}; }

  // Attributes. A wrong type is bad_model.
  [[nodiscard]] bool has_attribute(std::string_view name) const { return attribute(name) != nullptr; }
  [[nodiscard]] std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  [[nodiscard]] bool flag(std::string_view name, bool otherwise) const {
    return integer(name, otherwise) != 0;
  }
  [[nodiscard]] float real(std::string_view name, float otherwise) const;
  [[nodiscard]] std::string text(std::string_view name, std::string_view otherwise) const;
  [[nodiscard]] std::optional<std::vector<std::int64_t>> integers(std::string_view name) const;
  [[nodiscard]] std::optional<std::vector<float>> reals(std::string_view name) const;
  [[nodiscard]] const pb::AttributeProto* attribute(std::string_view name) const;

  // Inputs. Trailing empty names do not count; has() is false for an empty name in between.
  [[nodiscard]] std::size_t inputs() const;
  [[nodiscard]] bool has(std::size_t i) const;
  void expect_inputs(std::size_t least, std::size_t most) const;
  Value& input(std::size_t i);
  [[nodiscard]] const Shape& shape(std::size_t i) { return input(i).shape; }
  [[nodiscard]] bool is_constant(std::size_t i) { return input(i).is_constant(); }
  /// Values of an input that must be constant; `role` names it in the message ("axes").
  const ConstTensor& constant(std::size_t i, const char* role);
  std::vector<std::int64_t> constant_integers(std::size_t i, const char* role);
  float constant_real(std::size_t i, const char* role);
  /// Integers that moved from an attribute to an input at opset `since`; nullopt when absent.
  std::optional<std::vector<std::int64_t>> moved_integers(const char* name, std::size_t i, int since);
  [[nodiscard]] bool all_constant();

  // Outputs.
  [[nodiscard]] std::size_t outputs() const { return static_cast<std::size_t>(proto_.output_size()); }
  [[nodiscard]] bool output_used(std::size_t i) const;
  /// Only output 0 may be read; `what` says what the others are.
  void only_first_output(const char* what) const;

  /// Adds the internal node that writes output 0 of this ONNX node. `node.inputs` is filled from `inputs`.
  /// When all of them are constant the node is evaluated instead.
  void emit(Node node, std::vector<Value*> inputs, std::optional<Shape> shape = {});
  /// The same for a node in front of the last one; its name and its tensor's name are made up from `suffix`.
  Value& emit_before(Node node, std::vector<Value*> inputs, std::string_view suffix,
                     std::optional<Shape> shape = {});
  void emit_split(Node node, Value& x, const std::vector<Shape>& shapes);
  /// A constant as output 0, or as an operand.
  void emit_constant(ConstTensor value);
  Value& make_constant(ConstTensor value, std::string_view suffix);
  /// Output 0 is the input in another shape.
  void emit_reshape(Value& x, const Shape& shape);

  // Helpers.
  /// -rank..rank-1 to 0..rank-1; throws bad_model outside.
  std::size_t axis(std::int64_t value, std::size_t rank) const;
  /// The same for a list: ascending, no repetitions.
  std::vector<std::int64_t> axes(const std::vector<std::int64_t>& values, std::size_t rank) const;
  Shape shape_of(const std::vector<std::int64_t>& dims) const;
  void take(std::int64_t elements) { importer_.budget().take(elements); }
  Importer& importer() noexcept { return importer_; }

 private:
  bool fold(const Node& node, const std::vector<Value*>& inputs, const std::vector<std::string>& names,
            const std::vector<Shape>& given);
  std::vector<Value*> emit_all(Node node, const std::vector<Value*>& inputs, std::vector<std::string> names,
                               std::vector<Shape> given);

  Importer& importer_;
  const pb::NodeProto& proto_;
};

/// How an operator is imported; nullptr for one that is not known.
using ImportFunction = void (*)(NodeContext&);
ImportFunction find_operator(std::string_view domain, std::string_view op_type);

/// name and function of the operators of each group.
struct OperatorEntry {
  std::string_view name;
  ImportFunction import;
};
std::span<const OperatorEntry> window_operators();
std::span<const OperatorEntry> math_operators();
std::span<const OperatorEntry> shape_operators();
std::span<const OperatorEntry> resize_operators();
std::span<const OperatorEntry> constant_operators();

/// The prefix of doc_string under which export keeps Node::module.
inline constexpr std::string_view module_prefix = "splitcnn module: ";

}  // namespace splitcnn::inline v0
