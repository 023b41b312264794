// Ops that only move elements: slices, concatenation, padding, transposition, reshaping, gathering, resizing.
#include <algorithm>
#include <cmath>

#include "gpu/tail/builder.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

const Node& node_of(const Builder& b, const LoweredOp& op) { return b.graph.nodes()[op.node]; }

/// Loops over all of `box` (a logical shape) in the storage order of y, with the given steps per logical axis.
std::vector<Loop> box_loops(const Shape& box, const LogicalStrides& from, const LogicalStrides& to) {
  std::vector<Loop> loops;
  for (std::size_t d = 0; d < box.rank(); ++d) loops.push_back({box[d], {from[d], 0, 0, to[d]}});
  if (box.rank() == 4) loops = {loops[0], loops[2], loops[3], loops[1]};
  return loops;
}

/// The innermost logical axis in storage.
std::size_t innermost(const Shape& logical) { return logical.rank() == 4 ? 1 : logical.rank() - 1; }

TailOp& add_move(Builder& b, std::uint32_t x, std::uint32_t y, const Shape& box, const LogicalStrides& from, std::int64_t x_offset,
                 const LogicalStrides& to, std::int64_t y_offset, std::int32_t pad_lanes) {
  TailOp& op = b.add(TailKind::move);
  op.x[0] = x;
  op.y = y;
  op.pad_lanes = pad_lanes;
  set_walks(op, box_loops(box, from, to), {x_offset, 0, 0, y_offset}, b.pads(y) == 0);
  return op;
}

/// Where an output coordinate of a resize lies in the input; in float, as the models were trained.
float original(const Node& node, std::int64_t o, std::int64_t in, std::int64_t out, float scale) {
  const auto x = static_cast<float>(o);
  switch (node.coordinates) {
    case Coordinates::half_pixel:
      return (x + 0.5f) / scale - 0.5f;
    case Coordinates::pytorch_half_pixel:
      return out > 1 ? (x + 0.5f) / scale - 0.5f : 0.0f;
    case Coordinates::asymmetric:
      return x / scale;
    case Coordinates::align_corners:
      return out == 1 ? 0.0f : x * static_cast<float>(in - 1) / static_cast<float>(out - 1);
  }
  return x;
}

TailTap tap_of(const Node& node, float x, std::int64_t in, std::int64_t stride) {
  const auto at = [&](std::int64_t i) { return static_cast<std::int32_t>(std::clamp<std::int64_t>(i, 0, in - 1) * stride); };
  if (node.resize_mode == ResizeMode::nearest) {
    const auto i = static_cast<std::int64_t>(node.nearest_floor ? std::floor(x) : std::ceil(x - 0.5f));
    return {at(i), at(i), 0};
  }
  const float inside = std::clamp(x, 0.0f, static_cast<float>(in - 1));
  const auto low = static_cast<std::int64_t>(inside);
  return {at(low), at(low + 1), inside - static_cast<float>(low)};
}

/// A resample op over y; `table(axis, length)` gives the taps of a logical axis.
template <class F>
void add_resample(Builder& b, std::uint32_t x, std::uint32_t y, const F& table) {
  std::vector<std::size_t> axis;
  const std::vector<Loop> loops = b.loops_over(y, axis);
  TailOp& op = b.add(TailKind::resample);
  op.x[0] = x;
  op.y = y;
  op.clear = b.pads(y) != 0;
  TailWalk& walk = op.walk[3];  // not merged: every dimension has its table
  walk.rank = static_cast<std::int32_t>(loops.size());
  for (std::size_t d = 0; d < loops.size(); ++d) {
    walk.dims[d] = static_cast<std::int32_t>(loops[d].n);
    walk.strides[d] = static_cast<std::int32_t>(loops[d].step[3]);
    const std::vector<TailTap> taps = table(axis[d], loops[d].n);
    op.taps[d] = b.place(taps.data(), taps.size() * sizeof(TailTap));
  }
  op.walk[0] = walk;
}

/// Storage order of both is the same run of elements with the same padding.
bool same_bytes(const Builder& b, std::uint32_t x, const Shape& to) {
  const Shape& from = b.logical(x);
  if (from == to) return true;
  if (to.rank() == 0) return from.elements() == 1;
  const auto row_major = [](const Shape& s) { return s.rank() != 4 || (s[2] == 1 && s[3] == 1) || s[1] == 1; };
  const auto last = [](const Shape& s) { return s[innermost(s)]; };
  return row_major(from) && row_major(to) && last(from) == last(to);
}

}  // namespace

std::uint32_t reshaped(Builder& b, std::uint32_t x, const Shape& shape, std::uint32_t source) {
  const Shape to = shape.rank() == 0 ? Shape{1} : shape;  // a copy: tensors are added below
  if (same_bytes(b, x, to)) return b.alias(x, to, source);
  const std::uint32_t y = b.make(to, source);
  std::vector<std::size_t> axis;
  std::vector<Loop> loops = b.loops_over(y, axis);
  std::array<std::int64_t, tail_dims> position{};  // row-major, logical
  std::int64_t step = 1;
  for (std::size_t d = to.rank(); d-- > 0; step *= to[d]) position[d] = step;
  for (std::size_t d = 0; d < loops.size(); ++d) loops[d].step[1] = position[axis[d]];
  TailOp& op = b.add(TailKind::reshape);
  op.x[0] = x;
  op.y = y;
  op.pad_lanes = b.pads(y);
  set_walks(op, loops, {0, 0, 0, 0}, op.pad_lanes == 0);
  const auto strides = b.strides(x);
  const Shape& from = b.logical(x);
  TailWalk decode;
  decode.rank = static_cast<std::int32_t>(from.rank());
  for (std::size_t d = 0; d < from.rank(); ++d) {
    decode.dims[d] = static_cast<std::int32_t>(from[d]);
    decode.strides[d] = static_cast<std::int32_t>(strides[d]);
  }
  op.walk[0] = decode;
  return y;
}

