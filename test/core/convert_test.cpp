#include "core/convert.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/half.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

/// The definition in long double, which holds every float times every power of two used here exactly.
int slow_round(long double x) {
  if (std::isnan(x)) return 0;
  return static_cast<int>(std::min(127.0L, std::max(-128.0L, std::floor(x + 0.5L))));
}

std::int64_t offset(const Shape& shape, bool channels_last, std::int64_t n, std::int64_t c, std::int64_t y,
                    std::int64_t x) {
  return channels_last ? ((n * shape[2] + y) * shape[3] + x) * shape[1] + c
                       : ((n * shape[1] + c) * shape[2] + y) * shape[3] + x;
}

long double slow_load(const std::byte* data, const Representation& r, std::int64_t i) {
  switch (r.dtype) {
    case DType::f32:
      return reinterpret_cast<const float*>(data)[i];
    case DType::f16:
      return from_half(reinterpret_cast<const std::uint16_t*>(data)[i]);
    default:
      return std::ldexp(static_cast<long double>(reinterpret_cast<const std::int8_t*>(data)[i]),
                        -r.fix_point);
  }
}

void slow_store(long double value, std::byte* data, const Representation& r, std::int64_t i) {
  switch (r.dtype) {
    case DType::f32:
      reinterpret_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::f16:
      reinterpret_cast<std::uint16_t*>(data)[i] = to_half(static_cast<float>(value));
      break;
    default:
      reinterpret_cast<std::int8_t*>(data)[i] =
          static_cast<std::int8_t>(slow_round(std::ldexp(value, r.fix_point)));
  }
}

void slow_convert(const Shape& shape, const Representation& from, const std::byte* source,
                  const Representation& to, std::byte* out) {
  if (shape.rank() != 4) {
    for (std::int64_t i = 0; i < shape.elements(); ++i) slow_store(slow_load(source, from, i), out, to, i);
    return;
  }
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t c = 0; c < shape[1]; ++c)
      for (std::int64_t y = 0; y < shape[2]; ++y)
        for (std::int64_t x = 0; x < shape[3]; ++x)
          slow_store(slow_load(source, from, offset(shape, from.channels_last, n, c, y, x)), out, to,
                     offset(shape, to.channels_last, n, c, y, x));
}

std::vector<std::byte> random_bytes(const Representation& r, std::int64_t elements, std::mt19937_64& random) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(elements) * size_of(r.dtype));
  for (std::int64_t i = 0; i < elements; ++i) {
    // Multiples of 1/16 up to 400: many ties, some saturation; now and then anything at all.
    const float plain = static_cast<float>(static_cast<int>(random() % 12801) - 6400) / 16.0f;
    const bool wild = random() % 16 == 0;
    const auto u = static_cast<std::uint32_t>(random());
    if (r.dtype == DType::f32) {
      reinterpret_cast<float*>(bytes.data())[i] = wild ? std::bit_cast<float>(u) : plain;
    } else if (r.dtype == DType::f16) {
      reinterpret_cast<std::uint16_t*>(bytes.data())[i] =
          wild ? static_cast<std::uint16_t>(u) : to_half(plain);
    } else {
      bytes[static_cast<std::size_t>(i)] = static_cast<std::byte>(u);
    }
  }
  return bytes;
}

/// Equal bytes; any NaN equals any NaN.
bool same(const std::vector<std::byte>& a, const std::vector<std::byte>& b, DType dtype) {
  if (dtype == DType::i8) return a == b;
  const std::size_t size = size_of(dtype);
  const auto is_nan = [&](const std::byte* p) {
    float value = 0;
    std::uint16_t half = 0;
    if (dtype == DType::f32) std::memcpy(&value, p, size);
    if (dtype == DType::f16) std::memcpy(&half, p, size);
    return std::isnan(value) || std::isnan(from_half(half));
  };
  for (std::size_t i = 0; i < a.size(); i += size) {
    if (std::memcmp(&a[i], &b[i], size) != 0 && !(is_nan(&a[i]) && is_nan(&b[i]))) return false;
  }
  return true;
}

