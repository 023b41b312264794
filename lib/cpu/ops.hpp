#pragma once
/// The lowered operations as closures over fixed buffers: planned once, run often. Every maker reads shapes
/// and attributes, does what can be done ahead of time and returns the work of one run. Buffers are stored as
/// storage_shape() says.
#include <functional>
#include <vector>

#include "graph/lower.hpp"

namespace splitcnn::inline v0::cpu {

struct Operand {
  float* data = nullptr;
  Shape shape;  // logical
};

struct OpContext {
  const Node* node = nullptr;
  LoweredOp* op = nullptr;  // weights may be moved out of it
  std::vector<Operand> in, out;
  int threads = 1;
};

/// Does not throw, does not allocate, reads `in` and writes `out`.
using Step = std::function<void()>;

/// Everything but Op::conv, gemm and matmul. Throws unsupported naming the node.
Step make_step(const OpContext& context);

Step make_unary(const OpContext& context);       // relu ... sqrt, identity
Step make_binary(const OpContext& context);      // add, sub, mul, div, prelu
Step make_batch_norm(const OpContext& context);  // only where it is no channel_affine(): ranks 3, 5, ...
Step make_affine(const OpContext& context);      // Op::conv with one weight per channel and kernel 1x1
Step make_pool(const OpContext& context);
Step make_mean(const OpContext& context);  // global_average_pool, reduce_mean
Step make_softmax(const OpContext& context);
Step make_lrn(const OpContext& context);
Step make_resize(const OpContext& context);
Step make_concat(const OpContext& context);
Step make_slice(const OpContext& context);
Step make_split(const OpContext& context);
Step make_pad(const OpContext& context);
Step make_gather(const OpContext& context);
Step make_reshape(const OpContext& context);
Step make_transpose(const OpContext& context);

/// y = activation(x); y may be x.
void activate(const Activation& activation, const float* x, float* y, std::int64_t n) noexcept;

}  // namespace splitcnn::inline v0::cpu
