#include "dpu/vart/xmodel_checks.hpp"

#include <cstdlib>

namespace splitcnn::inline v0::dpu {

namespace {

constexpr int xint = 2, xint_of_int = 0;

[[noreturn]] void refuse(Errc code, const std::string& file, const std::string& what) {
  throw Error{code, "xmodel '" + file + "': " + what};
}

const XmodelSubgraph& dpu_subgraph(const XmodelFile& file, const ModelRequest& request) {
  std::uint32_t count = 0;
  const XmodelSubgraph* chosen = nullptr;
  for (const XmodelSubgraph& s : file.subgraphs) {
    if (s.device != "DPU") continue;
    if (count++ == request.subgraph) chosen = &s;
  }
  if (count == 0) refuse(Errc::unsupported, request.file, "has no DPU subgraph; was it compiled for a DPU?");
  if (!chosen)
    refuse(Errc::mismatch, request.file,
           "has " + std::to_string(count) + " DPU subgraphs, number " + std::to_string(request.subgraph) +
               " (from 0) was asked for");
  return *chosen;
}

void check_mode(const XmodelSubgraph& s, const ModelRequest& request) {
  if (s.runners.empty())
    refuse(Errc::unsupported, request.file,
           "subgraph '" + s.name + "' names no runner; compile it, or export it again");
  if (s.runners.contains(request.mode)) return;
  std::string modes;
  for (const auto& [mode, library] : s.runners) modes += (modes.empty() ? "" : ", ") + mode;
  refuse(Errc::unsupported, request.file, "has no mode '" + request.mode + "'; it has " + modes);
}

void check_tensors(const XmodelFile& file, const XmodelSubgraph& s, const ModelRequest& request) {
  for (const auto& list : {file.inputs(s), file.outputs(s)}) {
    if (list.empty()) refuse(Errc::bad_model, request.file, "its DPU subgraph has no inputs or no outputs");
    for (const XmodelOp* op : list) {
      const XmodelTensor& t = op->output;
      if (!t.has_fix_point)
        refuse(Errc::unsupported, request.file,
               "tensor '" + t.name + "' at the edge of the DPU subgraph has no fix point");
      if (t.bits != 8 || (t.data_type != xint && t.data_type != xint_of_int))
        refuse(Errc::unsupported, request.file, "tensor '" + t.name + "' is not int8");
      if (t.dims.empty()) refuse(Errc::unsupported, request.file, "tensor '" + t.name + "' has no shape");
      // VART finds a buffer by whether its tensor's name contains the wanted one.
      for (const XmodelOp* other : list) {
        if (other != op && other->output.name.find(t.name) != std::string::npos) {
          refuse(Errc::unsupported, request.file,
                 "the name of tensor '" + t.name + "' is part of '" + other->output.name +
                     "', which VART confuses; rename one");
        }
      }
    }
  }
}

void check_reference(const XmodelFile& file, const XmodelSubgraph& s, const ModelRequest& request) {
  if (!file.has_weights(s)) {
    refuse(Errc::unsupported, request.file,
           "its constants were taken out when it was compiled, so that only the DPU can run it (mode run), "
           "not the reference (mode ref)");
  }
  for (const std::string& name : s.ops) {
    if (file.op(name)->split_sums)
      refuse(Errc::unsupported, request.file,
             "operation '" + name +
                 "' cuts its sums in between (shift_psum), which the reference does otherwise");
  }
}

}  // namespace

const XmodelSubgraph& check_subgraph(const XmodelFile& file, const ModelRequest& request) {
  const XmodelSubgraph& s = dpu_subgraph(file, request);
  check_mode(s, request);
  check_tensors(file, s, request);
  if (request.mode == "ref") check_reference(file, s, request);
  const char* here = std::getenv("SPLITCNN_DPU_FINGERPRINT");
  if (request.mode == "run" && here && !s.fingerprint.empty() && std::string{here} != s.fingerprint) {
    refuse(Errc::mismatch, request.file,
           "was compiled for the DPU with fingerprint " + s.fingerprint + ", this machine's is " + here +
               "; compile it with this machine's arch.json");
  }
  return s;
}

std::vector<SubgraphInfo> inspect_model(const std::string& path) {
  const XmodelFile file = read_xmodel(path);
  std::vector<SubgraphInfo> list;
  const auto specs = [](const std::vector<const XmodelOp*>& ops) {
    std::vector<TensorSpec> result;
    for (const XmodelOp* op : ops) {
      const std::size_t rank = std::min(op->output.dims.size(), Shape::max_rank);
      result.push_back({.name = op->output.name,
                        .shape = Shape{std::span<const std::int64_t>{op->output.dims}.first(rank)},
                        .dtype = op->output.bits == 8 ? DType::i8 : DType::f32,
                        .fix_point = op->output.fix_point});
    }
    return result;
  };
  for (const XmodelSubgraph& s : file.subgraphs) {
    list.push_back({.name = s.name,
                    .device = s.device,
                    .dpu_name = s.dpu_name,
                    .fingerprint = s.fingerprint,
                    .runners = s.runners,
                    .workload = s.workload,
                    .weights = file.has_weights(s),
                    .inputs = specs(file.inputs(s)),
                    .outputs = specs(file.outputs(s))});
  }
  return list;
}

}  // namespace splitcnn::inline v0::dpu