std::vector<std::int8_t> quantised(const std::vector<float>& values, int fix_point) {
  std::vector<std::int8_t> out(values.size());
  convert(Shape{static_cast<std::int64_t>(values.size())}, {DType::f32},
          reinterpret_cast<const std::byte*>(values.data()), {DType::i8, fix_point},
          reinterpret_cast<std::byte*>(out.data()));
  return out;
}

}  // namespace

TEST_CASE("f32 to i8 is floor(x * 2^fp + 0.5) for floats of every kind", "[convert]") {
  std::vector<float> values;
  const float inf = std::numeric_limits<float>::infinity();
  for (const float x :
       {0.0f, inf, 0.49999997f, 0.5f, 8388609.0f, 8388607.5f, 4194304.5f, std::numeric_limits<float>::max(),
        std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::min(), std::nanf("")}) {
    values.push_back(x);
    values.push_back(-x);
  }
  // Every 257th bit pattern covers all exponents densely; then the neighbours of every tie and every integer
  // in range.
  for (std::uint64_t b = 0; b < 1ull << 32; b += 1031)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(b)));
  for (int half = -300; half <= 300; ++half) {
    float low = static_cast<float>(half) / 2, high = low;
    for (int i = 0; i < 50; ++i) {
      values.push_back(low);
      values.push_back(high);
      low = std::nextafter(low, -inf);
      high = std::nextafter(high, inf);
    }
  }
  for (const int fp : {0, 7, -3, 126, 127, 128, 140, 160, 300, -126, -127, -140, -300, 1 << 30, -(1 << 30)}) {
    const std::vector<std::int8_t> out = quantised(values, fp);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const long double scaled =
          std::ldexp(static_cast<long double>(values[i]), std::max(-2000, std::min(2000, fp)));
      if (out[i] != slow_round(scaled)) {
        ++wrong;
        UNSCOPED_INFO("value " << values[i] << " fp " << fp << " gives " << int{out[i]});
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("every float in [-130, 130] rounds right", "[convert][long]") {
  std::vector<float> values;
  std::size_t wrong = 0;
  const auto flush = [&] {
    const std::vector<std::int8_t> out = quantised(values, 0);
    for (std::size_t i = 0; i < values.size(); ++i) wrong += out[i] != slow_round(values[i]);
    values.clear();
  };
  for (std::uint32_t b = 0; b <= std::bit_cast<std::uint32_t>(130.0f); ++b) {
    values.push_back(std::bit_cast<float>(b));
    values.push_back(-std::bit_cast<float>(b));
    if (values.size() >= 1 << 20) flush();
  }
  flush();
  CHECK(wrong == 0);
}

TEST_CASE("round_half_up_to_i8 in double", "[convert]") {
  CHECK(round_half_up_to_i8(0.49999999999999994) == 0);  // + 0.5 would round to 1
  CHECK(round_half_up_to_i8(-0.5) == 0);
  CHECK(round_half_up_to_i8(-1.5) == -1);
  CHECK(round_half_up_to_i8(2.5) == 3);
  CHECK(round_half_up_to_i8(-1e-300) == 0);
  CHECK(round_half_up_to_i8(1e300) == 127);
  CHECK(round_half_up_to_i8(-1e300) == -128);
  CHECK(round_half_up_to_i8(std::nan("")) == 0);
  std::mt19937_64 random{splitcnn_test::seed()};
  std::size_t wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const double x = std::ldexp(static_cast<double>(static_cast<std::int64_t>(random()) >> 20), -36);
    wrong += round_half_up_to_i8(x) != slow_round(x);
  }
  CHECK(wrong == 0);
}

TEST_CASE("all types, layouts and shapes against the slow reference", "[convert]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto representation = [&] {
    return Representation{std::array{DType::f32, DType::f16, DType::i8}[static_cast<std::size_t>(below(3))],
                          below(24) - 8, below(2) == 0};
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::int64_t> dims;
    const int rank = below(3) == 0 ? below(9) : 4;
    for (int i = 0; i < rank; ++i) dims.push_back(below(rank > 4 ? 4 : 9));
    if (rank == 4) {  // shapes around the tile sizes, thin and flat
      dims[0] = 1 + below(2);
      dims[1] = std::array{1, 2, 3, 4, 31, 64, 65, 130, 700}[static_cast<std::size_t>(below(9))];
      dims[2] = 1 + below(dims[1] > 100 ? 6 : 40);
      dims[3] = 1 + below(dims[1] > 100 ? 9 : 40);
    }
    const Shape shape{std::span<const std::int64_t>{dims}};
    Representation from = representation(), to = representation();
    const std::vector<std::byte> source = random_bytes(from, shape.elements(), random);
    std::vector<std::byte> expected(static_cast<std::size_t>(shape.elements()) * size_of(to.dtype));
    std::vector<std::byte> actual(expected.size() + 16, std::byte{0x5a});
    slow_convert(shape, from, source.data(), to, expected.data());
    convert(shape, from, source.data(), to, actual.data());
    for (std::size_t i = expected.size(); i < actual.size(); ++i) REQUIRE(actual[i] == std::byte{0x5a});
    actual.resize(expected.size());
    if (!same(actual, expected, to.dtype)) {
      FAIL("round " << round << " shape " << to_string(shape) << " " << to_string(from.dtype) << " fp "
                    << from.fix_point << " to " << to_string(to.dtype) << " fp " << to.fix_point);
    }
  }
}

