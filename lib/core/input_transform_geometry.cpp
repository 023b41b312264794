#include "core/input_transform_geometry.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace splitcnn::inline v0 {

namespace {

/// Centre of output x on the source, ((2x + 1) * in / scaled - 1) / 2, as a fraction over 2 * scaled (both
/// reduced).
Axis bilinear_axis(int in, int scaled, int offset, int count) {
  const int common = std::gcd(in, scaled);
  const std::int64_t a = in / common, b = scaled / common;
  Axis axis{.bilinear = true, .denominator = static_cast<int>(2 * b)};
  for (int i = 0; i < count; ++i) {
    const std::int64_t centre = (2 * (std::int64_t{i} + offset) + 1) * a - b;
    const std::int64_t inside =
        std::clamp<std::int64_t>(centre, 0, (std::int64_t{in} - 1) * axis.denominator);
    const int left = static_cast<int>(inside / axis.denominator);
    const int share = static_cast<int>(inside % axis.denominator);
    axis.begin.push_back(2 * i);
    axis.pixel.insert(axis.pixel.end(), {left, std::min(left + 1, in - 1)});
    axis.weight.insert(axis.weight.end(), {axis.denominator - share, share});
  }
  axis.begin.push_back(2 * count);
  return axis;
}

/// Output x covers [x * a, (x + 1) * a) where a source pixel is b wide.
Axis area_axis(int in, int scaled, int offset, int count) {
  const int common = std::gcd(in, scaled);
  const std::int64_t a = in / common, b = scaled / common;
  Axis axis{.bilinear = false, .denominator = static_cast<int>(a)};
  for (int i = 0; i < count; ++i) {
    const std::int64_t from = (std::int64_t{i} + offset) * a, to = from + a;
    axis.begin.push_back(static_cast<int>(axis.pixel.size()));
    for (std::int64_t p = from / b; p * b < to; ++p) {
      axis.pixel.push_back(static_cast<int>(p));
      axis.weight.push_back(static_cast<int>(std::min(to, (p + 1) * b) - std::max(from, p * b)));
    }
  }
  axis.begin.push_back(static_cast<int>(axis.pixel.size()));
  return axis;
}

Status place_crop(const InputTransform& t, int network_w, int network_h, int frame_w, int frame_h,
                  Placement& p) {
  const std::int64_t wanted = t.short_side > 0 ? t.short_side : std::min(network_w, network_h);
  const std::int64_t shorter = std::min(frame_w, frame_h);
  const std::int64_t scaled_w = frame_w * wanted / shorter, scaled_h = frame_h * wanted / shorter;
  if (scaled_w < network_w || scaled_h < network_h) {
    return {Errc::mismatch, fmt::format("frame {}x{}: with its short side at {} it is {}x{}, smaller than "
                                        "the network's {}x{}; enlarge short_side "
                                        "or use another resize",
                                        frame_w, frame_h, wanted, scaled_w, scaled_h, network_w, network_h)};
  }
  if (std::max(scaled_w, scaled_h) > max_frame_side) {
    return {Errc::mismatch,
            fmt::format("frame {}x{}: with its short side at {} it is {}x{}; sides up to {} are supported",
                        frame_w, frame_h, wanted, scaled_w, scaled_h, max_frame_side)};
  }
  const int w = static_cast<int>(scaled_w), h = static_cast<int>(scaled_h);
  p.width = network_w;
  p.height = network_h;
  p.x = make_axis(frame_w, w, (w - network_w) / 2, network_w, t.sampling);
  p.y = make_axis(frame_h, h, (h - network_h) / 2, network_h, t.sampling);
  return {};
}

void place_letterbox(const InputTransform& t, std::int64_t network_w, std::int64_t network_h,
                     std::int64_t frame_w, std::int64_t frame_h, Placement& p) {
  const auto scaled = [](std::int64_t side, std::int64_t to, std::int64_t from, std::int64_t most) {
    return static_cast<int>(std::clamp<std::int64_t>((2 * side * to + from) / (2 * from), 1, most));
  };
  const bool wide = network_w * frame_h <= network_h * frame_w;  // the width decides
  p.width = wide ? static_cast<int>(network_w) : scaled(frame_w, network_h, frame_h, network_w);
  p.height = wide ? scaled(frame_h, network_w, frame_w, network_h) : static_cast<int>(network_h);
  p.left = (static_cast<int>(network_w) - p.width) / 2;
  p.top = (static_cast<int>(network_h) - p.height) / 2;
  p.x = make_axis(static_cast<int>(frame_w), p.width, 0, p.width, t.sampling);
  p.y = make_axis(static_cast<int>(frame_h), p.height, 0, p.height, t.sampling);
}

}  // namespace

Axis make_axis(int in, int scaled, int offset, int count, Sampling sampling) {
  const bool area = sampling == Sampling::area && scaled < in;
  return area ? area_axis(in, scaled, offset, count) : bilinear_axis(in, scaled, offset, count);
}

Status place(const InputTransform& t, int network_w, int network_h, int frame_w, int frame_h, Placement& p) {
  p = {};
  switch (t.resize) {
    case Resize::center_crop:
      return place_crop(t, network_w, network_h, frame_w, frame_h, p);
    case Resize::letterbox:
      place_letterbox(t, network_w, network_h, frame_w, frame_h, p);
      return {};
    case Resize::none:
      if (frame_w != network_w || frame_h != network_h) {
        return {Errc::mismatch, fmt::format("frame {}x{}: the network takes {}x{} and the input transform "
                                            "does not resize; set its resize",
                                            frame_w, frame_h, network_w, network_h)};
      }
      break;
    case Resize::stretch:
      break;
  }
  p.width = network_w;
  p.height = network_h;
  p.x = make_axis(frame_w, network_w, 0, network_w, t.sampling);
  p.y = make_axis(frame_h, network_h, 0, network_h, t.sampling);
  return {};
}

}  // namespace splitcnn::inline v0
