// Compiled with -O3 and without floating-point traps (see CMakeLists.txt), so that the plain loops become
// vector code.
#include "core/convert.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/dispatch.hpp"
#include "core/half.hpp"

namespace splitcnn::inline v0 {

namespace {

/// 2^exponent for any exponent, as two factors: a float's range is too small for the exponents a file may
/// hold. Multiplying by both is exact, or underflows to where every conversion gives 0, or overflows to where
/// every conversion saturates.
struct PowerOfTwo {
  explicit PowerOfTwo(std::int64_t exponent) noexcept {
    const auto clamped = static_cast<int>(std::clamp<std::int64_t>(exponent, -252, 254));
    const int a = std::clamp(clamped, -126, 127);
    first = std::ldexp(1.0f, a);
    second = std::ldexp(1.0f, clamped - a);
  }
  float first, second;
};

/// floor(x + 0.5) without forming x + 0.5, which would round (0.49999997f + 0.5f is 1). x - trunc(x) is exact
/// for every float, and the clamp comes first because rounding does not leave [-128, 127].
inline __attribute__((always_inline)) std::int8_t round_f32(float x) noexcept {
  x = x == x ? x : 0.0f;
  x = x > -128.0f ? x : -128.0f;
  x = x < 127.0f ? x : 127.0f;
  const auto whole = static_cast<std::int32_t>(x);
  const float rest = x - static_cast<float>(whole);
  return static_cast<std::int8_t>(whole + (rest >= 0.5f ? 1 : 0) - (rest < -0.5f ? 1 : 0));
}

inline __attribute__((always_inline)) void quantise_body(const float* from, std::int8_t* to, std::size_t n,
                                                         float a, float b) noexcept {
  for (std::size_t i = 0; i < n; ++i) to[i] = round_f32(from[i] * a * b);
}

inline __attribute__((always_inline)) void dequantise_body(const std::int8_t* from, float* to, std::size_t n,
                                                           float a, float b) noexcept {
  for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]) * a * b;
}

void quantise(const float* from, std::int8_t* to, std::size_t n, const PowerOfTwo& scale) noexcept {
  run_best<quantise_body>(from, to, n, scale.first, scale.second);
}

void dequantise(const std::int8_t* from, float* to, std::size_t n, const PowerOfTwo& scale) noexcept {
  run_best<dequantise_body>(from, to, n, scale.first, scale.second);
}

/// Elements [0, n) in a row, no change of order.
class RowConverter {
 public:
  RowConverter(const Representation& from, const Representation& to) noexcept
      : from_{from.dtype},
        to_{to.dtype},
        copy_{from.dtype == to.dtype && (from.dtype != DType::i8 || from.fix_point == to.fix_point)},
        scale_{exponent(from, to)} {}

  void operator()(const std::byte* source, std::byte* destination, std::size_t n) const noexcept {
    if (copy_) {
      std::memcpy(destination, source, n * size_of(from_));
    } else if (from_ == DType::f32) {
      store(reinterpret_cast<const float*>(source), destination, n);
    } else if (to_ == DType::f32) {
      load(source, reinterpret_cast<float*>(destination), n);
    } else {
      // Neither side is f32: through a small buffer, so that three loads and three stores make every pair.
      // For i8 to f16 and f16 or i8 to i8 the value in between is exact, so nothing is rounded twice.
      alignas(64) float block[512];
      for (std::size_t i = 0; i < n; i += std::size(block)) {
        const std::size_t m = std::min(std::size(block), n - i);
        load(source + i * size_of(from_), block, m);
        store(block, destination + i * size_of(to_), m);
      }
    }
  }

 private:
  static std::int64_t exponent(const Representation& from, const Representation& to) noexcept {
    const std::int64_t in = from.dtype == DType::i8 ? from.fix_point : 0;
    const std::int64_t out = to.dtype == DType::i8 ? to.fix_point : 0;
    return out - in;
  }

  /// To float; scales when the destination is not i8 (then store() does).
  void load(const std::byte* source, float* to, std::size_t n) const noexcept {
    if (from_ == DType::f16) return from_half(reinterpret_cast<const std::uint16_t*>(source), to, n);
    dequantise(reinterpret_cast<const std::int8_t*>(source), to, n,
               to_ == DType::i8 ? PowerOfTwo{0} : scale_);
  }