TEST_CASE("extreme fix points of i8 tensors", "[convert]") {
  std::vector<std::byte> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<std::byte>(i);
  for (const int a : {-300, -140, -127, -5, 0, 126, 130, 149, 150, 152, 300}) {
    for (const DType dtype : {DType::f32, DType::f16, DType::i8}) {
      for (const int b : {-300, -100, 0, 8, 140, 301}) {
        const Representation from{DType::i8, a}, to{dtype, b};
        std::vector<std::byte> expected(256 * size_of(dtype)), actual(expected.size());
        slow_convert({256}, from, all.data(), to, expected.data());
        convert({256}, from, all.data(), to, actual.data());
        INFO("from fp " << a << " to " << to_string(dtype) << " fp " << b);
        CHECK(same(actual, expected, dtype));
      }
    }
  }
}

TEST_CASE("chains across devices: A,B,A keeps what int8 can hold", "[convert]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const Shape shape{1, 37, 11, 13};
  const auto n = static_cast<std::size_t>(shape.elements());
  // DPU, GPU, DPU: int8 to f16 and back is the identity, for every fix point whose values f16 holds.
  for (int fp = -8; fp <= 16; ++fp) {
    const Representation i8{DType::i8, fp}, f16{DType::f16}, model{DType::f32, 0, false};
    const std::vector<std::byte> start = random_bytes(i8, shape.elements(), random);
    std::vector<std::byte> half(2 * n), wide(4 * n), back(n);
    convert(shape, i8, start.data(), f16, half.data());
    convert(shape, f16, half.data(), i8, back.data());
    CHECK(back == start);
    convert(shape, i8, start.data(), model, wide.data());
    convert(shape, model, wide.data(), i8, back.data());
    CHECK(back == start);
  }
  // GPU, DPU, GPU: the second crossing rounds nothing any more.
  const Representation f32{DType::f32}, i8{DType::i8, 4};
  const std::vector<std::byte> start = random_bytes(f32, shape.elements(), random);
  std::vector<std::byte> once(n), wide(4 * n), twice(n);
  convert(shape, f32, start.data(), i8, once.data());
  convert(shape, i8, once.data(), f32, wide.data());
  convert(shape, f32, wide.data(), i8, twice.data());
  CHECK(once == twice);
}