void build_reshape(Builder& b, const LoweredOp& op) {
  const TensorId id = op.outputs[0];
  b.bind(id, reshaped(b, b.operand(op.inputs[0]), b.graph.tensor(id).shape, id));
}

void build_concat(Builder& b, const LoweredOp& op) {
  const auto axis = static_cast<std::size_t>(node_of(b, op).axes[0]);
  const std::uint32_t y = b.result(op.outputs[0]);
  const Shape whole = b.logical(y);
  const bool across = axis == innermost(whole);
  const auto to = b.strides(y);
  std::int64_t at = 0;
  for (const TensorId id : op.inputs) {
    const std::uint32_t x = b.operand(id, whole.rank());
    const Shape part = b.logical(x);
    const bool last = at + part[axis] == whole[axis];
    TailOp& move = add_move(b, x, y, part, b.strides(x), 0, to, at * to[axis], !across || last ? b.pads(y) : 0);
    if (op.activation.kind != Activation::Kind::none) {
      move.kind = TailKind::elementwise;
      move.math = TailMath::copy;
      set_activation(move, op.activation);
    }
    at += part[axis];
  }
}

void build_slices(Builder& b, const LoweredOp& op) {
  const Node& node = node_of(b, op);
  const std::uint32_t x = b.operand(op.inputs[0]);
  const auto own = b.strides(x);
  std::int64_t at = 0;
  for (const TensorId id : op.outputs) {
    const std::uint32_t y = b.result(id);
    const Shape box = b.logical(y);
    LogicalStrides from = own;
    std::int64_t offset = 0;
    if (node.op == Op::slice) {
      for (std::size_t d = 0; d < box.rank(); ++d) {
        from[d] *= node.steps[d];
        offset += node.begins[d] * own[d];
      }
    } else {
      const auto axis = static_cast<std::size_t>(node.axes[0]);
      offset = at * own[axis];
      at += box[axis];
    }
    add_move(b, x, y, box, from, offset, b.strides(y), 0, b.pads(y));
  }
}

void build_pad(Builder& b, const LoweredOp& op) {
  const Node& node = node_of(b, op);
  const std::uint32_t x = b.operand(op.inputs[0]), y = b.result(op.outputs[0]);
  const Shape box = b.logical(x);
  const auto to = b.strides(y);
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < box.rank(); ++d) offset += node.begins[d] * to[d];
  std::vector<std::size_t> axis;
  TailOp& fill = b.add(TailKind::fill);
  fill.y = y;
  fill.value = node.alpha;
  fill.pad_lanes = b.pads(y);
  set_walks(fill, b.loops_over(y, axis), {0, 0, 0, 0}, fill.pad_lanes == 0);
  add_move(b, x, y, box, b.strides(x), 0, to, offset, 0);
}

void build_transpose(Builder& b, const LoweredOp& op) {
  const Node& node = node_of(b, op);
  const std::uint32_t x = b.operand(op.inputs[0]), y = b.result(op.outputs[0]);
  const auto own = b.strides(x);
  const Shape box = b.logical(y);
  LogicalStrides from{};
  for (std::size_t d = 0; d < box.rank(); ++d) from[d] = own[static_cast<std::size_t>(node.axes[d])];
  add_move(b, x, y, box, from, 0, b.strides(y), 0, b.pads(y));
}

void build_gather(Builder& b, const LoweredOp& op) {
  const Node& node = node_of(b, op);
  const std::uint32_t x = b.operand(op.inputs[0]);
  const auto along = static_cast<std::size_t>(node.axes[0]);
  const auto own = b.strides(x);
  Shape plain = b.logical(x);  // as if the indices were one-dimensional
  plain[along] = static_cast<std::int64_t>(node.begins.size());
  const TensorId id = op.outputs[0];
  const Shape to = b.graph.tensor(id).shape;
  const std::uint32_t y = plain == to ? b.result(id) : b.make(plain);
  add_resample(b, x, y, [&](std::size_t axis, std::int64_t n) {
    std::vector<TailTap> taps;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto from = static_cast<std::int32_t>((axis == along ? node.begins[static_cast<std::size_t>(i)] : i) * own[axis]);
      taps.push_back({from, from, 0});
    }
    return taps;
  });
  if (plain != to) b.bind(id, reshaped(b, y, to, id));
}

void build_resize(Builder& b, const LoweredOp& op) {
  const Node& node = node_of(b, op);
  const std::uint32_t x = b.operand(op.inputs[0]), y = b.result(op.outputs[0]);
  const auto own = b.strides(x);
  const Shape in = b.logical(x);
  add_resample(b, x, y, [&](std::size_t axis, std::int64_t n) {
    std::vector<TailTap> taps;
    for (std::int64_t i = 0; i < n; ++i)
      taps.push_back(tap_of(node, original(node, i, in[axis], n, node.scales[axis]), in[axis], own[axis]));
    return taps;
  });
}

}  // namespace splitcnn::inline v0::gpu