  void store(const float* from, std::byte* destination, std::size_t n) const noexcept {
    if (to_ == DType::f16) return to_half(from, reinterpret_cast<std::uint16_t*>(destination), n);
    quantise(from, reinterpret_cast<std::int8_t*>(destination), n, scale_);
  }

  DType from_, to_;
  bool copy_;
  PowerOfTwo scale_;
};

/// A tile of the source, already converted, into its place: destination[j * stride + i] = tile[i * columns +
/// j].
template <class T>
void scatter(const T* tile, std::size_t rows, std::size_t columns, T* destination,
             std::size_t stride) noexcept {
  for (std::size_t j = 0; j < columns; ++j) {
    for (std::size_t i = 0; i < rows; ++i) destination[j * stride + i] = tile[i * columns + j];
  }
}

/// Converts a rows x columns matrix into its columns x rows transpose, tile by tile: rows of the source are
/// converted as vectors, and the tile is turned while it is in the nearest cache.
template <class T>
void transpose(const RowConverter& convert_row, const std::byte* source, std::size_t source_size,
               T* destination, std::size_t rows, std::size_t columns) noexcept {
  constexpr std::size_t tile_elements = 2048;
  alignas(64) T tile[tile_elements];
  const std::size_t tile_columns =
      std::min(columns, columns <= 64 ? columns : std::max<std::size_t>(64, tile_elements / rows));
  const std::size_t tile_rows = std::min(rows, tile_elements / tile_columns);
  for (std::size_t r = 0; r < rows; r += tile_rows) {
    const std::size_t m = std::min(tile_rows, rows - r);
    for (std::size_t c = 0; c < columns; c += tile_columns) {
      const std::size_t n = std::min(tile_columns, columns - c);
      const std::byte* from = source + (r * columns + c) * source_size;
      if (n == columns) {  // whole rows lie one behind the other
        convert_row(from, reinterpret_cast<std::byte*>(tile), m * n);
      } else {
        for (std::size_t i = 0; i < m; ++i) {
          convert_row(from + i * columns * source_size, reinterpret_cast<std::byte*>(tile + i * n), n);
        }
      }
      scatter(tile, m, n, destination + c * rows + r, rows);
    }
  }
}

}  // namespace

std::int8_t round_half_up_to_i8(double x) noexcept {
  if (!(x == x)) return 0;
  x = std::clamp(x, -128.0, 127.0);
  const double whole = std::floor(x);
  return static_cast<std::int8_t>(whole + (x - whole >= 0.5 ? 1 : 0));
}

void convert(const Shape& logical, const Representation& from, const std::byte* source,
             const Representation& to, std::byte* destination) noexcept {
  const RowConverter convert_row{from, to};
  const auto elements = static_cast<std::size_t>(logical.elements());
  if (elements == 0) return;
  const bool turn = logical.rank() == 4 && from.channels_last != to.channels_last;
  if (!turn || logical[1] == 1 || logical[2] * logical[3] == 1)
    return convert_row(source, destination, elements);

  const auto channels = static_cast<std::size_t>(logical[1]);
  const auto pixels = static_cast<std::size_t>(logical[2] * logical[3]);
  const std::size_t rows = from.channels_last ? pixels : channels;
  const std::size_t columns = from.channels_last ? channels : pixels;
  const std::size_t in_size = size_of(from.dtype), out_size = size_of(to.dtype);
  for (std::int64_t image = 0; image < logical[0]; ++image) {
    const std::byte* in = source + static_cast<std::size_t>(image) * rows * columns * in_size;
    std::byte* out = destination + static_cast<std::size_t>(image) * rows * columns * out_size;
    switch (out_size) {
      case 4:
        transpose(convert_row, in, in_size, reinterpret_cast<std::uint32_t*>(out), rows, columns);
        break;
      case 2:
        transpose(convert_row, in, in_size, reinterpret_cast<std::uint16_t*>(out), rows, columns);
        break;
      default:
        transpose(convert_row, in, in_size, reinterpret_cast<std::uint8_t*>(out), rows, columns);
        break;
    }
  }
}

}  // namespace splitcnn::inline v0
