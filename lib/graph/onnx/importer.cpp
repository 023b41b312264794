#include "graph/onnx/importer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <queue>

#include "graph/onnx/node_context.hpp"
#include "graph/onnx/tensor_data.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr int min_opset = 7, max_opset = 21, min_ir = 3, max_ir = 10;
constexpr std::size_t max_listed = 20;

bool standard(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

/// Shape inference names the node itself; the import's own label is better (op and opset of the file).
std::string without_prefix(const std::string& text, const std::string& node) {
  const std::string prefix = fmt::format("node '{}' (", node);
  const std::size_t end = text.starts_with(prefix) ? text.find("): ", prefix.size()) : std::string::npos;
  return end == std::string::npos ? text : text.substr(end + 3);
}

}  // namespace

Importer::Importer(pb::ModelProto& model, std::string what, const LoadOptions& options, ExternalData external)
    : model_{model},
      graph_{*model.mutable_graph()},
      what_{std::move(what)},
      options_{options},
      external_{std::move(external)},
      budget_{options.max_folded_elements},
      builder_{graph_.name()} {
  for (const auto& import : model_.opset_import()) {
    if (standard(import.domain()))
      opset_ = static_cast<int>(std::clamp<std::int64_t>(import.version(), 0, 1'000'000));
  }
}

