// Operators that move elements: all of them also run on constants, which is how shape arithmetic folds away.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/onnx/node_context.hpp"
#include "graph/onnx/tensor_data.hpp"

namespace splitcnn::inline v0 {

namespace {

using Integers = std::vector<std::int64_t>;

Integers dims_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

void reshape(NodeContext& c) {
  c.expect_inputs(2, 2);
  const Shape x = c.shape(0);
  Integers dims = c.constant_integers(1, "shape");
  const bool zero_copies = !c.flag("allowzero", false);
  std::int64_t known = 1;
  std::size_t open = dims.size();
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 0 && zero_copies) {
      if (d >= x.rank())
        c.bad(fmt::format("copies dimension {} of {}; export the model again", d, to_string(x)));
      dims[d] = x[d];
    }
    if (dims[d] == -1) {
      if (open != dims.size()) c.bad("leaves two dimensions open; export the model again");
      open = d;
      continue;
    }
    if (dims[d] < 0 || (dims[d] > 0 && known > std::numeric_limits<std::int64_t>::max() / dims[d])) {
      c.bad(fmt::format("asks for the dimension {}; export the model again", dims[d]));
    }
    known *= dims[d];
  }
  if (open != dims.size()) {
    if (known == 0 || x.elements() % known != 0) {
      c.bad(
          fmt::format("{} elements of {} do not fit its shape; a fixed batch in the file needs "
                      "LoadOptions::batch = that batch",
                      x.elements(), to_string(x)));
    }
    dims[open] = x.elements() / known;
  }
  const Shape out = c.shape_of(dims);
  if (out.elements() != x.elements()) {
    c.bad(
        fmt::format("the shape {} does not fit its input {}; a fixed batch in the file needs "
                    "LoadOptions::batch = that batch",
                    to_string(out), to_string(x)));
  }
  c.emit_reshape(c.input(0), out);
}

void flatten(NodeContext& c) {
  c.expect_inputs(1, 1);
  const Shape x = c.shape(0);
  const auto rank = static_cast<std::int64_t>(x.rank());
  std::int64_t axis = c.integer("axis", 1);
  if (axis < -rank || axis > rank)
    c.bad(fmt::format("axis {} is outside {}; export the model again", axis, to_string(x)));
  if (axis < 0) axis += rank;
  Shape out{1, 1};
  for (std::int64_t d = 0; d < rank; ++d) out[d < axis ? 0 : 1] *= x[static_cast<std::size_t>(d)];
  c.emit_reshape(c.input(0), out);
}

void squeeze(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 13 ? 1 : 2);
  const Shape x = c.shape(0);
  const auto given = c.moved_integers("axes", 1, 13);
  const Integers axes = given ? c.axes(*given, x.rank()) : Integers{};
  Integers dims;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const bool named = std::binary_search(axes.begin(), axes.end(), static_cast<std::int64_t>(d));
    if (named && x[d] != 1)
      c.bad(fmt::format("dimension {} of {} is not 1; export the model again", d, to_string(x)));
    if (!(named || (!given && x[d] == 1))) dims.push_back(x[d]);
  }
  c.emit_reshape(c.input(0), c.shape_of(dims));
}

void unsqueeze(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 13 ? 1 : 2);
  const Shape x = c.shape(0);
  const auto given = c.moved_integers("axes", 1, 13);
  if (!given) c.bad("has no axes; export the model again");
  const std::size_t rank = x.rank() + given->size();
  if (rank > Shape::max_rank)
    c.unsupported(fmt::format("makes a tensor of {} dimensions; {} are the most this library handles", rank,
                              Shape::max_rank));
  const Integers axes = c.axes(*given, rank);
  Integers dims = dims_of(x);
  for (const std::int64_t a : axes) dims.insert(dims.begin() + a, 1);
  c.emit_reshape(c.input(0), c.shape_of(dims));
}

void transpose(NodeContext& c) {
  c.expect_inputs(1, 1);
  const std::size_t rank = c.shape(0).rank();
  Node node{.op = Op::transpose};
  if (const auto perm = c.integers("perm")) {
    for (const std::int64_t p : *perm) node.axes.push_back(static_cast<std::int64_t>(c.axis(p, rank)));
  } else {
    node.axes.resize(rank);
    std::iota(node.axes.rbegin(), node.axes.rend(), 0);
  }
  c.emit(std::move(node), {&c.input(0)});
}

