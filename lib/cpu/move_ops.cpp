#include <cstring>

#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

std::int64_t offset_of(const std::vector<std::int64_t>& at, const Strides& strides) {
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < at.size(); ++d) offset += at[d] * strides[d];
  return offset;
}

/// A copy between fixed places.
struct Move {
  BoxCopy copy;
  const float* from;
  float* to;
  void operator()() const noexcept { copy(from, to); }
};

/// Row-major order of the logical shape in, the same order of another logical shape out. At most one of the
/// two copies is more than a plain one unless both ranks are 4.
Step reshape_step(const Operand& in, const Operand& out) {
  const std::int64_t n = in.shape.elements();
  if (in.shape == out.shape || (in.shape.rank() != 4 && out.shape.rank() != 4)) {
    return [from = in.data, to = out.data, n] {
      std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
    };
  }
  const BoxCopy read{in.shape, storage_strides(in.shape), row_major_strides(in.shape)};
  const BoxCopy write{out.shape, row_major_strides(out.shape), storage_strides(out.shape)};
  if (out.shape.rank() != 4) return Move{read, in.data, out.data};
  if (in.shape.rank() != 4) return Move{write, in.data, out.data};
  return [=, from = in.data, to = out.data,
          between = std::vector<float>(static_cast<std::size_t>(n))]() mutable {
    read(from, between.data());
    write(between.data(), to);
  };
}

}  // namespace

Step make_concat(const OpContext& context) {
  const Operand& out = context.out[0];
  const auto axis = static_cast<std::size_t>(context.node->axes[0]);
  const Strides to = storage_strides(out.shape);
  std::vector<Move> moves;
  std::int64_t at = 0;
  for (const Operand& in : context.in) {
    moves.push_back({BoxCopy{in.shape, storage_strides(in.shape), to}, in.data, out.data + at * to[axis]});
    at += in.shape[axis];
  }
  return [moves = std::move(moves), y = out.data, n = out.shape.elements(),
          activation = context.op->activation] {
    for (const Move& move : moves) move();
    activate(activation, y, y, n);
  };
}

Step make_slice(const OpContext& context) {
  const Operand &in = context.in[0], &out = context.out[0];
  const Strides own = storage_strides(in.shape);
  Strides from = own;
  for (std::size_t d = 0; d < in.shape.rank(); ++d) from[d] *= context.node->steps[d];
  const std::int64_t offset = out.shape.elements() == 0 ? 0 : offset_of(context.node->begins, own);
  return Move{BoxCopy{out.shape, from, storage_strides(out.shape)}, in.data + offset, out.data};
}

Step make_split(const OpContext& context) {
  const Operand& in = context.in[0];
  const auto axis = static_cast<std::size_t>(context.node->axes[0]);
  const Strides from = storage_strides(in.shape);
  std::vector<Move> moves;
  std::int64_t at = 0;
  for (const Operand& out : context.out) {
    moves.push_back(
        {BoxCopy{out.shape, from, storage_strides(out.shape)}, in.data + at * from[axis], out.data});
    at += out.shape[axis];
  }
  return [moves = std::move(moves)] {
    for (const Move& move : moves) move();
  };
}

Step make_pad(const OpContext& context) {
  const Operand &in = context.in[0], &out = context.out[0];
  const Strides to = storage_strides(out.shape);
  const Move move{BoxCopy{in.shape, storage_strides(in.shape), to}, in.data,
                  out.data + offset_of(context.node->begins, to)};
  return [move, y = out.data, n = out.shape.elements(), value = context.node->alpha] {
    fill(y, n, value);
    move();
  };
}

Step make_gather(const OpContext& context) {
  const Operand &in = context.in[0], &out = context.out[0];
  const auto axis = static_cast<std::size_t>(context.node->axes[0]);
  // As if the indices were one-dimensional; other index shapes are a reshape of that.
  Shape plain = in.shape, slab = in.shape;
  plain[axis] = static_cast<std::int64_t>(context.node->begins.size());
  slab[axis] = 1;
  const bool direct = plain == out.shape;
  std::vector<float> between(direct ? 0 : static_cast<std::size_t>(plain.elements()));
  const Strides from = storage_strides(in.shape), to = storage_strides(plain);
  const BoxCopy copy{slab, from, to};
  const auto gather = [copy, x = in.data, step_from = from[axis], step_to = to[axis],
                       indices = context.node->begins](float* y) {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      copy(x + indices[i] * step_from, y + static_cast<std::int64_t>(i) * step_to);
    }
  };
  if (direct) return [gather, y = out.data] { gather(y); };
  auto buffer = std::make_shared<std::vector<float>>(std::move(between));
  const Step arrange = reshape_step({buffer->data(), plain}, out);
  return [gather, buffer, arrange] {
    gather(buffer->data());
    arrange();
  };
}

Step make_reshape(const OpContext& context) { return reshape_step(context.in[0], context.out[0]); }

Step make_transpose(const OpContext& context) {
  const Operand &in = context.in[0], &out = context.out[0];
  const Strides own = storage_strides(in.shape);
  Strides from{};
  for (std::size_t d = 0; d < out.shape.rank(); ++d)
    from[d] = own[static_cast<std::size_t>(context.node->axes[d])];
  return Move{BoxCopy{out.shape, from, storage_strides(out.shape)}, in.data, out.data};
}

}  // namespace splitcnn::inline v0::cpu
