#include <fmt/core.h>

#include "cpu/ops.hpp"

namespace splitcnn::inline v0::cpu {

Step make_step(const OpContext& context) {
  switch (context.node->op) {
    case Op::relu:
    case Op::clip:
    case Op::leaky_relu:
    case Op::hard_sigmoid:
    case Op::hard_swish:
    case Op::sigmoid:
    case Op::tanh:
    case Op::exp:
    case Op::sqrt:
    case Op::identity:
      return make_unary(context);
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::prelu:
      return make_binary(context);
    case Op::batch_norm:
      return make_batch_norm(context);
    case Op::max_pool:
    case Op::average_pool:
      return make_pool(context);
    case Op::global_average_pool:
    case Op::reduce_mean:
      return make_mean(context);
    case Op::concat:
      return make_concat(context);
    case Op::slice:
      return make_slice(context);
    case Op::split:
      return make_split(context);
    case Op::pad:
      return make_pad(context);
    case Op::gather:
      return make_gather(context);
    case Op::reshape:
      return make_reshape(context);
    case Op::transpose:
      return make_transpose(context);
    case Op::resize:
      return make_resize(context);
    case Op::softmax:
    case Op::log_softmax:
      return make_softmax(context);
    case Op::lrn:
      return make_lrn(context);
    case Op::conv:
    case Op::gemm:
    case Op::matmul:
      break;  // in onednn_ops.cpp
  }
  throw Error{Errc::unsupported, fmt::format("node '{}' ({}): cannot run on the CPU; please report this",
                                             context.node->name, to_string(context.node->op))};
}

}  // namespace splitcnn::inline v0::cpu