void concat(NodeContext& c) {
  c.expect_inputs(1, 100'000);
  if (!c.has_attribute("axis")) c.bad("has no axis; export the model again");
  const std::size_t rank = c.shape(0).rank();
  Node node{.op = Op::concat, .axes = {static_cast<std::int64_t>(c.axis(c.integer("axis", 0), rank))}};
  std::vector<Value*> inputs;
  for (std::size_t i = 0; i < c.inputs(); ++i) {
    // Empty parts occur in exported shape arithmetic; they add nothing.
    const bool empty = c.is_constant(i) && c.shape(i).elements() == 0 && c.inputs() > 1;
    if (!empty) inputs.push_back(&c.input(i));
  }
  if (inputs.empty()) inputs.push_back(&c.input(0));
  c.emit(std::move(node), std::move(inputs));
}

/// begin and end of one dimension as ONNX means them (negative counts from the end, beyond is cut) to the
/// internal form.
void resolve_range(std::int64_t size, std::int64_t step, std::int64_t& begin, std::int64_t& end) {
  // Clamping before adding keeps INT64_MIN and INT64_MAX, which mean "all the way", from overflowing.
  const auto count = [&](std::int64_t v) {
    return v < 0 ? std::max(v, -size - 1) + size : std::min(v, size);
  };
  begin = count(begin);
  end = count(end);
  begin = std::clamp<std::int64_t>(begin, 0, step > 0 ? size : size - 1);
  end = step > 0 ? std::clamp<std::int64_t>(end, 0, size) : std::clamp<std::int64_t>(end, -1, size - 1);
}

void slice(NodeContext& c) {
  c.expect_inputs(c.opset() < 10 ? 1 : 3, c.opset() < 10 ? 1 : 5);
  const Shape x = c.shape(0);
  const auto begins = c.moved_integers("starts", 1, 10), ends = c.moved_integers("ends", 2, 10);
  const auto named = c.moved_integers("axes", 3, 10);
  const auto steps = c.opset() < 10 ? std::nullopt : c.moved_integers("steps", 4, 10);
  if (!begins || !ends || begins->size() != ends->size() || (named && named->size() != begins->size()) ||
      (steps && steps->size() != begins->size())) {
    c.bad("its starts, ends, axes and steps have different lengths; export the model again");
  }
  if (!named && begins->size() > x.rank())
    c.bad(fmt::format("slices {} dimensions of {}; export the model again", begins->size(), to_string(x)));
  if (named) (void)c.axes(*named, x.rank());  // no axis twice
  Node node{
      .op = Op::slice, .begins = Integers(x.rank(), 0), .ends = dims_of(x), .steps = Integers(x.rank(), 1)};
  for (std::size_t i = 0; i < begins->size(); ++i) {
    const std::size_t d = named ? c.axis((*named)[i], x.rank()) : i;
    const std::int64_t step = steps ? (*steps)[i] : 1;
    if (step == 0 || step == std::numeric_limits<std::int64_t>::min())
      c.bad(fmt::format("has the step {}; export the model again", step));
    if (x[d] == 0) continue;
    node.begins[d] = (*begins)[i];
    node.ends[d] = (*ends)[i];
    node.steps[d] = std::clamp(step, -std::max<std::int64_t>(x[d], 1), std::max<std::int64_t>(x[d], 1));
    resolve_range(x[d], step, node.begins[d], node.ends[d]);
  }
  c.emit(std::move(node), {&c.input(0)});
}

void split(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 13 ? 1 : 2);
  const Shape x = c.shape(0);
  const std::size_t axis = c.axis(c.integer("axis", 0), x.rank());
  const auto parts = static_cast<std::int64_t>(c.outputs());
  auto sizes = c.moved_integers("split", 1, 13);
  if (!sizes) {
    // Equal parts; from opset 18 the last may be smaller.
    const std::int64_t each = (x[axis] + parts - 1) / parts;
    if (x[axis] % parts != 0 && c.opset() < 18)
      c.bad(fmt::format("{} does not split into {} equal parts; export the model again", x[axis], parts));
    sizes.emplace(static_cast<std::size_t>(parts), each);
    sizes->back() = x[axis] - each * (parts - 1);
  }
  if (static_cast<std::int64_t>(sizes->size()) != parts)
    c.bad(fmt::format("states {} sizes for {} outputs; export the model again", sizes->size(), parts));
  std::vector<Shape> shapes;
  std::int64_t left = x[axis];
  for (const std::int64_t size : *sizes) {
    if (size < 0 || size > left)
      c.bad(fmt::format("its parts do not add up to {}; export the model again", x[axis]));
    left -= size;
    Shape part = x;
    part[axis] = size;
    shapes.push_back(part);
  }
  c.emit_split({.op = Op::split, .axes = {static_cast<std::int64_t>(axis)}}, c.input(0), shapes);
}

