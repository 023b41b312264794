#include "graph/onnx/node_context.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "graph/onnx/fold.hpp"
#include "graph/onnx/tensor_data.hpp"
#include "graph/shape_inference.hpp"

namespace splitcnn::inline v0 {

namespace {

using Attribute = pb::AttributeProto;

const Attribute* typed(const Attribute* attribute, Attribute::AttributeType type, std::string_view name) {
  // Very old files leave the type out.
  if (attribute != nullptr && attribute->type() != type && attribute->type() != Attribute::UNDEFINED) {
    throw Error{Errc::bad_model,
                fmt::format("attribute '{}' has the wrong type; export the model again", name)};
  }
  return attribute;
}

}  // namespace

const Attribute* NodeContext::attribute(std::string_view name) const {
  for (const Attribute& a : proto_.attribute()) {
    if (a.name() == name) return &a;
  }
  return nullptr;
}

std::int64_t NodeContext::integer(std::string_view name, std::int64_t otherwise) const {
  const Attribute* a = typed(attribute(name), Attribute::INT, name);
  return a != nullptr ? a->i() : otherwise;
}

float NodeContext::real(std::string_view name, float otherwise) const {
  const Attribute* a = typed(attribute(name), Attribute::FLOAT, name);
  return a != nullptr ? a->f() : otherwise;
}

std::string NodeContext::text(std::string_view name, std::string_view otherwise) const {
  const Attribute* a = typed(attribute(name), Attribute::STRING, name);
  return a != nullptr ? a->s() : std::string{otherwise};
}

std::optional<std::vector<std::int64_t>> NodeContext::integers(std::string_view name) const {
  const Attribute* a = typed(attribute(name), Attribute::INTS, name);
  if (a == nullptr) return std::nullopt;
  return std::vector<std::int64_t>(a->ints().begin(), a->ints().end());
}

std::optional<std::vector<float>> NodeContext::reals(std::string_view name) const {
  const Attribute* a = typed(attribute(name), Attribute::FLOATS, name);
  if (a == nullptr) return std::nullopt;
  return std::vector<float>(a->floats().begin(), a->floats().end());
}

std::size_t NodeContext::inputs() const {
  int n = proto_.input_size();
  while (n > 0 && proto_.input(n - 1).empty()) --n;
  return static_cast<std::size_t>(n);
}

bool NodeContext::has(std::size_t i) const {
  return i < inputs() && !proto_.input(static_cast<int>(i)).empty();
}

void NodeContext::expect_inputs(std::size_t least, std::size_t most) const {
  if (inputs() < least || inputs() > most) {
    bad(fmt::format("has {} inputs, takes {}; export the model again", inputs(),
                    least == most ? std::to_string(least) : fmt::format("{} to {}", least, most)));
  }
}

Value& NodeContext::input(std::size_t i) {
  if (!has(i)) bad(fmt::format("input {} is missing; export the model again", i));
  return *importer_.find(proto_.input(static_cast<int>(i)));
}

const ConstTensor& NodeContext::constant(std::size_t i, const char* role) {
  Value& value = input(i);
  if (!value.is_constant()) {
    unsupported(fmt::format("{} ('{}') depend on the input image; only values known at load are supported",
                            role, value.name));
  }
  return importer_.constant(value);
}

std::vector<std::int64_t> NodeContext::constant_integers(std::size_t i, const char* role) {
  const ConstTensor& value = constant(i, role);
  if (value.is_float() || value.shape.rank() > 1)
    bad(fmt::format("{} must be a list of integers; export the model again", role));
  return value.integers();
}

float NodeContext::constant_real(std::size_t i, const char* role) {
  const ConstTensor& value = constant(i, role);
  if (value.size() != 1) bad(fmt::format("{} must be one number; export the model again", role));
  return value.is_float() ? value.floats()[0] : static_cast<float>(value.integers()[0]);
}

std::optional<std::vector<std::int64_t>> NodeContext::moved_integers(const char* name, std::size_t i,
                                                                     int since) {
  if (opset() < since) return integers(name);
  return has(i) ? std::optional{constant_integers(i, name)} : std::nullopt;
}

bool NodeContext::all_constant() {
  for (std::size_t i = 0; i < inputs(); ++i) {
    if (has(i) && !is_constant(i)) return false;
  }
  return true;
}

bool NodeContext::output_used(std::size_t i) const {
  if (i >= outputs()) return false;
  const std::string& name = proto_.output(static_cast<int>(i));
  return !name.empty() && importer_.has_readers(name);
}

void NodeContext::only_first_output(const char* what) const {
  for (std::size_t i = 1; i < outputs(); ++i) {
    if (output_used(i))
      unsupported(fmt::format("its output '{}' ({}) is used; export the model for inference",
                              proto_.output(static_cast<int>(i)), what));
  }
}

bool NodeContext::fold(const Node& node, const std::vector<Value*>& inputs,
                       const std::vector<std::string>& names, const std::vector<Shape>& shapes) {
  if (inputs.empty() ||
      !std::all_of(inputs.begin(), inputs.end(), [](const Value* v) { return v->is_constant(); }))
    return false;
  std::vector<const ConstTensor*> values;
  for (Value* v : inputs) values.push_back(&importer_.constant(*v));
  auto results = fold_node(node, values, shapes, importer_.budget());
  if (!results) return false;
  for (std::size_t i = 0; i < names.size(); ++i) {
    Value& value = importer_.define(names[i]);
    value.shape = shapes[i];
    value.constant = std::make_unique<ConstTensor>(std::move((*results)[i]));
  }
  return true;
}

std::vector<Value*> NodeContext::emit_all(Node node, const std::vector<Value*>& inputs,
                                          std::vector<std::string> names, std::vector<Shape> given) {
  if (node.name.empty()) node.name = proto_.name();
  if (proto_.doc_string().starts_with(module_prefix))
    node.module = proto_.doc_string().substr(module_prefix.size());
  std::vector<Shape> in;
  for (const Value* v : inputs) in.push_back(v->shape);
  const std::vector<Shape> shapes = infer_shapes(node, in, given);
  for (const Shape& s : shapes)
    (void)checked_shape(std::span{s.begin(), s.rank()}, importer_.options().max_tensor_elements);
  for (std::string& name : names) {
    if (name.empty()) name = importer_.unused_name(node.name.empty() ? to_string(node.op) : node.name);
  }

  if (!fold(node, inputs, names, shapes)) {
    for (const Shape& s : shapes) {
      if (s.elements() == 0)
        bad(fmt::format("its result {} has no elements; export the model again", to_string(s)));
    }
    for (Value* v : inputs) node.inputs.push_back(importer_.tensor(*v));
    const std::vector<TensorId> ids = importer_.builder().add_multi(std::move(node), names, shapes);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Value& value = importer_.define(names[i]);
      value.shape = shapes[i];
      value.id = ids[i];
    }
  }
  std::vector<Value*> values;
  for (const std::string& name : names) values.push_back(importer_.find(name));
  return values;
}

