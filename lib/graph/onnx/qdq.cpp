#include "graph/onnx/qdq.hpp"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "graph/onnx/export.hpp"

namespace splitcnn::inline v0 {

namespace {

class QdqWriter {
 public:
  QdqWriter(const Graph& graph, std::span<const std::optional<ByteTensor>> tensors)
      : graph_{graph}, tensors_{tensors}, model_{to_onnx(graph)} {}

  pb::ModelProto run() {
    auto& graph = *model_.mutable_graph();
    google::protobuf::RepeatedPtrField<pb::NodeProto> nodes;
    nodes.Swap(graph.mutable_node());
    google::protobuf::RepeatedPtrField<pb::TensorProto> constants;
    constants.Swap(graph.mutable_initializer());
    for (pb::TensorProto& t : constants) add_constant(t);
    for (const TensorId id : graph_.inputs()) {
      if (tensors_[id]) add_pair(graph_.tensor(id).name, graph_.tensor(id).name + "/input", *tensors_[id]);
    }
    for (pb::NodeProto& node : nodes) add_node(node);
    return std::move(model_);
  }

 private:
  [[nodiscard]] const ByteTensor* bytes(const std::string& name) const {
    const auto id = graph_.find_tensor(name);
    return id && tensors_[*id] ? &*tensors_[*id] : nullptr;
  }
  [[nodiscard]] bool is_input(const std::string& name) const {
    for (const TensorId id : graph_.inputs()) {
      if (graph_.tensor(id).name == name) return true;
    }
    return false;
  }

  pb::TensorProto& initializer(const std::string& name, pb::TensorProto::DataType type) {
    pb::TensorProto& t = *model_.mutable_graph()->add_initializer();
    t.set_name(name);
    t.set_data_type(type);
    return t;
  }

  /// Scalars, one for all tensors that share a fix point.
  std::string scale(int fix_point) {
    std::string name = fmt::format("scale/{}", fix_point);
    if (made_.insert(name).second) {
      const float value = std::ldexp(1.0f, -fix_point);
      initializer(name, pb::TensorProto::FLOAT).mutable_raw_data()->assign(reinterpret_cast<const char*>(&value), sizeof value);
    }
    return name;
  }
  std::string zero() {
    if (made_.insert("zero").second) initializer("zero", pb::TensorProto::INT8).mutable_raw_data()->assign(1, '\0');
    return "zero";
  }

  void step(const char* op, const std::string& from, const std::string& to, const ByteTensor& as) {
    pb::NodeProto& node = *model_.mutable_graph()->add_node();
    node.set_op_type(op);
    node.set_name(fmt::format("{}/{}", to, op));
    node.add_input(from);
    node.add_input(scale(as.fix_point));
    if (!as.wide) node.add_input(zero());
    node.add_output(to);
  }
  void add_pair(const std::string& from, const std::string& to, const ByteTensor& as) {
    step("QuantizeLinear", from, to + "/int8", as);
    step("DequantizeLinear", to + "/int8", to, as);
  }

  void add_constant(pb::TensorProto& t) {
    const ByteTensor* as = bytes(t.name());
    if (!as) {
      *model_.mutable_graph()->add_initializer() = std::move(t);
      return;
    }
    const std::string name = t.name(), raw = t.raw_data();
    pb::TensorProto& stored = initializer(name + (as->wide ? "/int32" : "/int8"), as->wide ? pb::TensorProto::INT32 : pb::TensorProto::INT8);
    *stored.mutable_dims() = t.dims();
    std::string& to = *stored.mutable_raw_data();
    for (std::size_t i = 0; i < raw.size(); i += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, raw.data() + i, sizeof value);
      const auto integer = static_cast<std::int32_t>(std::lround(std::ldexp(static_cast<double>(value), as->fix_point)));
      to.append(reinterpret_cast<const char*>(&integer), as->wide ? 4 : 1);  // little-endian, as ONNX wants
    }
    step("DequantizeLinear", stored.name(), name, *as);
  }

  void add_node(const pb::NodeProto& from) {
    pb::NodeProto& node = *model_.mutable_graph()->add_node();
    node = from;
    std::vector<std::pair<std::string, std::string>> pairs;
    for (std::string& name : *node.mutable_input()) {
      if (is_input(name) && bytes(name)) name += "/input";
    }
    for (std::string& name : *node.mutable_output()) {
      if (!bytes(name)) continue;
      pairs.emplace_back(name + "/float", name);
      name += "/float";
    }
    for (const auto& [float_name, name] : pairs) add_pair(float_name, name, *bytes(name));
  }

  const Graph& graph_;
  std::span<const std::optional<ByteTensor>> tensors_;
  pb::ModelProto model_;
  std::set<std::string> made_;
};

}  // namespace

void save_qdq_model(const Graph& graph, std::span<const std::optional<ByteTensor>> tensors, const std::filesystem::path& path) {
  write_onnx(QdqWriter{graph, tensors}.run(), path);
}

}  // namespace splitcnn::inline v0
