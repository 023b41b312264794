#include "splitcnn/tensor.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace splitcnn::inline v0 {

const char* to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::i8: return "i8";
    case DType::u8: return "u8";
  }
  return "unknown";
}

std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f16: return 2;
    case DType::i8:
    case DType::u8: return 1;
  }
  return 0;
}

Shape::Shape(std::initializer_list<std::int64_t> dims) : Shape{std::span{dims.begin(), dims.size()}} {}

Shape::Shape(std::span<const std::int64_t> dims) : rank_{dims.size()} {
  if (dims.size() > max_rank) {
    throw Error{Errc::bad_argument, "a shape of " + std::to_string(dims.size()) + " dimensions; at most 8 are supported"};
  }
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0) throw Error{Errc::bad_argument, "dimension " + std::to_string(i) + " of a shape is negative"};
    dims_[i] = dims[i];
  }
}

std::int64_t Shape::elements() const noexcept {
  std::int64_t n = 1;
  for (const std::int64_t d : *this) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  if (shape.rank() == 0) return "scalar";
  std::string text;
  for (const std::int64_t d : shape) text += (text.empty() ? "" : "x") + std::to_string(d);
  return text;
}

namespace {
constexpr std::size_t alignment = 64;
}

Tensor::Tensor(TensorSpec spec) : spec_{std::move(spec)} {
  const std::size_t rounded = (spec_.bytes() + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded)));
  if (!data_) throw std::bad_alloc{};
  std::memset(data_.get(), 0, rounded);
}

Tensor::Tensor(const Tensor& other) : Tensor{other.spec_} {
  if (other.data_) std::memcpy(data_.get(), other.data_.get(), spec_.bytes());
}

Tensor& Tensor::operator=(const Tensor& other) {
  if (this != &other) *this = Tensor{other};
  return *this;
}

void Tensor::Free::operator()(std::byte* p) const noexcept { std::free(p); }

void Tensor::check_size(std::size_t size) const {
  if (size != size_of(spec_.dtype)) {
    throw Error{Errc::bad_argument, "tensor '" + spec_.name + "' is " + to_string(spec_.dtype) +
                                        ": its elements cannot be read as a type of " + std::to_string(size) + " bytes"};
  }
}

}  // namespace splitcnn::inline v0
