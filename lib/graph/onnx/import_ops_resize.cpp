// Resize and its older form Upsample.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "graph/onnx/node_context.hpp"
#include "graph/onnx/tensor_data.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Everything the opsets and forms can say, in one place.
struct Request {
  std::string mode, coordinates, nearest;
  std::vector<float> scales;  // per dimension
  Shape out;
};

std::vector<float> float_input(NodeContext& c, std::size_t i) {
  const ConstTensor& scales = c.constant(i, "scales");
  if (!scales.is_float() || scales.shape.rank() != 1)
    c.bad("its scales are no list of floats; export the model again");
  return scales.floats();
}

/// ONNX Runtime multiplies in float, too; a double would differ where the scale is a rounded fraction.
std::int64_t scaled(NodeContext& c, std::int64_t size, float scale) {
  const float out = std::floor(static_cast<float>(size) * scale);
  if (!(scale > 0) || !(out >= 1) || out > 1e9f)
    c.bad(fmt::format("scales {} elements by {}; export the model again", size, scale));
  return static_cast<std::int64_t>(out);
}

void set_scales(NodeContext& c, Request& r, const std::vector<float>& scales,
                const std::vector<std::int64_t>& axes) {
  if (scales.size() != axes.size())
    c.bad(fmt::format("has {} scales for {} dimensions; export the model again", scales.size(), axes.size()));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<std::size_t>(axes[i]);
    r.scales[d] = scales[i];
    r.out[d] = scaled(c, r.out[d], scales[i]);
  }
}

void set_sizes(NodeContext& c, Request& r, std::vector<std::int64_t> sizes,
               const std::vector<std::int64_t>& axes) {
  if (sizes.size() != axes.size())
    c.bad(fmt::format("has {} sizes for {} dimensions; export the model again", sizes.size(), axes.size()));
  const Shape x = r.out;
  std::vector<float> scales;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (sizes[i] < 1 || sizes[i] > 1'000'000'000)
      c.bad(fmt::format("asks for the size {}; export the model again", sizes[i]));
    scales.push_back(static_cast<float>(sizes[i]) / static_cast<float>(x[static_cast<std::size_t>(axes[i])]));
  }
  const std::string policy = c.text("keep_aspect_ratio_policy", "stretch");
  if (policy != "stretch" && !scales.empty()) {
    if (policy != "not_larger" && policy != "not_smaller")
      c.bad(fmt::format("keep_aspect_ratio_policy '{}' is not known; export the model again", policy));
    const auto [least, most] = std::minmax_element(scales.begin(), scales.end());
    scales.assign(scales.size(), policy == "not_larger" ? *least : *most);
    for (std::size_t i = 0; i < axes.size(); ++i)
      sizes[i] = std::llround(scales[i] * static_cast<float>(x[static_cast<std::size_t>(axes[i])]));
  }
  for (std::size_t i = 0; i < axes.size(); ++i) {
    r.scales[static_cast<std::size_t>(axes[i])] = scales[i];
    r.out[static_cast<std::size_t>(axes[i])] = sizes[i];
  }
}

/// Where output coordinate i of a dimension lies in the input. In float, as ONNX Runtime computes it: double would pick
/// another neighbour where the scale is a rounded fraction.
class Source {
 public:
  Source(const Request& r, std::size_t d, std::int64_t size)
      : scale_{r.scales[d]}, out_{static_cast<float>(r.out[d])}, in_{static_cast<float>(size)} {
    if (scale_ == 1 && r.out[d] == size)
      kind_ = Kind::same;
    else if (r.coordinates == "asymmetric")
      kind_ = Kind::asymmetric;
    else if (r.coordinates == "align_corners")
      kind_ = out_ <= 1 ? Kind::zero : Kind::corners;
    else if (r.coordinates == "tf_half_pixel_for_nn")
      kind_ = Kind::tf_half_pixel;
    else if (r.coordinates == "pytorch_half_pixel" && out_ <= 1)
      kind_ = Kind::zero;
    else
      kind_ = r.coordinates == "half_pixel_symmetric" ? Kind::symmetric : Kind::half_pixel;
  }

