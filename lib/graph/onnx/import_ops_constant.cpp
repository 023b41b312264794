// Sources of constants, and operators that exist only in shape arithmetic: their inputs must be known at
// load.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "graph/onnx/fold.hpp"
#include "graph/onnx/node_context.hpp"
#include "graph/onnx/tensor_data.hpp"
#include "graph/shape_inference.hpp"

namespace splitcnn::inline v0 {

namespace {

using Integers = std::vector<std::int64_t>;
using Floats = std::vector<float>;

Shape list_shape(std::size_t n) { return Shape{static_cast<std::int64_t>(n)}; }

void constant(NodeContext& c) {
  ExternalData refused{{}, 0};
  if (const auto* a = c.attribute("value")) {
    ConstTensor values = decode_tensor(a->t(), c.importer().options().max_tensor_elements, refused);
    c.importer().budget().grow(values.size());
    return c.emit_constant(std::move(values));
  }
  if (c.has_attribute("value_float")) return c.emit_constant({Shape{}, Floats{c.real("value_float", 0)}});
  if (c.has_attribute("value_int")) return c.emit_constant({Shape{}, Integers{c.integer("value_int", 0)}});
  if (const auto floats = c.reals("value_floats"))
    return c.emit_constant({list_shape(floats->size()), *floats});
  if (const auto ints = c.integers("value_ints")) return c.emit_constant({list_shape(ints->size()), *ints});
  c.unsupported("holds neither a dense tensor nor numbers; store the constant as a float or integer tensor");
}

void constant_of_shape(NodeContext& c) {
  c.expect_inputs(1, 1);
  const Shape shape = c.shape_of(c.constant_integers(0, "shape"));
  ConstTensor one{.shape = {}, .values = Floats{0}};
  if (const auto* a = c.attribute("value")) {
    ExternalData refused{{}, 0};
    one = decode_tensor(a->t(), 1, refused);
    if (one.size() != 1) c.bad("its value must have one element; export the model again");
    one.shape = {};
  }
  c.emit_constant(expand(one, shape, c.importer().budget()));
}

void shape(NodeContext& c) {
  c.expect_inputs(1, 1);
  const Shape x = c.shape(0);
  const auto rank = static_cast<std::int64_t>(x.rank());
  const auto resolve = [&](std::int64_t v) {
    return std::clamp<std::int64_t>(v < 0 ? std::max(v, -rank) + rank : v, 0, rank);
  };
  const std::int64_t begin = resolve(c.integer("start", 0)),
                     end = std::max(resolve(c.integer("end", rank)), begin);
  c.emit_constant(
      {list_shape(static_cast<std::size_t>(end - begin)), Integers(x.begin() + begin, x.begin() + end)});
}

void size(NodeContext& c) {
  c.expect_inputs(1, 1);
  c.emit_constant({Shape{}, Integers{c.shape(0).elements()}});
}

void require_constant(NodeContext& c) {
  if (!c.all_constant())
    c.unsupported("is supported only in shape arithmetic, not on images; replace it before exporting");
}

void range(NodeContext& c) {
  c.expect_inputs(3, 3);
  require_constant(c);
  const auto number = [&](std::size_t i) { return static_cast<double>(c.constant_real(i, "bounds")); };
  const bool floats = c.constant(0, "bounds").is_float();
  double start = number(0), limit = number(1), step = number(2);
  if (!floats) {
    start = static_cast<double>(c.constant(0, "bounds").integers().at(0));
    limit = static_cast<double>(c.constant(1, "bounds").integers().at(0));
    step = static_cast<double>(c.constant(2, "bounds").integers().at(0));
  }
  const double count = std::ceil((limit - start) / step);
  if (!(step != 0) || !(count < 1e15)) c.bad("its range has no end; export the model again");
  const auto n = static_cast<std::int64_t>(std::max(count, 0.0));
  c.take(n);
  if (floats) {
    Floats out;
    for (std::int64_t i = 0; i < n; ++i)
      out.push_back(static_cast<float>(start + static_cast<double>(i) * step));
    return c.emit_constant({Shape{n}, std::move(out)});
  }
  Integers out;
  for (std::int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<std::int64_t>(start + static_cast<double>(i) * step));
  c.emit_constant({Shape{n}, std::move(out)});
}

Shape broadcast_or_fail(NodeContext& c, const Shape& a, const Shape& b) {
  const auto both = broadcast(a, b);
  if (!both)
    c.bad(
        fmt::format("shapes {} and {} do not broadcast; export the model again", to_string(a), to_string(b)));
  return c.shape_of({both->begin(), both->end()});
}

void expand_op(NodeContext& c) {
  c.expect_inputs(2, 2);
  require_constant(c);
  const ConstTensor& x = c.constant(0, "values");
  const Shape target = broadcast_or_fail(c, x.shape, c.shape_of(c.constant_integers(1, "shape")));
  c.emit_constant(expand(x, target, c.importer().budget()));
}

void tile(NodeContext& c) {
  c.expect_inputs(2, 2);
  require_constant(c);
  const Integers repeats = c.constant_integers(1, "repeats");
  Value* x = &c.input(0);
  if (repeats.size() != x->shape.rank()) c.bad("needs one repeat per dimension; export the model again");
  for (std::size_t d = 0; d < repeats.size(); ++d) {
    Integers dims(x->shape.begin(), x->shape.end());
    if (repeats[d] < 0) c.bad("repeats must not be negative; export the model again");
    (void)c.shape_of({repeats[d], x->shape[d]});
    Node node{.op = Op::gather, .axes = {static_cast<std::int64_t>(d)}};
    c.take(repeats[d] * x->shape[d]);
    for (std::int64_t r = 0; r < repeats[d]; ++r) {
      for (std::int64_t i = 0; i < x->shape[d]; ++i) node.begins.push_back(i);
    }
    dims[d] *= repeats[d];
    x = &c.emit_before(std::move(node), {x}, fmt::format("tile{}", d), c.shape_of(dims));
  }
  c.emit({.op = Op::identity}, {x});
}

void expect_same_type(NodeContext& c, const ConstTensor& a, const ConstTensor& b) {
  if (a.is_float() != b.is_float()) c.bad("mixes float and integer tensors; export the model again");
}

template <class Compare>
void compare(NodeContext& c) {
  c.expect_inputs(2, 2);
  require_constant(c);
  const ConstTensor &a = c.constant(0, "values"), &b = c.constant(1, "values");
  expect_same_type(c, a, b);
  const Shape shape = broadcast_or_fail(c, a.shape, b.shape);
  c.emit_constant(
      {shape, broadcast_apply<std::int64_t>(a, b, shape, c.importer().budget(), Compare{}), true});
}

void where(NodeContext& c) {
  c.expect_inputs(3, 3);
  require_constant(c);
  const ConstTensor &condition = c.constant(0, "condition"), &a = c.constant(1, "values"),
                    &b = c.constant(2, "values");
  expect_same_type(c, a, b);
  if (condition.is_float()) c.bad("its condition is no bool tensor; export the model again");
  const Shape shape = broadcast_or_fail(c, condition.shape, broadcast_or_fail(c, a.shape, b.shape));
  const ConstTensor mask = expand(condition, shape, c.importer().budget());
  ConstTensor yes = expand(a, shape, c.importer().budget());
  const ConstTensor no = expand(b, shape, c.importer().budget());
  std::visit(
      [&](auto& values) {
        const auto& others = std::get<std::decay_t<decltype(values)>>(no.values);
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (!mask.integers()[i]) values[i] = others[i];
        }
      },
      yes.values);
  c.emit_constant(std::move(yes));
}

/// Element-wise over constants of one type; floats and integers have their own rule.
using FloatRule = float (*)(float, float);
using IntegerRule = std::int64_t (*)(std::int64_t, std::int64_t);

template <FloatRule on_floats, IntegerRule on_integers>
void chain(NodeContext& c) {
  c.expect_inputs(1, 100'000);
  require_constant(c);
  const ConstTensor& first = c.constant(0, "values");
  c.take(static_cast<std::int64_t>(first.size()));
  ConstTensor total = first;
  for (std::size_t i = 1; i < c.inputs(); ++i) {
    const ConstTensor& next = c.constant(i, "values");
    expect_same_type(c, total, next);
    const Shape shape = broadcast_or_fail(c, total.shape, next.shape);
    ElementBudget& budget = c.importer().budget();
    if (total.is_float())
      total.values = broadcast_apply<float>(total, next, shape, budget, [](auto a, auto b) {
        return on_floats(static_cast<float>(a), static_cast<float>(b));
      });
    else
      total.values = broadcast_apply<std::int64_t>(total, next, shape, budget, [](auto a, auto b) {
        return on_integers(static_cast<std::int64_t>(a), static_cast<std::int64_t>(b));
      });
    total.shape = shape;
  }
  c.emit_constant(std::move(total));
}

float smaller(float a, float b) { return std::min(a, b); }
float larger(float a, float b) { return std::max(a, b); }
std::int64_t smaller_integer(std::int64_t a, std::int64_t b) { return std::min(a, b); }
std::int64_t larger_integer(std::int64_t a, std::int64_t b) { return std::max(a, b); }
float power(float a, float b) { return std::pow(a, b); }
std::int64_t power_integer(std::int64_t a, std::int64_t b) {
  const double p = std::pow(static_cast<double>(a), static_cast<double>(b));
  return std::abs(p) < 9.0e15 ? static_cast<std::int64_t>(p) : 0;
}
float remainder(float a, float b) { return std::fmod(a, b); }
std::int64_t remainder_integer(std::int64_t a, std::int64_t b) {
  if (b == 0 || b == -1) return 0;
  const std::int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;  // the sign of the divisor, as Python
}
float conjunction(float, float) { return 0; }
std::int64_t and_integer(std::int64_t a, std::int64_t b) { return a && b; }
std::int64_t or_integer(std::int64_t a, std::int64_t b) { return a || b; }

template <FloatRule on_floats>
void each(NodeContext& c) {
  c.expect_inputs(1, 1);
  require_constant(c);
  const ConstTensor& x = c.constant(0, "values");
  if (!x.is_float()) c.unsupported("is supported on float constants only; export the model again");
  c.take(static_cast<std::int64_t>(x.size()));
  Floats out;
  for (const float v : x.floats()) out.push_back(on_floats(v, 0));
  c.emit_constant({x.shape, std::move(out)});
}

float floor_of(float v, float) { return std::floor(v); }
float ceil_of(float v, float) { return std::ceil(v); }
float round_of(float v, float) { return std::nearbyint(v); }
float log_of(float v, float) { return std::log(v); }
float reciprocal_of(float v, float) { return 1 / v; }

template <bool negate>
void sign(NodeContext& c) {
  c.expect_inputs(1, 1);
  require_constant(c);
  ConstTensor x = c.constant(0, "values");
  c.take(static_cast<std::int64_t>(x.size()));
  if (x.is_float()) {
    for (float& v : std::get<Floats>(x.values)) v = negate ? -v : std::abs(v);
  } else {
    for (std::int64_t& v : std::get<Integers>(x.values)) {
      if (negate || v < 0) v = static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(v));
    }
  }
  c.emit_constant(std::move(x));
}

void logical_not(NodeContext& c) {
  c.expect_inputs(1, 1);
  require_constant(c);
  ConstTensor x = c.constant(0, "values");
  if (x.is_float()) c.bad("its input is no bool tensor; export the model again");
  c.take(static_cast<std::int64_t>(x.size()));
  for (std::int64_t& v : std::get<Integers>(x.values)) v = v == 0;
  c.emit_constant(std::move(x));
}

enum class Reduction { sum, product, largest, smallest };

template <class T>
T combine(Reduction kind, T a, T b) {
  switch (kind) {
    case Reduction::largest:
      return std::max(a, b);
    case Reduction::smallest:
      return std::min(a, b);
    default:
      break;
  }
  if constexpr (std::is_integral_v<T>) {  // wraps instead of overflowing
    const auto x = static_cast<std::uint64_t>(a), y = static_cast<std::uint64_t>(b);
    return static_cast<T>(kind == Reduction::sum ? x + y : x * y);
  } else {
    return kind == Reduction::sum ? a + b : a * b;
  }
}

/// One dimension at a time: moves it to the front as outer x size x inner.
template <class T>
std::vector<T> reduce_dimension(const std::vector<T>& x, const Shape& shape, std::size_t d, Reduction kind) {
  std::size_t outer = 1, inner = 1;
  const auto n = static_cast<std::size_t>(shape[d]);
  for (std::size_t i = 0; i < shape.rank(); ++i)
    (i < d ? outer : inner) *= i == d ? 1 : static_cast<std::size_t>(shape[i]);
  std::vector<T> out;
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t i = 0; i < inner; ++i) {
      T total = n > 0 ? x[o * n * inner + i] : static_cast<T>(kind == Reduction::product);
      for (std::size_t k = 1; k < n; ++k) total = combine(kind, total, x[(o * n + k) * inner + i]);
      out.push_back(total);
    }
  }
  return out;
}

