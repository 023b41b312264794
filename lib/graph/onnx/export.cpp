// Graph::save: the internal form as ONNX. Everything is written so that importing it again gives the same
// graph.
#include <fmt/core.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "graph/onnx/export.hpp"
#include "graph/onnx/node_context.hpp"

namespace splitcnn::inline v0 {

namespace {

using Integers = std::vector<std::int64_t>;

class Exporter {
 public:
  explicit Exporter(const Graph& graph) : graph_{graph} {
    for (const GraphTensor& t : graph.tensors()) names_.insert(t.name);
  }
  pb::ModelProto run();

 private:
  void write_constants();
  void write_node(const Node& node);
  void write_values(const Node& node);
  void write_attributes(const Node& node);
  void write_pool(const Node& node);
  void write_window(const Window& w);
  void write_reduce(const Node& node);
  void write_resize(const Node& node);
  void write_slice(const Node& node);
  [[nodiscard]] Shape gather_indices(const Node& node) const;
  void value_info(pb::ValueInfoProto& info, TensorId id) const;

  [[nodiscard]] const Shape& shape(TensorId id) const { return graph_.tensor(id).shape; }
  pb::AttributeProto& attribute(const char* name, pb::AttributeProto::AttributeType type);
  void attribute(const char* name, std::int64_t value) {
    attribute(name, pb::AttributeProto::INT).set_i(value);
  }
  void attribute(const char* name, float value) { attribute(name, pb::AttributeProto::FLOAT).set_f(value); }
  void attribute(const char* name, const char* value) {
    attribute(name, pb::AttributeProto::STRING).set_s(value);
  }
  void attribute(const char* name, const Integers& values);
  /// An extra input of the node being written: a constant made for it.
  void input(const char* role, const Shape& shape, const Integers& values);
  void input(const char* role, const Shape& shape, const std::vector<float>& values);
  pb::TensorProto& extra(const char* role, const Shape& shape);
  void no_input() { out_->add_input(""); }