void pad(NodeContext& c) {
  c.expect_inputs(c.opset() < 11 ? 1 : 2, c.opset() < 11 ? 1 : 4);
  const std::string mode = c.text("mode", "constant");
  if (mode != "constant")
    c.unsupported(fmt::format("padding mode '{}'; only 'constant' is supported, change the model", mode));
  const Shape x = c.shape(0);
  const auto pads = c.moved_integers("pads", 1, 11);
  Integers named(x.rank());
  std::iota(named.begin(), named.end(), 0);
  if (c.opset() >= 18 && c.has(3)) named = c.constant_integers(3, "axes");
  (void)c.axes(named, x.rank());
  if (!pads || pads->size() != 2 * named.size())
    c.bad(fmt::format("has {} pads for {} dimensions; export the model again", pads ? pads->size() : 0,
                      named.size()));

  Node node{.op = Op::pad,
            .alpha = c.opset() < 11 ? c.real("value", 0)
                     : c.has(2)     ? c.constant_real(2, "fill value")
                                    : 0,
            .begins = Integers(x.rank(), 0),
            .ends = Integers(x.rank(), 0)};
  Node crop{
      .op = Op::slice, .begins = Integers(x.rank(), 0), .ends = dims_of(x), .steps = Integers(x.rank(), 1)};
  bool crops = false;
  for (std::size_t i = 0; i < named.size(); ++i) {
    const std::size_t d = c.axis(named[i], x.rank());
    const std::int64_t before = (*pads)[i], behind = (*pads)[i + named.size()],
                       limit = c.importer().options().max_tensor_elements;
    if (std::max(before, behind) > limit || std::min(before, behind) < -x[d])
      c.bad(fmt::format("pads {} by {} and {}; export the model again", to_string(x), before, behind));
    node.begins[d] = std::max<std::int64_t>(before, 0);
    node.ends[d] = std::max<std::int64_t>(behind, 0);
    crop.begins[d] -= std::min<std::int64_t>(before, 0);  // negative padding cuts off
    crop.ends[d] += std::min<std::int64_t>(behind, 0);
    crops = crops || before < 0 || behind < 0;
  }
  if (std::abs(node.alpha) > 1e15f && !c.importer().is_float(c.input(0)))
    c.bad("its fill value is no integer; export the model again");
  Value* from = &c.input(0);
  if (crops) from = &c.emit_before(std::move(crop), {from}, "crop");
  c.emit(std::move(node), {from});
}

void gather(NodeContext& c) {
  c.expect_inputs(2, 2);
  const Shape x = c.shape(0);
  const std::size_t axis = c.axis(c.integer("axis", 0), x.rank());
  const ConstTensor& indices = c.constant(1, "indices");
  if (indices.is_float()) c.bad("its indices are no integers; export the model again");
  Node node{.op = Op::gather, .axes = {static_cast<std::int64_t>(axis)}, .begins = indices.integers()};
  for (std::int64_t& i : node.begins) {
    if (i < -x[axis] || i >= x[axis])
      c.bad(fmt::format("index {} is outside dimension {} of {}; export the model again", i, axis,
                        to_string(x)));
    if (i < 0) i += x[axis];
  }
  Integers dims(x.begin(), x.begin() + axis);
  dims.insert(dims.end(), indices.shape.begin(), indices.shape.end());
  dims.insert(dims.end(), x.begin() + axis + 1, x.end());
  c.emit(std::move(node), {&c.input(0)}, c.shape_of(dims));
}

void identity(NodeContext& c) {
  c.expect_inputs(1, 1);
  c.emit({.op = Op::identity}, {&c.input(0)});
}

void dropout(NodeContext& c) {
  c.expect_inputs(1, 3);
  c.only_first_output("mask");
  if (c.has(2) && c.constant_real(2, "training mode") != 0)
    c.unsupported("is in training mode; export the model for inference");
  c.emit({.op = Op::identity}, {&c.input(0)});
}

void cast(NodeContext& c) {
  c.expect_inputs(1, 1);
  const auto to = static_cast<int>(std::clamp<std::int64_t>(c.integer("to", 0), 0, 1000));
  if (!c.is_constant(0)) {
    if (!is_float_type(to))
      c.unsupported(fmt::format("converts an image to {}; only float types are supported on images",
                                element_type_name(to)));
    return c.emit({.op = Op::identity}, {&c.input(0)});
  }
  const ConstTensor& x = c.constant(0, "values");
  c.take(static_cast<std::int64_t>(x.size()));
  c.emit_constant(cast_constant(x, to));
}

constexpr OperatorEntry shape_entries[] = {
    {"Reshape", reshape},     {"Flatten", flatten},     {"Squeeze", squeeze},
    {"Unsqueeze", unsqueeze}, {"Transpose", transpose}, {"Concat", concat},
    {"Slice", slice},         {"Split", split},         {"Pad", pad},
    {"Gather", gather},       {"Identity", identity},   {"Dropout", dropout},
    {"Cast", cast},
};

}  // namespace

std::span<const OperatorEntry> shape_operators() { return shape_entries; }

}  // namespace splitcnn::inline v0