Value* Importer::find(const std::string& name) {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

const ConstTensor& Importer::constant(Value& value) {
  if (!value.constant) {
    try {
      value.constant = std::make_unique<ConstTensor>(
          decode_tensor(*value.initializer, options_.max_tensor_elements, external_));
    } catch (const Error& e) {
      throw Error{e.code(), fmt::format("constant '{}' {}", value.name, e.what())};
    }
    budget_.grow(value.constant->size());
    value.initializer->Clear();  // the decoded copy is enough
    value.initializer = nullptr;
  }
  return *value.constant;
}

bool Importer::is_float(const Value& value) {
  if (value.constant) return value.constant->is_float();
  return value.initializer == nullptr || is_float_type(value.initializer->data_type());
}

TensorId Importer::tensor(Value& value) {
  if (value.id) return *value.id;
  const ConstTensor& values = constant(value);
  if (!values.is_float()) {
    throw Error{
        Errc::unsupported,
        fmt::format("computes with the integer or bool tensor '{}', which only shape arithmetic may do; "
                    "export the model with float32 tensors",
                    value.name)};
  }
  // The last reader takes the values, so that weights are not kept twice.
  std::vector<float> floats =
      value.readers <= 1 ? std::move(std::get<0>(value.constant->values)) : values.floats();
  value.id = builder_.constant(value.name, value.shape, std::move(floats));
  return *value.id;
}

Value& Importer::define(std::string name) {
  Value& value = values_[name];
  const auto readers = readers_.find(name);
  value.readers = readers == readers_.end() ? 1 : readers->second;
  value.name = std::move(name);
  return value;
}

std::string Importer::unused_name(const std::string& wanted) {
  std::string name = wanted;
  for (int i = 1; !names_.insert(name).second; ++i) name = fmt::format("{}_{}", wanted, i);
  return name;
}

std::string Importer::label(int node) const {
  const pb::NodeProto& n = graph_.node(node);
  const std::string name = !n.name().empty()     ? fmt::format("'{}'", n.name())
                           : n.output_size() > 0 ? fmt::format("#{} writing '{}'", node, n.output(0))
                                                 : fmt::format("#{}", node);
  const std::string domain = standard(n.domain()) ? "" : n.domain() + ".";
  return fmt::format("node {} ({}{}, opset {})", name, domain, n.op_type(), opset_);
}

void Importer::report_node(int node, Errc code, const std::string& text) {
  std::string what = without_prefix(text, graph_.node(node).name());
  if (what.find(';') == std::string::npos) what += "; export the model again";
  report(code, fmt::format("{}: {}", label(node), what));
  break_outputs(node);
}

void Importer::break_outputs(int node) {
  for (const std::string& name : graph_.node(node).output()) {
    if (!name.empty()) define(name).broken = true;
  }
}

void Importer::throw_problems() const {
  if (problems_.empty()) return;
  const bool damaged = std::any_of(problems_.begin(), problems_.end(),
                                   [](const Problem& p) { return p.code != Errc::unsupported; });
  const Errc code = !damaged                ? Errc::unsupported
                    : problems_.size() == 1 ? problems_[0].code
                                            : Errc::bad_model;
  if (problems_.size() == 1) throw Error{code, fmt::format("{}: {}", what_, problems_[0].text)};
  std::string text = fmt::format("{}: {} problems:", what_, problems_.size());
  for (std::size_t i = 0; i < std::min(problems_.size(), max_listed); ++i) text += "\n  " + problems_[i].text;
  if (problems_.size() > max_listed)
    text += fmt::format("\n  ... and {} more", problems_.size() - max_listed);
  throw Error{code, text};
}

void Importer::check_model() const {
  const auto fail = [&](Errc code, const std::string& text) {
    throw Error{code, fmt::format("{}: {}", what_, text)};
  };
  if (graph_.node_size() == 0)
    fail(Errc::bad_model, "is not an ONNX model with nodes; check that it is the right file and complete");
  if (model_.ir_version() < min_ir || model_.ir_version() > max_ir) {
    fail(Errc::unsupported,
         fmt::format("IR version {} is outside {} to {}; export the model with another version of ONNX",
                     model_.ir_version(), min_ir, max_ir));
  }
  if (opset_ < min_opset || opset_ > max_opset) {
    fail(Errc::unsupported, fmt::format("opset {} is outside {} to {}; export the model with one of these",
                                        opset_, min_opset, max_opset));
  }
  if (static_cast<std::size_t>(graph_.node_size()) > options_.max_nodes) {
    fail(Errc::unsupported,
         fmt::format("has {} nodes, more than LoadOptions::max_nodes = {}; raise it to load the model",
                     graph_.node_size(), options_.max_nodes));
  }
}

void Importer::declare_initializers() {
  for (pb::TensorProto& tensor : *graph_.mutable_initializer()) {
    if (tensor.name().empty()) continue;  // cannot be read by anyone
    if (values_.contains(tensor.name())) {
      report(Errc::bad_model,
             fmt::format("constant '{}': occurs twice; give each a name of its own", tensor.name()));
      continue;
    }
    Value& value = define(tensor.name());
    try {
      value.shape = tensor_shape(tensor, options_.max_tensor_elements);
    } catch (const Error& e) {
      report(e.code(), fmt::format("constant '{}' {}", tensor.name(), e.what()));
      value.broken = true;
    }
    value.initializer = &tensor;
  }
  for (const auto& sparse : graph_.sparse_initializer()) {
    report(Errc::unsupported, fmt::format("constant '{}': sparse tensors are not supported; store it dense",
                                          sparse.values().name()));
    define(sparse.values().name()).broken = true;
  }
}

void Importer::declare_inputs() {
  for (const auto& input : graph_.input()) {
    if (input.name().empty()) continue;
    if (values_.contains(input.name()) && !input_names_.contains(input.name()))
      continue;  // IR 3 lists weights as inputs
    if (!input_names_.insert(input.name()).second) {
      report(Errc::bad_model,
             fmt::format("input '{}': occurs twice; give each a name of its own", input.name()));
    }
    define(input.name());
  }
}

void Importer::declare_input(const pb::ValueInfoProto& input) {
  Value& value = *find(input.name());
  if (value.id || value.broken) return;
  value.broken = true;  // until it turns out well
  const auto problem = [&](Errc code, const std::string& text) {
    report(code, fmt::format("input '{}': {}", input.name(), text));
  };
  const auto& type = input.type().tensor_type();
  if (!is_float_type(type.elem_type())) {
    return problem(Errc::unsupported,
                   fmt::format("has elements of {}; only float inputs are supported, export the model so",
                               element_type_name(type.elem_type())));
  }
  if (!type.has_shape())
    return problem(Errc::unsupported, "has no shape; export the model with a fixed input size");
  std::vector<std::int64_t> dims;
  for (int d = 0; d < type.shape().dim_size(); ++d) {
    std::int64_t size = type.shape().dim(d).dim_value();
    if (size < 1 && d == 0) size = options_.batch;
    if (size < 1) {
      return problem(Errc::unsupported, fmt::format("dimension {} ('{}') is dynamic; only the batch may be, "
                                                    "export the model with a fixed input size",
                                                    d, type.shape().dim(d).dim_param()));
    }
    dims.push_back(size);
  }
  try {
    value.shape = checked_shape(dims, options_.max_tensor_elements);
  } catch (const Error& e) {
    return problem(e.code(), e.what());
  }
  value.id = builder_.input(input.name(), value.shape);
  has_input_ = true;
  value.broken = false;
}

void Importer::find_producers() {
  for (int n = 0; n < graph_.node_size(); ++n) {
    for (const std::string& name : graph_.node(n).output()) {
      if (name.empty()) continue;
      names_.insert(name);
      if (!producers_.emplace(name, n).second || values_.contains(name)) {
        report(Errc::bad_model,
               fmt::format("{}: writes '{}', which exists already; give every tensor a name of its own",
                           label(n), name));
      }
    }
  }
  for (const auto& [name, value] : values_) names_.insert(name);
}

/// Marks what the outputs depend on, and counts the readers of every tensor.
void Importer::select_nodes() {
  wanted_.assign(static_cast<std::size_t>(graph_.node_size()), 0);
  std::vector<std::string> todo;
  for (const auto& output : graph_.output()) todo.push_back(output.name());
  while (!todo.empty()) {
    const std::string name = std::move(todo.back());
    todo.pop_back();
    ++readers_[name];
    const auto producer = producers_.find(name);
    if (producer == producers_.end() || wanted_[static_cast<std::size_t>(producer->second)]) continue;
    wanted_[static_cast<std::size_t>(producer->second)] = 1;
    for (const std::string& input : graph_.node(producer->second).input()) {
      if (!input.empty()) todo.push_back(input);
    }
  }
  for (auto& [name, value] : values_) value.readers = readers_.contains(name) ? readers_[name] : 0;
}

/// Unknown operators and missing tensors; these do not need the order.
void Importer::check_inputs(int n) {
  const pb::NodeProto& node = graph_.node(n);
  if (find_operator(node.domain(), node.op_type()) == nullptr) {
    report_node(
        n, Errc::unsupported,
        "this operator is not supported; replace it before exporting, or end the model in front of it");
    return;
  }
  for (const std::string& name : node.input()) {
    if (!name.empty() && !producers_.contains(name) && !values_.contains(name)) {
      report_node(
          n, Errc::bad_model,
          fmt::format("reads '{}', which is no input, constant or result of a node; export the model again",
                      name));
      return;
    }
  }
}

/// Kahn's algorithm with the file's order as tie-break: a sorted file keeps its order.
void Importer::sort_nodes() {
  const auto nodes = static_cast<std::size_t>(graph_.node_size());
  std::vector<int> missing(nodes, 0);
  std::vector<std::vector<int>> readers(nodes);
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  std::size_t wanted = 0;
  for (int n = 0; n < graph_.node_size(); ++n) {
    if (!wanted_[static_cast<std::size_t>(n)]) continue;
    ++wanted;
    for (const std::string& input : graph_.node(n).input()) {
      const auto producer = producers_.find(input);
      if (producer == producers_.end()) continue;
      ++missing[static_cast<std::size_t>(n)];
      readers[static_cast<std::size_t>(producer->second)].push_back(n);
    }
    if (missing[static_cast<std::size_t>(n)] == 0) ready.push(n);
  }
  while (!ready.empty()) {
    const int n = ready.top();
    ready.pop();
    order_.push_back(n);
    for (const int reader : readers[static_cast<std::size_t>(n)]) {
      if (--missing[static_cast<std::size_t>(reader)] == 0) ready.push(reader);
    }
  }
  if (order_.size() == wanted) return;
  for (int n = 0; n < graph_.node_size(); ++n) {
    if (missing[static_cast<std::size_t>(n)] > 0)
      report_node(n, Errc::bad_model,
                  "lies in or behind a cycle; a model must not feed back, export it again");
  }
}

void Importer::import_node(int n) {
  const pb::NodeProto& node = graph_.node(n);
  if (node.output_size() == 0 || node.output(0).empty())
    return report_node(n, Errc::bad_model, "has no first output; export the model again");
  for (const std::string& name : node.output()) {
    if (!name.empty() && find(name) != nullptr)
      return;  // reported already: unknown operator, or a name taken twice
  }
  const bool broken = std::any_of(node.input().begin(), node.input().end(), [&](const std::string& name) {
    const Value* value = name.empty() ? nullptr : find(name);
    return value != nullptr && value->broken;
  });
  if (broken) return break_outputs(n);
  try {
    NodeContext context{*this, node};
    find_operator(node.domain(), node.op_type())(context);
    for (const std::string& name : node.output()) {
      if (has_readers(name) && find(name) == nullptr) {
        throw Error{
            Errc::unsupported,
            fmt::format("its output '{}' is used and not supported; replace the node before exporting",
                        name)};
      }
    }
  } catch (const Error& e) {
    return report_node(n, e.code() == Errc::bad_argument ? Errc::bad_model : e.code(), e.what());
  }
  for (const std::string& name : node.input()) {
    if (Value* value = name.empty() ? nullptr : find(name)) --value->readers;
  }
}

void Importer::declare_outputs() {
  std::unordered_set<std::string> seen;
  if (graph_.output_size() == 0) report(Errc::bad_model, "the graph has no outputs; export the model again");
  for (const auto& output : graph_.output()) {
    const auto problem = [&](const char* text) {
      report(Errc::bad_model, fmt::format("output '{}': {}", output.name(), text));
    };
    const Value* value = find(output.name());
    if (value == nullptr)
      problem("is written by no node; export the model again");
    else if (value->broken)
      continue;
    else if (!seen.insert(output.name()).second)
      problem("occurs twice; export the model again");
    else if (!value->id || !producers_.contains(output.name()))
      problem("is not computed from the input; remove it from the model");
    else
      builder_.output(*value->id);
  }
}

Graph Importer::run() && {
  check_model();
  declare_initializers();
  declare_inputs();
  find_producers();
  select_nodes();
  for (const auto& input : graph_.input()) {
    if (input_names_.contains(input.name()) && readers_.contains(input.name())) declare_input(input);
  }
  for (int n = 0; n < graph_.node_size(); ++n) {
    if (wanted_[static_cast<std::size_t>(n)]) check_inputs(n);
  }
  sort_nodes();
  for (const int n : order_) import_node(n);
  declare_outputs();
  if (problems_.empty() && !has_input_)
    report(Errc::bad_model, "no output depends on an input; export the model again");
  throw_problems();
  return std::move(builder_).build();
}

}  // namespace splitcnn::inline v0
