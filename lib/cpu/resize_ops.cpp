#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops.hpp"
#include "cpu/parallel.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

/// Where one output coordinate comes from: source element `low` with weight 1 - w, `high` with w. Offsets,
/// not indices.
struct Source {
  std::int64_t low = 0, high = 0;
  float w = 0;
};

/// In float, as the models were trained and other runtimes compute.
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

std::vector<Source> sources(const Node& node, std::size_t axis, std::int64_t in, std::int64_t out) {
  std::vector<Source> all(static_cast<std::size_t>(out));
  for (std::int64_t o = 0; o < out; ++o) {
    Source& s = all[static_cast<std::size_t>(o)];
    const float x = original(node, o, in, out, node.scales[axis]);
    if (node.resize_mode == ResizeMode::nearest) {
      const float rounded = node.nearest_floor ? std::floor(x) : std::ceil(x - 0.5f);
      s.low = s.high = std::clamp<std::int64_t>(static_cast<std::int64_t>(rounded), 0, in - 1);
    } else {
      const float inside = std::clamp(x, 0.0f, static_cast<float>(in - 1));
      s.low = static_cast<std::int64_t>(inside);
      s.high = std::min(s.low + 1, in - 1);
      s.w = inside - static_cast<float>(s.low);
    }
  }
  return all;
}

/// Dimensions in storage order; the trailing ones that do not change form a block that is read and written
/// whole.
struct Resize {
  const float* x = nullptr;
  float* y = nullptr;
  std::vector<std::vector<Source>> dims;
  std::int64_t block = 1, blocks = 1;

  void one(std::int64_t number) const noexcept {
    std::array<const Source*, Shape::max_rank> at{};
    std::int64_t rest = number, base = 0;
    std::size_t split = 0;  // dimensions between two source elements
    for (std::size_t d = dims.size(); d-- > 0;) {
      const auto n = static_cast<std::int64_t>(dims[d].size());
      const Source& s = dims[d][static_cast<std::size_t>(rest % n)];
      rest /= n;
      base += s.low;
      if (s.w != 0.0f) at[split++] = &s;
    }
    float* to = y + number * block;
    if (split == 0) {
      std::memcpy(to, x + base, static_cast<std::size_t>(block) * sizeof(float));
      return;
    }
    fill(to, block, 0.0f);
    for (std::size_t corner = 0; corner < std::size_t{1} << split; ++corner) {
      float weight = 1;
      std::int64_t from = base;
      for (std::size_t d = 0; d < split; ++d) {
        const bool high = (corner >> d & 1) != 0;
        weight *= high ? at[d]->w : 1.0f - at[d]->w;
        if (high) from += at[d]->high - at[d]->low;
      }
      multiply_add(x + from, to, block, weight);
    }
  }
};

}  // namespace

Step make_resize(const OpContext& context) {
  const Shape &in = context.in[0].shape, &out = context.out[0].shape;
  const Strides strides = storage_strides(in);
  Resize resize{.x = context.in[0].data, .y = context.out[0].data};
  resize.dims.resize(in.rank());
  for (std::size_t d = 0; d < in.rank(); ++d) {
    auto& list = resize.dims[storage_axis(in, d)];
    list = sources(*context.node, d, in[d], out[d]);
    for (Source& s : list) {
      s.low *= strides[d];
      s.high *= strides[d];
    }
  }
  while (!resize.dims.empty()) {
    const auto& list = resize.dims.back();
    bool same = list.size() == static_cast<std::size_t>(storage_shape(in)[resize.dims.size() - 1]);
    for (std::size_t i = 0; same && i < list.size(); ++i) {
      same = list[i].w == 0.0f && list[i].low == static_cast<std::int64_t>(i) * resize.block;
    }
    if (!same) break;
    resize.block *= static_cast<std::int64_t>(list.size());
    resize.dims.pop_back();
  }
  for (const auto& list : resize.dims) resize.blocks *= static_cast<std::int64_t>(list.size());
  return [resize = std::move(resize), threads = context.threads] {
    split_work(threads, resize.blocks, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) resize.one(b);
    });
  };
}

}  // namespace splitcnn::inline v0::cpu
