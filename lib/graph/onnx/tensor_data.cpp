#include "graph/onnx/tensor_data.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/half.hpp"

namespace splitcnn::inline v0 {

static_assert(std::endian::native == std::endian::little, "raw ONNX data is little-endian and read as it is");

namespace {

using Type = pb::TensorProto;

std::size_t element_size(int type) {
  switch (type) {
    case Type::FLOAT:
    case Type::INT32:
    case Type::UINT32:
      return 4;
    case Type::DOUBLE:
    case Type::INT64:
    case Type::UINT64:
      return 8;
    case Type::FLOAT16:
    case Type::BFLOAT16:
    case Type::INT16:
    case Type::UINT16:
      return 2;
    case Type::INT8:
    case Type::UINT8:
    case Type::BOOL:
      return 1;
    default:
      return 0;
  }
}

template <class T, class To, class Convert>
std::vector<To> from_raw(const std::string& raw, std::size_t n, Convert convert) {
  std::vector<To> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, raw.data() + i * sizeof(T), sizeof(T));
    out[i] = convert(value);
  }
  return out;
}

template <class To>
std::vector<To> same(const std::string& raw, std::size_t n) {
  std::vector<To> out(n);
  if (n > 0) std::memcpy(out.data(), raw.data(), n * sizeof(To));
  return out;
}

template <class To, class Field, class Convert>
std::vector<To> from_field(const Field& field, std::size_t n, Convert convert) {
  if (static_cast<std::size_t>(field.size()) != n) {
    throw Error{Errc::bad_model,
                fmt::format("holds {} values, its shape needs {}; the file is damaged, export it again",
                            field.size(), n)};
  }
  std::vector<To> out(n);
  std::transform(field.begin(), field.end(), out.begin(), convert);
  return out;
}

float bfloat(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
float half(std::uint16_t bits) { return from_half(bits); }
template <class T>
std::int64_t whole(T value) {
  return static_cast<std::int64_t>(value);
}
template <class T>
float real(T value) {
  return static_cast<float>(value);
}

void decode_raw(ConstTensor& out, int type, const std::string& raw, std::size_t n) {
  using I = std::int64_t;
  switch (type) {
    case Type::FLOAT:
      out.values = same<float>(raw, n);
      break;
    case Type::FLOAT16:
      out.values = from_raw<std::uint16_t, float>(raw, n, half);
      break;
    case Type::BFLOAT16:
      out.values = from_raw<std::uint16_t, float>(raw, n, bfloat);
      break;
    case Type::DOUBLE:
      out.values = from_raw<double, float>(raw, n, real<double>);
      break;
    case Type::INT64:
    case Type::UINT64:
      out.values = same<I>(raw, n);
      break;
    case Type::INT32:
      out.values = from_raw<std::int32_t, I>(raw, n, whole<std::int32_t>);
      break;
    case Type::UINT32:
      out.values = from_raw<std::uint32_t, I>(raw, n, whole<std::uint32_t>);
      break;
    case Type::INT16:
      out.values = from_raw<std::int16_t, I>(raw, n, whole<std::int16_t>);
      break;
    case Type::UINT16:
      out.values = from_raw<std::uint16_t, I>(raw, n, whole<std::uint16_t>);
      break;
    case Type::INT8:
      out.values = from_raw<std::int8_t, I>(raw, n, whole<std::int8_t>);
      break;
    case Type::UINT8:
      out.values = from_raw<std::uint8_t, I>(raw, n, whole<std::uint8_t>);
      break;
    default:
      out.values = from_raw<std::uint8_t, I>(raw, n, [](std::uint8_t v) { return I{v != 0}; });
      break;
  }
}

void decode_fields(ConstTensor& out, const pb::TensorProto& t, std::size_t n) {
  using I = std::int64_t;
  switch (t.data_type()) {
    case Type::FLOAT:
      out.values = from_field<float>(t.float_data(), n, real<float>);
      break;
    case Type::FLOAT16:
      out.values = from_field<float>(t.int32_data(), n,
                                     [](std::int32_t v) { return half(static_cast<std::uint16_t>(v)); });
      break;
    case Type::BFLOAT16:
      out.values = from_field<float>(t.int32_data(), n,
                                     [](std::int32_t v) { return bfloat(static_cast<std::uint16_t>(v)); });
      break;
    case Type::DOUBLE:
      out.values = from_field<float>(t.double_data(), n, real<double>);
      break;
    case Type::INT64:
      out.values = from_field<I>(t.int64_data(), n, whole<I>);
      break;
    case Type::UINT32:
    case Type::UINT64:
      out.values = from_field<I>(t.uint64_data(), n, whole<std::uint64_t>);
      break;
    case Type::BOOL:
      out.values = from_field<I>(t.int32_data(), n, [](std::int32_t v) { return I{v != 0}; });
      break;
    default:
      out.values = from_field<I>(t.int32_data(), n, whole<std::int32_t>);
      break;
  }
}

}  // namespace