void NodeContext::emit(Node node, std::vector<Value*> inputs, std::optional<Shape> shape) {
  std::vector<Shape> given;
  if (shape) given.push_back(*shape);
  (void)emit_all(std::move(node), inputs, {proto_.output(0)}, std::move(given));
}

Value& NodeContext::emit_before(Node node, std::vector<Value*> inputs, std::string_view suffix,
                                std::optional<Shape> shape) {
  const std::string stem = proto_.name().empty() ? proto_.output(0) : proto_.name();
  node.name = fmt::format("{}_{}", stem, suffix);
  std::vector<Shape> given;
  if (shape) given.push_back(*shape);
  return *emit_all(std::move(node), inputs,
                   {importer_.unused_name(fmt::format("{}_{}", proto_.output(0), suffix))},
                   std::move(given))[0];
}

void NodeContext::emit_split(Node node, Value& x, const std::vector<Shape>& shapes) {
  (void)emit_all(std::move(node), {&x}, {proto_.output().begin(), proto_.output().end()}, shapes);
}

void NodeContext::emit_constant(ConstTensor value) {
  Value& out = importer_.define(proto_.output(0));
  out.shape = value.shape;
  out.constant = std::make_unique<ConstTensor>(std::move(value));
}

Value& NodeContext::make_constant(ConstTensor value, std::string_view suffix) {
  const std::string stem = proto_.name().empty() ? proto_.output(0) : proto_.name();
  Value& out = importer_.define(importer_.unused_name(fmt::format("{}_{}", stem, suffix)));
  out.shape = value.shape;
  out.constant = std::make_unique<ConstTensor>(std::move(value));
  return out;
}

void NodeContext::emit_reshape(Value& x, const Shape& shape) { emit({.op = Op::reshape}, {&x}, shape); }

std::size_t NodeContext::axis(std::int64_t value, std::size_t rank) const {
  const auto r = static_cast<std::int64_t>(rank);
  if (value < -r || value >= r)
    bad(fmt::format("axis {} is outside a tensor of {} dimensions; export the model again", value, rank));
  return static_cast<std::size_t>(value < 0 ? value + r : value);
}

std::vector<std::int64_t> NodeContext::axes(const std::vector<std::int64_t>& values, std::size_t rank) const {
  std::vector<std::int64_t> out;
  for (const std::int64_t v : values) out.push_back(static_cast<std::int64_t>(axis(v, rank)));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    bad("names an axis twice; export the model again");
  return out;
}

Shape NodeContext::shape_of(const std::vector<std::int64_t>& dims) const {
  return checked_shape(dims, importer_.options().max_tensor_elements);
}

}  // namespace splitcnn::inline v0
