#pragma once
/// A tensor whose values are known at load: a weight, or a piece of shape arithmetic.
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

/// All float types of ONNX become float, all integer types int64; booleans are int64 0 or 1.
struct ConstTensor {
  Shape shape;
  std::variant<std::vector<float>, std::vector<std::int64_t>> values;
  bool boolean = false;

  [[nodiscard]] bool is_float() const noexcept { return values.index() == 0; }
  [[nodiscard]] std::size_t size() const noexcept {
    return std::visit([](const auto& v) { return v.size(); }, values);
  }
  [[nodiscard]] const std::vector<float>& floats() const { return std::get<0>(values); }
  [[nodiscard]] const std::vector<std::int64_t>& integers() const { return std::get<1>(values); }
};

/// What the import of one model may still create. Every evaluation asks before it allocates, so a small file
/// cannot ask for a large amount of memory by computing with constants.
class ElementBudget {
 public:
  explicit ElementBudget(std::int64_t elements) noexcept : limit_{elements}, left_{elements} {}
  /// Throws unsupported when less than this is left.
  void take(std::int64_t elements);
  /// What the file itself brings may be computed with a few times: transposed, cast, scaled.
  void grow(std::size_t file_elements) noexcept;
  [[nodiscard]] std::int64_t limit() const noexcept { return limit_; }

 private:
  std::int64_t limit_, left_;
};

/// Dimensions from a file as a Shape. Throws bad_model: more than eight of them, negative ones, or more than
/// `limit` elements.
Shape checked_shape(std::span<const std::int64_t> dims, std::int64_t limit);

}  // namespace splitcnn::inline v0