  const Graph& graph_;
  pb::ModelProto model_;
  pb::GraphProto* proto_ = nullptr;
  pb::NodeProto* out_ = nullptr;  // the node being written
  int opset_ = 13;
  std::unordered_set<std::string> names_;
};

constexpr std::pair<Op, const char*> onnx_names[] = {{Op::conv, "Conv"},
                                                     {Op::batch_norm, "BatchNormalization"},
                                                     {Op::relu, "Relu"},
                                                     {Op::clip, "Clip"},
                                                     {Op::leaky_relu, "LeakyRelu"},
                                                     {Op::prelu, "PRelu"},
                                                     {Op::hard_sigmoid, "HardSigmoid"},
                                                     {Op::hard_swish, "HardSwish"},
                                                     {Op::sigmoid, "Sigmoid"},
                                                     {Op::tanh, "Tanh"},
                                                     {Op::exp, "Exp"},
                                                     {Op::sqrt, "Sqrt"},
                                                     {Op::max_pool, "MaxPool"},
                                                     {Op::average_pool, "AveragePool"},
                                                     {Op::global_average_pool, "GlobalAveragePool"},
                                                     {Op::reduce_mean, "ReduceMean"},
                                                     {Op::add, "Add"},
                                                     {Op::sub, "Sub"},
                                                     {Op::mul, "Mul"},
                                                     {Op::div, "Div"},
                                                     {Op::concat, "Concat"},
                                                     {Op::slice, "Slice"},
                                                     {Op::split, "Split"},
                                                     {Op::pad, "Pad"},
                                                     {Op::gather, "Gather"},
                                                     {Op::reshape, "Reshape"},
                                                     {Op::transpose, "Transpose"},
                                                     {Op::resize, "Resize"},
                                                     {Op::gemm, "Gemm"},
                                                     {Op::matmul, "MatMul"},
                                                     {Op::softmax, "Softmax"},
                                                     {Op::log_softmax, "LogSoftmax"},
                                                     {Op::lrn, "LRN"},
                                                     {Op::identity, "Identity"}};

const char* onnx_name(Op op) {
  const auto* found = std::find_if(std::begin(onnx_names), std::end(onnx_names),
                                   [&](const auto& n) { return n.first == op; });
  return found->second;
}

/// The oldest opset that has the operator in the form needed; 13 unless something newer is.
int opset_of(const Node& node) {
  if (node.op == Op::hard_swish) return 14;
  if (node.op == Op::average_pool && (node.window.dilation_h != 1 || node.window.dilation_w != 1)) return 19;
  return 13;
}

Integers dims(const Shape& shape) { return {shape.begin(), shape.end()}; }
Shape list(const auto& values) { return Shape{static_cast<std::int64_t>(values.size())}; }

pb::AttributeProto& Exporter::attribute(const char* name, pb::AttributeProto::AttributeType type) {
  pb::AttributeProto& a = *out_->add_attribute();
  a.set_name(name);
  a.set_type(type);
  return a;
}

void Exporter::attribute(const char* name, const Integers& values) {
  pb::AttributeProto& a = attribute(name, pb::AttributeProto::INTS);
  for (const std::int64_t v : values) a.add_ints(v);
}

pb::TensorProto& Exporter::extra(const char* role, const Shape& shape) {
  const std::string stem = fmt::format("{}_{}", out_->output(0), role);
  std::string name = stem;
  for (int i = 1; !names_.insert(name).second; ++i) name = fmt::format("{}_{}", stem, i);
  pb::TensorProto& tensor = *proto_->add_initializer();
  tensor.set_name(name);
  for (const std::int64_t d : shape) tensor.add_dims(d);
  out_->add_input(name);
  return tensor;
}

void Exporter::input(const char* role, const Shape& shape, const Integers& values) {
  pb::TensorProto& tensor = extra(role, shape);
  tensor.set_data_type(pb::TensorProto::INT64);
  tensor.mutable_raw_data()->assign(reinterpret_cast<const char*>(values.data()),
                                    values.size() * sizeof(std::int64_t));
}

void Exporter::input(const char* role, const Shape& shape, const std::vector<float>& values) {
  pb::TensorProto& tensor = extra(role, shape);
  tensor.set_data_type(pb::TensorProto::FLOAT);
  tensor.mutable_raw_data()->assign(reinterpret_cast<const char*>(values.data()),
                                    values.size() * sizeof(float));
}

void Exporter::write_constants() {
  for (TensorId id = 0; id < graph_.tensors().size(); ++id) {
    const GraphTensor& t = graph_.tensor(id);
    if (!t.constant || graph_.consumers(id).empty()) continue;
    pb::TensorProto& tensor = *proto_->add_initializer();
    tensor.set_name(t.name);
    tensor.set_data_type(pb::TensorProto::FLOAT);
    for (const std::int64_t d : t.shape) tensor.add_dims(d);
    const auto values = graph_.constant(id);
    tensor.mutable_raw_data()->assign(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
}

void Exporter::value_info(pb::ValueInfoProto& info, TensorId id) const {
  info.set_name(graph_.tensor(id).name);
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(pb::TensorProto::FLOAT);
  (void)type.mutable_shape();  // a scalar has a shape, too
  for (const std::int64_t d : shape(id)) type.mutable_shape()->add_dim()->set_dim_value(d);
}

void Exporter::write_window(const Window& w) {
  attribute("kernel_shape", Integers{w.kernel_h, w.kernel_w});
  attribute("strides", Integers{w.stride_h, w.stride_w});
  attribute("pads", Integers{w.pad_top, w.pad_left, w.pad_bottom, w.pad_right});
}

void Exporter::write_pool(const Node& node) {
  write_window(node.window);
  attribute("ceil_mode", std::int64_t{node.ceil_mode});
  if (node.op == Op::average_pool) attribute("count_include_pad", std::int64_t{node.count_include_pad});
  if (node.op == Op::max_pool || opset_ >= 19)
    attribute("dilations", Integers{node.window.dilation_h, node.window.dilation_w});
}

void Exporter::write_reduce(const Node& node) {
  const bool keep = shape(node.outputs[0]).rank() == shape(node.inputs[0]).rank();
  attribute("keepdims", std::int64_t{keep});
  if (opset_ < 18)
    attribute("axes", node.axes);
  else
    input("axes", list(node.axes), node.axes);
}

const char* coordinates_name(Coordinates c) {
  switch (c) {
    case Coordinates::half_pixel:
      return "half_pixel";
    case Coordinates::pytorch_half_pixel:
      return "pytorch_half_pixel";
    case Coordinates::asymmetric:
      return "asymmetric";
    case Coordinates::align_corners:
      return "align_corners";
  }
  return "";
}

void Exporter::write_resize(const Node& node) {
  attribute("mode", node.resize_mode == ResizeMode::nearest ? "nearest" : "linear");
  attribute("coordinate_transformation_mode", coordinates_name(node.coordinates));
  if (node.resize_mode == ResizeMode::nearest)
    attribute("nearest_mode", node.nearest_floor ? "floor" : "round_prefer_floor");
  no_input();  // region of interest
  const Shape &x = shape(node.inputs[0]), &y = shape(node.outputs[0]);
  bool scales_tell = true;  // by the rule readers of the file apply
  for (std::size_t d = 0; d < x.rank(); ++d) {
    scales_tell =
        scales_tell && std::floor(static_cast<float>(x[d]) * node.scales[d]) == static_cast<float>(y[d]);
  }
  if (scales_tell) return input("scales", list(node.scales), node.scales);
  no_input();
  input("sizes", list(dims(y)), dims(y));
}

void Exporter::write_slice(const Node& node) {
  Integers ends = node.ends;
  for (std::size_t d = 0; d < ends.size(); ++d) {
    if (node.steps[d] < 0 && ends[d] == -1) ends[d] = std::numeric_limits<std::int64_t>::min();
  }
  Integers axes;
  for (std::size_t d = 0; d < ends.size(); ++d) axes.push_back(static_cast<std::int64_t>(d));
  input("starts", list(node.begins), node.begins);
  input("ends", list(ends), ends);
  input("axes", list(axes), axes);
  input("steps", list(node.steps), node.steps);
}

/// The shape of the indices: what the output has in place of the gathered axis.
Shape Exporter::gather_indices(const Node& node) const {
  const Shape &x = shape(node.inputs[0]), &y = shape(node.outputs[0]);
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  if (y.rank() + 1 < x.rank())
    throw Error{
        Errc::unsupported,
        fmt::format("node '{}' (gather): its output {} cannot be written as ONNX; add a reshape behind it",
                    node.name, to_string(y))};
  const Shape indices{std::span{y.begin() + axis, y.rank() + 1 - x.rank()}};
  bool fits = indices.elements() == static_cast<std::int64_t>(node.begins.size());
  for (std::size_t d = 0; d < x.rank(); ++d) {
    if (d != axis) fits = fits && x[d] == y[d < axis ? d : d + indices.rank() - 1];
  }
  if (!fits)
    throw Error{
        Errc::unsupported,
        fmt::format("node '{}' (gather): its output {} cannot be written as ONNX; add a reshape behind it",
                    node.name, to_string(y))};
  return indices;
}

/// What the internal form keeps in fields and ONNX in further inputs.
void Exporter::write_values(const Node& node) {
  const Shape& y = shape(node.outputs[0]);
  switch (node.op) {
    case Op::clip:
      if (std::isfinite(node.alpha))
        input("min", Shape{}, std::vector<float>{node.alpha});
      else if (std::isfinite(node.beta))
        no_input();
      if (std::isfinite(node.beta)) input("max", Shape{}, std::vector<float>{node.beta});
      break;
    case Op::slice:
      write_slice(node);
      break;
    case Op::split: {
      Integers sizes;
      for (const TensorId t : node.outputs) sizes.push_back(shape(t)[static_cast<std::size_t>(node.axes[0])]);
      input("split", list(sizes), sizes);
      break;
    }
    case Op::pad: {
      Integers pads = node.begins;
      pads.insert(pads.end(), node.ends.begin(), node.ends.end());
      input("pads", list(pads), pads);
      input("value", Shape{}, std::vector<float>{node.alpha});
      break;
    }
    case Op::gather:
      input("indices", gather_indices(node), node.begins);
      break;
    case Op::reshape:
      input("shape", list(dims(y)), dims(y));
      break;
    case Op::resize:
      write_resize(node);
      break;
    case Op::reduce_mean:
      write_reduce(node);
      break;
    default:
      break;
  }
}

void Exporter::write_attributes(const Node& node) {
  switch (node.op) {
    case Op::conv:
      write_window(node.window);
      attribute("dilations", Integers{node.window.dilation_h, node.window.dilation_w});
      attribute("group", std::int64_t{node.groups});
      break;
    case Op::max_pool:
    case Op::average_pool:
      write_pool(node);
      break;
    case Op::batch_norm:
      attribute("epsilon", node.alpha);
      break;
    case Op::leaky_relu:
      attribute("alpha", node.alpha);
      break;
    case Op::hard_sigmoid:
      attribute("alpha", node.alpha);
      attribute("beta", node.beta);
      break;
    case Op::concat:
    case Op::split:
    case Op::gather:
    case Op::softmax:
    case Op::log_softmax:
      attribute("axis", node.axes[0]);
      break;
    case Op::transpose:
      attribute("perm", node.axes);
      break;
    case Op::gemm:
      attribute("alpha", node.alpha);
      attribute("beta", node.beta);
      attribute("transA", std::int64_t{node.transpose_a});
      attribute("transB", std::int64_t{node.transpose_b});
      break;
    case Op::lrn:
      attribute("alpha", node.alpha);
      attribute("beta", node.beta);
      attribute("bias", node.bias);
      attribute("size", std::int64_t{node.size});
      break;
    default:
      break;
  }
}

void Exporter::write_node(const Node& node) {
  out_ = proto_->add_node();
  out_->set_op_type(onnx_name(node.op));
  out_->set_name(node.name);
  if (!node.module.empty()) out_->set_doc_string(std::string{module_prefix} + node.module);
  for (const TensorId t : node.inputs) out_->add_input(graph_.tensor(t).name);
  for (const TensorId t : node.outputs) out_->add_output(graph_.tensor(t).name);
  write_attributes(node);
  write_values(node);
}

pb::ModelProto Exporter::run() {
  for (const Node& node : graph_.nodes()) opset_ = std::max(opset_, opset_of(node));
  model_.set_ir_version(opset_ < 19 ? 7 : 9);
  model_.set_producer_name("splitcnn");
  auto& opset = *model_.add_opset_import();
  opset.set_domain("");
  opset.set_version(opset_);
  proto_ = model_.mutable_graph();
  proto_->set_name(graph_.name().empty() ? "graph" : graph_.name());
  for (const TensorId id : graph_.inputs()) value_info(*proto_->add_input(), id);
  write_constants();
  for (const Node& node : graph_.nodes()) write_node(node);
  for (const TensorId id : graph_.outputs()) value_info(*proto_->add_output(), id);
  return std::move(model_);
}

}  // namespace

pb::ModelProto to_onnx(const Graph& graph) { return Exporter{graph}.run(); }

void write_onnx(const pb::ModelProto& model, const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += ".part";
  std::ofstream stream{temporary, std::ios::binary | std::ios::trunc};
  const bool written = stream && model.SerializeToOstream(&stream) && stream.flush();
  stream.close();
  std::error_code error;
  if (written) std::filesystem::rename(temporary, path, error);
  if (!written || error) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw Error{Errc::io, fmt::format("{}: cannot be written; check the folder, its permissions and the free space", path.string())};
  }
}

void Graph::save(const std::filesystem::path& path) const {
  std::uint64_t bytes = 0;
  for (const GraphTensor& t : tensors())
    bytes += t.constant ? static_cast<std::uint64_t>(t.shape.elements()) * sizeof(float) : 0;
  if (bytes > INT_MAX - (64u << 20)) {
    throw Error{Errc::io, fmt::format("{}: the weights are larger than the 2 GiB an ONNX file may have; save parts of the graph", path.string())};
  }
  write_onnx(to_onnx(*this), path);
}

}  // namespace splitcnn::inline v0