  float operator()(std::int64_t i) const {
    const auto at = static_cast<float>(i);
    switch (kind_) {
      case Kind::same:
        return at;
      case Kind::zero:
        return 0;
      case Kind::asymmetric:
        return at / scale_;
      case Kind::corners:
        return at * (in_ - 1) / (out_ - 1);
      case Kind::tf_half_pixel:
        return (at + 0.5f) / scale_;
      case Kind::half_pixel:
        return (at + 0.5f) / scale_ - 0.5f;
      case Kind::symmetric:
        return in_ / 2 * (1 - out_ / (scale_ * in_)) + ((at + 0.5f) / scale_ - 0.5f);
    }
    return 0;
  }

 private:
  enum class Kind : std::uint8_t { same, zero, asymmetric, corners, tf_half_pixel, half_pixel, symmetric };
  float scale_, out_, in_;
  Kind kind_;
};

float round_prefer_ceil(float x) { return std::floor(x + 0.5f); }
float round_prefer_floor(float x) { return std::ceil(x - 0.5f); }
float round_down(float x) { return std::floor(x); }
float round_up(float x) { return std::ceil(x); }

/// Found once per axis: the number of indices is the file's choice.
float (*rounding(const std::string& rule))(float) {
  if (rule == "floor") return round_down;
  if (rule == "ceil") return round_up;
  return rule == "round_prefer_ceil" ? round_prefer_ceil : round_prefer_floor;
}

std::vector<std::int64_t> nearest_indices(const Request& r, std::size_t d, std::int64_t size) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(r.out[d]));
  const auto round = rounding(r.nearest);
  const Source at{r, d, size};
  const auto last = static_cast<float>(size - 1);
  for (std::size_t i = 0; i < indices.size(); ++i)
    indices[i] = static_cast<std::int64_t>(std::clamp(round(at(static_cast<std::int64_t>(i))), 0.0f, last));
  return indices;
}

/// Any nearest resize is a selection of rows and columns: what the internal operator does not know becomes
/// gathers.
void emit_gathers(NodeContext& c, const Request& r) {
  Value* x = &c.input(0);
  for (std::size_t d = 0; d < r.out.rank(); ++d) {
    Node node{.op = Op::gather, .axes = {static_cast<std::int64_t>(d)}};
    c.take(r.out[d]);
    node.begins = nearest_indices(r, d, x->shape[d]);
    const bool moves = r.out[d] != x->shape[d] || !std::is_sorted(node.begins.begin(), node.begins.end()) ||
                       std::adjacent_find(node.begins.begin(), node.begins.end()) != node.begins.end();
    if (moves) x = &c.emit_before(std::move(node), {x}, fmt::format("axis{}", d));
  }
  c.emit({.op = Op::identity}, {x});
}

std::optional<Coordinates> known_coordinates(const Request& r) {
  if (r.coordinates == "half_pixel") return Coordinates::half_pixel;
  if (r.coordinates == "pytorch_half_pixel") return Coordinates::pytorch_half_pixel;
  if (r.coordinates == "asymmetric") return Coordinates::asymmetric;
  if (r.coordinates == "align_corners") return Coordinates::align_corners;
  return std::nullopt;
}

void emit_request(NodeContext& c, Request r) {
  const Shape x = c.shape(0);
  const bool image =
      x.rank() == 4 && r.out[0] == x[0] && r.out[1] == x[1] && r.scales[0] == 1 && r.scales[1] == 1;
  bool exact = true;  // sizes are exactly size * scale: the symmetric form makes no difference then
  for (std::size_t d = 0; d < x.rank(); ++d)
    exact = exact && static_cast<float>(x[d]) * r.scales[d] == static_cast<float>(r.out[d]);
  if (r.coordinates == "half_pixel_symmetric" && exact) r.coordinates = "half_pixel";

  // keep_aspect_ratio_policy can state sizes and scales that do not follow from each other; such a resize
  // could not be saved.
  bool by_scale = true, by_size = true;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const auto in = static_cast<float>(x[d]), out = static_cast<float>(r.out[d]);
    by_scale = by_scale && std::floor(in * r.scales[d]) == out;
    by_size = by_size && out / in == r.scales[d];
  }
  const auto coordinates = by_scale || by_size ? known_coordinates(r) : std::nullopt;
  Node node{.op = Op::resize, .scales = r.scales};
  if (coordinates) node.coordinates = *coordinates;
  if (r.mode == "linear") {
    if (!coordinates || !image) {
      c.unsupported(
          fmt::format("linear resize of {} to {} with coordinates '{}'; only height and width of an image "
                      "with half_pixel, pytorch_half_pixel, "
                      "align_corners or asymmetric and plain sizes or scales are supported",
                      to_string(x), to_string(r.out), r.coordinates));
    }
    if (c.flag("antialias", false) && *std::min_element(r.scales.begin(), r.scales.end()) < 1) {
      c.unsupported("antialias = 1; export the model without it");
    }
    node.resize_mode = ResizeMode::linear;
    return c.emit(std::move(node), {&c.input(0)}, r.out);
  }
  if (r.mode != "nearest")
    c.unsupported(
        fmt::format("resize mode '{}'; only nearest and linear are supported, change the model", r.mode));
  if (!coordinates || !image || (r.nearest != "floor" && r.nearest != "round_prefer_floor"))
    return emit_gathers(c, r);
  node.nearest_floor = r.nearest == "floor";
  c.emit(std::move(node), {&c.input(0)}, r.out);
}