template <Reduction kind>
void reduce(NodeContext& c) {
  c.expect_inputs(1, 2);
  require_constant(c);
  const int moved = kind == Reduction::sum ? 13 : 18;
  auto named = c.moved_integers("axes", 1, moved);
  ConstTensor x = c.constant(0, "values");
  c.take(2 * static_cast<std::int64_t>(x.size()));
  if ((!named || named->empty()) && c.flag("noop_with_empty_axes", false))
    return c.emit_constant(std::move(x));
  if (!named || named->empty()) {
    named.emplace();
    for (std::size_t d = 0; d < x.shape.rank(); ++d) named->push_back(static_cast<std::int64_t>(d));
  }
  const Integers axes = c.axes(*named, x.shape.rank());
  const bool keep = c.flag("keepdims", true);
  Integers dims;
  for (std::size_t d = 0; d < x.shape.rank(); ++d) {
    const bool reduced = std::binary_search(axes.begin(), axes.end(), static_cast<std::int64_t>(d));
    if (!reduced || keep) dims.push_back(reduced ? 1 : x.shape[d]);
  }
  for (const std::int64_t a : axes) {
    const auto d = static_cast<std::size_t>(a);
    using Values = decltype(ConstTensor::values);  // spelt here: clang 14 crashes on it inside the lambda
    x.values = std::visit([&](const auto& v) -> Values { return reduce_dimension(v, x.shape, d, kind); }, x.values);
    x.shape[d] = 1;
  }
  x.shape = c.shape_of(dims);
  c.emit_constant(std::move(x));
}

