#pragma once
/// A segment of a quantised graph as instructions of the software DPU over one block of memory.
#include <cstddef>
#include <variant>
#include <vector>

#include "dpu/soft/kernels.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0::soft {

/// One tensor in the block. Buffers whose lives do not overlap share bytes.
struct Buffer {
  TensorId tensor = 0;
  std::size_t bytes = 0, offset = 0;
  int fix_point = 0;
  bool non_negative = false;            ///< no byte is ever below zero
  std::ptrdiff_t first = -1, last = -1;  ///< instructions that write it first and read it last
};

struct Add : BinarySpec {};
struct Mul : BinarySpec {};

struct Instruction {
  std::string name;
  std::vector<std::size_t> inputs;  ///< buffers; two for Add and Mul, else one
  std::size_t output = 0;
  std::variant<ConvSpec, Add, Mul, PoolSpec, MoveSpec> work;
};

/// Where a tensor at the segment's edge is.
struct Edge {
  TensorId tensor = 0;
  std::size_t buffer = 0;
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Instruction> instructions;
  std::vector<Edge> inputs, outputs;  ///< in the order of boundary()
  std::size_t bytes = 0;              ///< of the block
};

/// Nodes [first, last). Throws unsupported naming the node and what about it, mismatch when fix points for its weights are missing.
Program compile(const QuantizedGraph& quant, NodeId first, NodeId last);

}  // namespace splitcnn::inline v0::soft
