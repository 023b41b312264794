// An xmodel through XIR.
#include <algorithm>
#include <set>
#include <xir/attrs/attrs.hpp>
#include <xir/graph/graph.hpp>
#include <xir/graph/subgraph.hpp>
#include <xir/op/op.hpp>
#include <xir/tensor/tensor.hpp>

#include "dpu/vart/xmodel_program.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

using Ints = std::vector<std::int32_t>;

template <std::size_t n>
Ints ints(const std::array<std::int32_t, n>& values) {
  return {values.begin(), values.end()};
}

class Writer {
 public:
  explicit Writer(const XmodelProgram& program)
      : program_{program}, graph_{xir::Graph::create(program.name)} {}

  void write(const std::string& path) {
    for (const XmodelProgramOp& op : program_.ops) ops_.push_back(add(op));
    split();
    graph_->serialize(path);
  }

 private:
  xir::Op* finish(xir::Op* made, std::int32_t fix_point, const char* round_mode) {
    auto* tensor = made->get_output_tensor();
    tensor->set_attr<std::int32_t>("fix_point", fix_point);
    tensor->set_attr<std::int32_t>("bit_width", 8);
    tensor->set_attr<bool>("if_signed", true);
    tensor->set_attr<std::string>("round_mode", round_mode);
    return made;
  }

  xir::Op* constant(const std::string& name, const Ints& shape, const std::vector<std::byte>& bytes,
                    std::int32_t fix_point) {
    std::size_t elements = 1;
    for (const std::int32_t d : shape) elements *= static_cast<std::size_t>(std::max(d, 0));
    if (elements != bytes.size())
      throw Error{Errc::bad_file, "xmodel program: constant '" + name + "' has not the bytes its shape says"};
    auto attrs = xir::Attrs::create();
    attrs->set_attr("shape", shape);
    attrs->set_attr("data_type", std::string{"XINT8"});
    const auto* data = reinterpret_cast<const char*>(bytes.data());
    attrs->set_attr("data", std::vector<char>{data, data + bytes.size()});
    return finish(graph_->add_op(name, "const-fix", std::move(attrs), {}), fix_point, "STD_ROUND");
  }

  xir::Op* add(const XmodelProgramOp& op) {
    auto attrs = xir::Attrs::create();
    std::map<std::string, std::vector<xir::Op*>> inputs;
    for (const std::uint32_t i : op.inputs) inputs["input"].push_back(ops_[i]);
    if (op.type == "data-fix") {
      attrs->set_attr("shape", ints(op.shape));
      attrs->set_attr("data_type", std::string{"XINT8"});
    } else if (op.type == "concat-fix") {
      attrs->set_attr<std::int32_t>("axis", 3);
    } else if (op.type == "eltwise-fix") {
      attrs->set_attr("type", op.variant);
      attrs->set_attr("nonlinear", op.nonlinear);
    } else if (op.type == "pool-fix" || op.type == "conv2d-fix" || op.type == "depthwise-conv2d-fix") {
      attrs->set_attr("kernel", ints(op.kernel));
      attrs->set_attr("stride", ints(op.stride));
      attrs->set_attr("pad", ints(op.pad));
      if (op.type == "pool-fix") {
        attrs->set_attr("type", op.variant);
      } else {
        attrs->set_attr("dilation", ints(op.dilation));
        attrs->set_attr("nonlinear", op.nonlinear);
        if (op.nonlinear == "LEAKYRELU") attrs->set_attr<float>("LEAKYRELU_alpha", 26.0f / 256.0f);
        inputs["weights"] = {constant(op.name + "/weights", ints(op.weight_shape), op.weights, op.fp_weight)};
        inputs["bias"] = {
            constant(op.name + "/bias", {static_cast<std::int32_t>(op.bias.size())}, op.bias, op.fp_bias)};
      }
    } else {
      throw Error{Errc::unsupported,
                  "xmodel program: operation '" + op.name + "' is of the unknown type " + op.type};
    }
    xir::Op* made =
        finish(graph_->add_op(op.name, op.type, std::move(attrs), inputs), op.fix_point, "DPU_ROUND");
    made->shape_infer();
    const auto& shape = made->get_output_tensor()->get_shape();
    if (!std::equal(shape.begin(), shape.end(), op.shape.begin(), op.shape.end())) {
      throw Error{Errc::unsupported,
                  "operation '" + op.name + "': XIR gives its result another shape; cut before it"};
    }
    return made;
  }

  /// The inputs for the user, everything else for the DPU.
  void split() {
    auto* root = graph_->get_root_subgraph();
    root->set_name("root");
    root->create_children();
    std::set<xir::Subgraph*> user, dpu;
    for (auto* child : root->get_children()) {
      const auto inside = child->get_ops();
      const bool data = std::any_of(inside.begin(), inside.end(),
                                    [](const xir::Op* o) { return o->get_type() == "data-fix"; });
      (data ? user : dpu).insert(child);
    }
    if (user.empty() || dpu.empty())
      throw Error{Errc::bad_file, "xmodel program: it has no inputs or no operations"};
    auto* inputs = root->merge_children(user);
    inputs->set_name("subgraph_input");
    inputs->set_attr<std::string>("device", "USER");
    auto* head = root->merge_children(dpu);
    head->set_name("subgraph_head");
    head->set_attr<std::string>("device", "DPU");
    head->set_attr("runner", std::map<std::string, std::string>{{"ref", "libvart-cpu-runner.so"},
                                                                {"run", "libvart-dpu-runner.so"}});
  }

  const XmodelProgram& program_;
  std::unique_ptr<xir::Graph> graph_;
  std::vector<xir::Op*> ops_;
};

}  // namespace

void write_xmodel(const XmodelProgram& program, const std::string& path) { Writer{program}.write(path); }

}  // namespace splitcnn::inline v0::dpu