void ElementBudget::take(std::int64_t elements) {
  if (elements > left_) {
    throw Error{Errc::unsupported,
                fmt::format("computing its constants needs more than the {} elements of "
                            "LoadOptions::max_folded_elements allows; raise it if the model is meant so",
                            limit_)};
  }
  left_ -= elements;
}

void ElementBudget::grow(std::size_t file_elements) noexcept {
  constexpr std::int64_t times = 8, most = std::int64_t{1} << 50;
  const auto more = times * static_cast<std::int64_t>(std::min<std::size_t>(file_elements, most / times));
  limit_ = std::min(limit_ + more, most);
  left_ = std::min(left_ + more, most);
}

Shape checked_shape(std::span<const std::int64_t> dims, std::int64_t limit) {
  if (dims.size() > Shape::max_rank) {
    throw Error{Errc::unsupported, fmt::format("has {} dimensions; {} are the most this library handles",
                                               dims.size(), Shape::max_rank)};
  }
  std::int64_t elements = 1;
  for (const std::int64_t d : dims) {
    if (d < 0) throw Error{Errc::bad_model, fmt::format("has the dimension {}; export the model again", d)};
    // With a zero among them the other dimensions are bounded all the same.
    if (d > limit || (d > 0 && elements > limit / d)) {
      throw Error{
          Errc::bad_model,
          fmt::format(
              "its shape has more than the {} elements of LoadOptions::max_tensor_elements; the file is "
              "damaged, or raise the limit",
              limit)};
    }
    elements *= std::max<std::int64_t>(d, 1);
  }
  return Shape{dims};
}

Shape tensor_shape(const pb::TensorProto& tensor, std::int64_t max_elements) {
  return checked_shape(std::span{tensor.dims().data(), static_cast<std::size_t>(tensor.dims_size())},
                       max_elements);
}

std::string element_type_name(int data_type) {
  switch (data_type) {
    case Type::FLOAT:
      return "float32";
    case Type::FLOAT16:
      return "float16";
    case Type::BFLOAT16:
      return "bfloat16";
    case Type::DOUBLE:
      return "float64";
    case Type::INT64:
      return "int64";
    case Type::INT32:
      return "int32";
    case Type::INT8:
      return "int8";
    case Type::UINT8:
      return "uint8";
    case Type::BOOL:
      return "bool";
    case Type::STRING:
      return "string";
    default:
      return fmt::format("type {}", data_type);
  }
}

bool is_float_type(int type) noexcept {
  return type == Type::FLOAT || type == Type::FLOAT16 || type == Type::BFLOAT16 || type == Type::DOUBLE;
}

ConstTensor decode_tensor(const pb::TensorProto& t, std::int64_t max_elements, ExternalData& external) {
  const std::size_t bytes = element_size(t.data_type());
  if (bytes == 0) {
    throw Error{
        Errc::unsupported,
        fmt::format("has values of {}; only float, integer and bool constants have a meaning here; export "
                    "the model in float32",
                    element_type_name(t.data_type()))};
  }
  ConstTensor out{.shape = tensor_shape(t, max_elements), .boolean = t.data_type() == Type::BOOL};
  const auto n = static_cast<std::size_t>(out.shape.elements());
  if (t.data_location() == pb::TensorProto::EXTERNAL) {
    decode_raw(out, t.data_type(), external.read(t, n * bytes), n);
  } else if (!t.raw_data().empty()) {
    if (t.raw_data().size() != n * bytes) {
      throw Error{Errc::bad_model,
                  fmt::format("holds {} bytes, its shape {} needs {}; the file is damaged, export it again",
                              t.raw_data().size(), to_string(out.shape), n * bytes)};
    }
    decode_raw(out, t.data_type(), t.raw_data(), n);
  } else {
    decode_fields(out, t, n);
  }
  return out;
}

ConstTensor cast_constant(const ConstTensor& x, int to) {
  if (element_size(to) == 0)
    throw Error{Errc::unsupported,
                fmt::format("converts to {}; only float, integer and bool have a meaning here",
                            element_type_name(to))};
  ConstTensor out{.shape = x.shape, .boolean = to == Type::BOOL};
  const auto whole_of = [&](auto v) -> std::int64_t {
    if (to == Type::BOOL) return v != 0;
    const double d = static_cast<double>(v);
    if (d >= 9.2e18 || d <= -9.2e18)
      return d > 0 ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
    if (d != d) return 0;
    const auto i = static_cast<std::int64_t>(v);
    return to == Type::INT32 ? static_cast<std::int32_t>(i) : i;
  };
  std::visit(
      [&](const auto& values) {
        if (is_float_type(to)) {
          out.values = std::vector<float>(values.begin(), values.end());
        } else {
          std::vector<std::int64_t> converted(values.size());
          std::transform(values.begin(), values.end(), converted.begin(), whole_of);
          out.values = std::move(converted);
        }
      },
      x.values);
  return out;
}

}  // namespace splitcnn::inline v0
