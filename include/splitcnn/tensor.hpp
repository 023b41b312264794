#pragma once
/// Tensors: shapes, specifications, views and owned values.
///
///     TensorSpec spec{.name = "input", .shape = {1, 28, 28, 1}, .dtype = DType::i8, .fix_point = 7};
///     Tensor t{spec};                                   // owns spec.bytes() zeroed bytes
///     t.as<std::int8_t>()[0] = 64;                      // the value 64 * 2^-7 = 0.5
///
/// Layout. The bytes of a tensor are always row-major over TensorSpec::shape. Inside the library (between nodes and
/// between segments) every 4-D tensor is stored channels last (N,H,W,C), whatever order the model uses; graph inputs and
/// outputs are in the model's own order, so what goes into and comes out of a pipeline looks like the ONNX file says.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

enum class DType : std::uint8_t { f32, f16, i8, u8 };

[[nodiscard]] SPLITCNN_API const char* to_string(DType dtype) noexcept;          ///< "f32", ...
[[nodiscard]] SPLITCNN_API std::size_t size_of(DType dtype) noexcept;            ///< bytes per element

/// Up to eight dimensions, a plain value without heap memory. Dimensions are >= 0; a scalar has rank 0.
class SPLITCNN_API Shape {
 public:
  static constexpr std::size_t max_rank = 8;

  Shape() noexcept = default;
  Shape(std::initializer_list<std::int64_t> dims);     ///< throws bad_argument: rank > 8 or a negative dimension
  explicit Shape(std::span<const std::int64_t> dims);  ///< same

  [[nodiscard]] std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::int64_t operator[](std::size_t i) const noexcept { return dims_[i]; }
  [[nodiscard]] std::int64_t& operator[](std::size_t i) noexcept { return dims_[i]; }
  [[nodiscard]] const std::int64_t* begin() const noexcept { return dims_.data(); }
  [[nodiscard]] const std::int64_t* end() const noexcept { return dims_.data() + rank_; }
  [[nodiscard]] std::int64_t back() const noexcept { return dims_[rank_ - 1]; }
  /// Product of the dimensions (1 for a scalar). The library bounds it at load; it does not overflow for valid graphs.
  [[nodiscard]] std::int64_t elements() const noexcept;
  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  std::array<std::int64_t, max_rank> dims_{};
  std::size_t rank_ = 0;
};

/// "1x3x224x224"; "scalar" for rank 0.
[[nodiscard]] SPLITCNN_API std::string to_string(const Shape& shape);

/// What a tensor looks like for ONE frame. An i8 tensor's value is int8 * 2^-fix_point (the DPU's power-of-two scale,
/// docs/arithmetic.md); fix_point may be negative and is 0 for the other types.
struct TensorSpec {
  std::string name{};
  Shape shape{};
  DType dtype = DType::f32;
  int fix_point = 0;

  [[nodiscard]] std::size_t bytes() const noexcept { return static_cast<std::size_t>(shape.elements()) * size_of(dtype); }
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

/// Where a buffer lives.
enum class Memory : std::uint8_t {
  host,    ///< ordinary pageable memory
  pinned,  ///< host memory registered with a GPU
  device,  ///< memory of the consuming device
  dmabuf,  ///< memory shared by a dma-buf
};

/// A borrowed tensor: `frames` consecutive images of `*spec`. Valid as long as whoever lent it says; never owns.
struct TensorView {
  std::byte* data = nullptr;
  const TensorSpec* spec = nullptr;
  std::size_t frames = 1;
  Memory memory = Memory::host;

  [[nodiscard]] std::size_t bytes() const noexcept { return spec->bytes() * frames; }
};

/// An owned tensor in host memory, aligned to 64 bytes. A value: copying copies the bytes.
class SPLITCNN_API Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorSpec spec);  ///< zeroed
  Tensor(const Tensor& other);
  Tensor& operator=(const Tensor& other);
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  ~Tensor() = default;

  [[nodiscard]] const TensorSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return {data_.get(), spec_.bytes()}; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_.get(), spec_.bytes()}; }

  /// The elements as T. Throws bad_argument when T's size is not the dtype's.
  template <class T>
  [[nodiscard]] std::span<T> as() {
    check_size(sizeof(T));
    return {reinterpret_cast<T*>(data_.get()), spec_.bytes() / sizeof(T)};
  }
  template <class T>
  [[nodiscard]] std::span<const T> as() const {
    check_size(sizeof(T));
    return {reinterpret_cast<const T*>(data_.get()), spec_.bytes() / sizeof(T)};
  }

  /// Borrows this tensor; the view dies with it.
  [[nodiscard]] TensorView view() & noexcept { return {data_.get(), &spec_, 1, Memory::host}; }
  TensorView view() && = delete;

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  void check_size(std::size_t size) const;

  TensorSpec spec_;
  std::unique_ptr<std::byte, Free> data_;
};

/// Class index and score, as Result::top(k) returns them.
struct Score {
  int index = 0;
  float value = 0;
  std::string label;  ///< empty when the model has no labels
};

}  // namespace splitcnn::inline v0
