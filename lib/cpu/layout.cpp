#include "cpu/layout.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace splitcnn::inline v0::cpu {

Strides row_major_strides(const Shape& logical) {
  Strides strides{};
  std::int64_t step = 1;
  for (std::size_t d = logical.rank(); d-- > 0;) {
    strides[d] = step;
    step *= logical[d];
  }
  return strides;
}

Strides storage_strides(const Shape& logical) {
  if (logical.rank() != 4) return row_major_strides(logical);
  const std::int64_t c = logical[1], h = logical[2], w = logical[3];
  return {h * w * c, 1, w * c, c};
}

std::size_t storage_axis(const Shape& logical, std::size_t axis) {
  if (logical.rank() != 4 || axis == 0) return axis;
  return axis == 1 ? 3 : axis - 1;
}

BoxCopy::BoxCopy(const Shape& box, const Strides& from, const Strides& to) {
  std::vector<Dim> dims;
  for (std::size_t d = 0; d < box.rank(); ++d) {
    if (box[d] == 0) empty_ = true;
    if (box[d] > 1) dims.push_back({box[d], from[d], to[d]});
  }
  std::stable_sort(dims.begin(), dims.end(),
                   [](const Dim& a, const Dim& b) { return std::abs(a.to) > std::abs(b.to); });
  std::vector<Dim> merged;
  for (const Dim& d : dims) {
    if (!merged.empty() && merged.back().from == d.from * d.n && merged.back().to == d.to * d.n) {
      merged.back() = {merged.back().n * d.n, d.from, d.to};
    } else {
      merged.push_back(d);
    }
  }
  if (!merged.empty()) {
    column_ = merged.back();
    merged.pop_back();
  }
  if (!merged.empty()) {
    // The other side of the plane is the dimension that is contiguous in the source, so that both are walked
    // in cache lines.
    auto row = merged.end() - 1;
    for (auto d = merged.begin(); d != merged.end(); ++d) {
      if (column_.from != 1 && d->from == 1) row = d;
    }
    row_ = *row;
    merged.erase(row);
  }
  outer_ = merged.size();
  std::copy(merged.begin(), merged.end(), dims_.begin());
}

void BoxCopy::copy_plane(const float* from, float* to) const noexcept {
  if (column_.from == 1 && column_.to == 1) {
    for (std::int64_t r = 0; r < row_.n; ++r) {
      std::memcpy(to + r * row_.to, from + r * row_.from,
                  static_cast<std::size_t>(column_.n) * sizeof(float));
    }
    return;
  }
  constexpr std::int64_t tile = 16;
  for (std::int64_t r0 = 0; r0 < row_.n; r0 += tile) {
    const std::int64_t r1 = std::min(r0 + tile, row_.n);
    for (std::int64_t c0 = 0; c0 < column_.n; c0 += tile) {
      const std::int64_t c1 = std::min(c0 + tile, column_.n);
      for (std::int64_t r = r0; r < r1; ++r) {
        const float* s = from + r * row_.from;
        float* d = to + r * row_.to;
        for (std::int64_t c = c0; c < c1; ++c) d[c * column_.to] = s[c * column_.from];
      }
    }
  }
}

void BoxCopy::operator()(const float* from, float* to) const noexcept {
  if (empty_) return;
  std::array<std::int64_t, Shape::max_rank> at{};
  for (;;) {
    copy_plane(from, to);
    std::size_t d = outer_;
    for (;; --d) {
      if (d == 0) return;
      const Dim& dim = dims_[d - 1];
      if (++at[d - 1] < dim.n) {
        from += dim.from;
        to += dim.to;
        break;
      }
      at[d - 1] = 0;
      from -= dim.from * (dim.n - 1);
      to -= dim.to * (dim.n - 1);
    }
  }
}

}  // namespace splitcnn::inline v0::cpu
