#pragma once
/// A DPU segment as the operations of an xmodel, before XIR makes a file of it. The application, which has no
/// XIR, writes it; the worker, which has, reads it (splitcnn-dpu-worker --write-xmodel).
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dpu/protocol/bytes.hpp"

namespace splitcnn::inline v0::dpu {

struct XmodelProgramOp {
  std::string
      type;  ///< "data-fix", "conv2d-fix", "depthwise-conv2d-fix", "eltwise-fix", "pool-fix", "concat-fix"
  std::string name;                     ///< of the operation and of its tensor
  std::vector<std::uint32_t> inputs{};  ///< operations before this one
  std::array<std::int32_t, 4> shape{};  ///< of the result: n, h, w, c
  std::int32_t fix_point = 0;
  std::string variant{};                                       ///< eltwise: "ADD", "MUL"; pool: "MAX", "AVG"
  std::string nonlinear{};                                     ///< "NONE", "RELU", "RELU6", "LEAKYRELU"
  std::array<std::int32_t, 2> kernel{}, stride{}, dilation{};  ///< w, h
  std::array<std::int32_t, 4> pad{};                           ///< left, right, top, bottom
  std::int32_t fp_weight = 0, fp_bias = 0;
  std::array<std::int32_t, 4> weight_shape{};  ///< o, h, w, i; depthwise: 1, h, w, c
  std::vector<std::byte> weights{}, bias{};
};

struct XmodelProgram {
  std::string name;
  std::vector<XmodelProgramOp> ops;
};

std::vector<std::byte> encode(const XmodelProgram& program);
/// Throws bad_file.
XmodelProgram decode_program(std::span<const std::byte> bytes);

/// Makes the file through XIR: one root with a child USER (the inputs) and one DPU, which names runners for
/// modes "run" and "ref". Throws not_built without XIR, unsupported where XIR sees another shape, io.
void write_xmodel(const XmodelProgram& program, const std::string& path);

}  // namespace splitcnn::inline v0::dpu
