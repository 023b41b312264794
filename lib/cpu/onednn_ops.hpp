#pragma once
/// Convolutions and matrix products on oneDNN.
#include <memory>

#include "cpu/ops.hpp"

namespace splitcnn::inline v0::cpu {

/// Engine, stream, packed weights and the scratch memory that the primitives of one executor share. oneDNN's own scratch
/// memory belongs to the thread that creates a primitive; with ours, building on one thread and running on
/// another is fine.
class OneDnn {
 public:
  OneDnn();
  OneDnn(OneDnn&&) noexcept;
  OneDnn& operator=(OneDnn&&) noexcept;
  ~OneDnn();

  /// Before the first make_conv(): the bytes that all packed weights together are likely to need.
  void expect(std::size_t weight_bytes);
  /// Op::conv of a lowered segment, dense layers included; packs the weights. Throws unsupported naming the
  /// node.
  Step make_conv(const OpContext& context);
  /// Op::gemm and Op::matmul that did not become convolutions (weights computed by the graph, several
  /// dimensions, ...).
  Step make_product(const OpContext& context);
  /// After the last make_conv(): allocates the scratch memory.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0::cpu
