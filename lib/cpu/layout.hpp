#pragma once
/// Logical axes over storage order, and the one copy routine behind slice, split, pad, concat, gather,
/// reshape and transpose.
#include <array>
#include <cstdint>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0::cpu {

/// Distance in elements between neighbours along each axis.
using Strides = std::array<std::int64_t, Shape::max_rank>;

/// Per LOGICAL axis, in a tensor stored as storage_shape() says.
Strides storage_strides(const Shape& logical);
/// Per logical axis, in plain row-major order.
Strides row_major_strides(const Shape& logical);
/// Position of a logical axis in storage order.
std::size_t storage_axis(const Shape& logical, std::size_t axis);

/// Copies a box of elements between two strided places. Planned once (dimensions sorted and merged), run
/// often.
class BoxCopy {
 public:
  BoxCopy(const Shape& box, const Strides& from, const Strides& to);
  void operator()(const float* from, float* to) const noexcept;

 private:
  struct Dim {
    std::int64_t n = 1, from = 0, to = 0;
  };
  void copy_plane(const float* from, float* to) const noexcept;

  std::array<Dim, Shape::max_rank> dims_{};  // outer to inner by destination
  std::size_t outer_ = 0;                    // dimensions in front of the plane
  Dim row_, column_;  // the plane: column_ is contiguous in the destination where possible
  bool empty_ = false;
};

}  // namespace splitcnn::inline v0::cpu
