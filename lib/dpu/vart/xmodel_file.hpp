#pragma once
/// What an xmodel file says, read from its bytes without VART or XIR, so that it can be looked at anywhere
/// and so that a damaged file is an Error before XIR, which would end the process, sees it.
///
///     XmodelFile file = read_xmodel("head.xmodel");
///     for (const XmodelSubgraph& s : file.subgraphs) ...
///
/// The format is protobuf (the message Graph of XIR's second version: amd/xir 3.5.0,
/// src/xir/proto/graph_proto_v2.proto); field numbers are those. Only what is named here is kept.
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0::dpu {

struct XmodelTensor {
  std::string name;
  std::vector<std::int64_t> dims;
  int data_type = 0;  ///< of XIR: 0 int, 1 uint, 2 xint, 3 xuint, 4 float
  int bits = 0;
  bool has_fix_point = false;
  int fix_point = 0;
};

struct XmodelOp {
  std::string name, type;
  std::vector<std::string> inputs;
  XmodelTensor output;
  std::size_t data_bytes = 0;  ///< of the attribute "data": constants
  bool split_sums =
      false;  ///< shift_psum and ic_iter: sums are cut in between, which nobody here has checked
};

struct XmodelSubgraph {
  std::string name, device, dpu_name, fingerprint;
  std::map<std::string, std::string> runners;
  std::uint64_t workload = 0;
  std::vector<std::string> ops;  ///< of it and everything below
};

struct XmodelFile {
  std::string name;
  std::vector<XmodelOp> ops;
  std::vector<XmodelSubgraph> subgraphs;  ///< children of the root, in the order in which they can run

  [[nodiscard]] const XmodelOp* op(const std::string& op_name) const;
  /// Tensors that enter and leave, each once, by name.
  [[nodiscard]] std::vector<const XmodelOp*> inputs(const XmodelSubgraph& subgraph) const;
  [[nodiscard]] std::vector<const XmodelOp*> outputs(const XmodelSubgraph& subgraph) const;
  /// Constants are all there: a compiled model may have had them taken out.
  [[nodiscard]] bool has_weights(const XmodelSubgraph& subgraph) const;

 private:
  friend XmodelFile parse_xmodel(std::span<const std::byte>, const std::string&);
  std::map<std::string, std::size_t> index_;
};

/// Throws bad_model naming `where` and what is wrong.
XmodelFile parse_xmodel(std::span<const std::byte> bytes, const std::string& where);
/// 2 GiB at most. Throws io, bad_model.
XmodelFile read_xmodel(const std::string& path);

}  // namespace splitcnn::inline v0::dpu