constexpr OperatorEntry constant_entries[] = {
    {"Constant", constant},
    {"ConstantOfShape", constant_of_shape},
    {"Shape", shape},
    {"Size", size},
    {"Range", range},
    {"Expand", expand_op},
    {"Tile", tile},
    {"Where", where},
    {"Equal", compare<std::equal_to<>>},
    {"Less", compare<std::less<>>},
    {"Greater", compare<std::greater<>>},
    {"LessOrEqual", compare<std::less_equal<>>},
    {"GreaterOrEqual", compare<std::greater_equal<>>},
    {"Not", logical_not},
    {"And", chain<conjunction, and_integer>},
    {"Or", chain<conjunction, or_integer>},
    {"Min", chain<smaller, smaller_integer>},
    {"Max", chain<larger, larger_integer>},
    {"Pow", chain<power, power_integer>},
    {"Mod", chain<remainder, remainder_integer>},
    {"Floor", each<floor_of>},
    {"Ceil", each<ceil_of>},
    {"Round", each<round_of>},
    {"Log", each<log_of>},
    {"Reciprocal", each<reciprocal_of>},
    {"Neg", sign<true>},
    {"Abs", sign<false>},
    {"ReduceSum", reduce<Reduction::sum>},
    {"ReduceProd", reduce<Reduction::product>},
    {"ReduceMax", reduce<Reduction::largest>},
    {"ReduceMin", reduce<Reduction::smallest>},
};

}  // namespace

std::span<const OperatorEntry> constant_operators() { return constant_entries; }

}  // namespace splitcnn::inline v0