std::vector<std::int64_t> all_axes(std::size_t rank) {
  std::vector<std::int64_t> axes(rank);
  for (std::size_t d = 0; d < rank; ++d) axes[d] = static_cast<std::int64_t>(d);
  return axes;
}

/// The old forms: asymmetric coordinates; nearest rounds down when enlarging and up when shrinking, as ONNX
/// Runtime does.
void simple_resize(NodeContext& c, const std::vector<float>& scales) {
  Request r{.mode = c.text("mode", "nearest"),
            .coordinates = "asymmetric",
            .nearest = "floor",
            .scales = std::vector<float>(c.shape(0).rank(), 1),
            .out = c.shape(0)};
  if (r.mode == "bilinear") r.mode = "linear";
  set_scales(c, r, scales, all_axes(r.out.rank()));
  const bool shrinks = std::any_of(scales.begin(), scales.end(), [](float s) { return s < 1; });
  const bool enlarges = std::any_of(scales.begin(), scales.end(), [](float s) { return s > 1; });
  if (shrinks && enlarges && r.mode == "nearest")
    c.unsupported(
        "enlarges one side and shrinks another in an old opset; export the model with opset 11 or later");
  if (shrinks) r.nearest = "ceil";
  emit_request(c, std::move(r));
}

void upsample(NodeContext& c) {
  c.expect_inputs(1, c.opset() < 9 ? 1 : 2);
  if (c.opset() < 9) {
    const auto scales = c.reals("scales");
    if (!scales) c.bad("has no scales; export the model again");
    return simple_resize(c, *scales);
  }
  simple_resize(c, float_input(c, 1));
}

void resize(NodeContext& c) {
  if (c.opset() < 11) {
    c.expect_inputs(2, 2);
    return simple_resize(c, float_input(c, 1));
  }
  c.expect_inputs(2, 4);
  const Shape x = c.shape(0);
  Request r{.mode = c.text("mode", "nearest"),
            .coordinates = c.text("coordinate_transformation_mode", "half_pixel"),
            .nearest = c.text("nearest_mode", "round_prefer_floor"),
            .scales = std::vector<float>(x.rank(), 1),
            .out = x};
  for (const char* known : {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners",
                            "tf_half_pixel_for_nn", "half_pixel_symmetric", ""}) {
    if (*known == 0)
      c.unsupported(fmt::format(
          "coordinate_transformation_mode '{}'; only plain resizes are supported, change the model",
          r.coordinates));
    if (r.coordinates == known) break;
  }
  std::vector<std::int64_t> axes = all_axes(x.rank());
  if (const auto named = c.integers("axes")) {
    (void)c.axes(*named, x.rank());
    axes.clear();
    for (const std::int64_t a : *named) axes.push_back(static_cast<std::int64_t>(c.axis(a, x.rank())));
  }
  const bool by_size = c.has(3) && c.shape(3).elements() > 0;
  if (by_size)
    set_sizes(c, r, c.constant_integers(3, "sizes"), axes);
  else if (c.has(2))
    set_scales(c, r, float_input(c, 2), axes);
  else
    c.bad("has neither scales nor sizes; export the model again");
  emit_request(c, std::move(r));
}

constexpr OperatorEntry resize_entries[] = {{"Resize", resize}, {"Upsample", upsample}};

}  // namespace

std::span<const OperatorEntry> resize_operators() { return resize_entries; }

}  // namespace splitcnn::inline v0
