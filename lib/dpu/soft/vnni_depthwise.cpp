// Compiled with -O3 (see CMakeLists.txt); only for x86-64.
#include <immintrin.h>

#include <algorithm>

#include "dpu/soft/parallel.hpp"
#include "dpu/soft/simd.hpp"
#include "dpu/soft/vnni_kernels.hpp"

namespace splitcnn::inline v0::soft {

namespace {

constexpr std::int64_t block = 64;  // channels in a vector
constexpr int tile_pixels = 6;      // of each kernel row
constexpr int max_kernel_h = 16;

/// Channel inside a block of element `e` of sum `i`: the order in which interleaving bytes and words leaves them, and packing puts right.
/// In halves both halves of the vector hold the same channels.
constexpr std::int64_t channel_of(int i, int e, bool halves) { return (halves ? e / 4 % 2 : e / 4) * 16 + i * 4 + e % 4; }

struct Tile {
  const std::int8_t* const* pixels;  // [kernel row][tile_pixels]; in halves first those of the lower half, then those of the upper one
  std::int64_t offset;               // first channel
  const std::int8_t* weights;
  const std::int32_t* constants;
  std::int8_t* out;                  // first output pixel, at the first channel
  std::int64_t out_step;             // bytes between output pixels
  int kernel_h, shift;
  std::int8_t low, high;
  __mmask64 channels;
};

/// 64 channels: bytes of two pixels, then words of two such pairs, leave four taps of one channel behind one another, in the order of
/// channel_of(). Named members, not an array: only then does the compiler keep them in registers.
struct Four {
  __m512i a, b, c, d;
};

template <bool Signed, bool Halves>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline __m512i load(const Tile& tile, const std::int8_t* const* pixel) {
  __m512i bytes;
  if constexpr (Halves) {
    const auto channels = static_cast<__mmask32>(tile.channels);
    const __m256i lower = _mm256_maskz_loadu_epi8(channels, pixel[0] + tile.offset);
    bytes = _mm512_inserti64x4(_mm512_castsi256_si512(lower), _mm256_maskz_loadu_epi8(channels, pixel[tile_pixels] + tile.offset), 1);
  } else {
    bytes = _mm512_maskz_loadu_epi8(tile.channels, pixel[0] + tile.offset);
  }
  return Signed ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) : bytes;
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline Four load_four(const void* from) {
  const auto* at = static_cast<const std::byte*>(from);
  return {_mm512_load_si512(at), _mm512_load_si512(at + 64), _mm512_load_si512(at + 128), _mm512_load_si512(at + 192)};
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline Four interleave(__m512i low0, __m512i high0, __m512i low1, __m512i high1) {
  return {_mm512_unpacklo_epi16(low0, low1), _mm512_unpackhi_epi16(low0, low1), _mm512_unpacklo_epi16(high0, high1),
          _mm512_unpackhi_epi16(high0, high1)};
}

/// As an instruction: with the intrinsic the compiler (g++ 12) copies sums to other registers and to the stack and back.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline void dot(__m512i& sums, __m512i x, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(weights));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline void multiply(Four& sums, const Four& x, const Four& weights) {
  dot(sums.a, x.a, weights.a);
  dot(sums.b, x.b, weights.b);
  dot(sums.c, x.c, weights.c);
  dot(sums.d, x.d, weights.d);
}

/// The taps one pixel further: the zero goes to the front.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline Four shifted(const Four& w) {
  return {_mm512_slli_epi32(w.a, 8), _mm512_slli_epi32(w.b, 8), _mm512_slli_epi32(w.c, 8), _mm512_slli_epi32(w.d, 8)};
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline __m512i finish(const Tile& tile, const Four& sums) {
  const __m128i shift = _mm_cvtsi32_si128(tile.shift);
  const __m512i front = _mm512_packs_epi32(_mm512_sra_epi32(sums.a, shift), _mm512_sra_epi32(sums.b, shift));
  const __m512i back = _mm512_packs_epi32(_mm512_sra_epi32(sums.c, shift), _mm512_sra_epi32(sums.d, shift));
  const __m512i bytes = _mm512_packs_epi16(front, back);
  return _mm512_min_epi8(_mm512_max_epi8(bytes, _mm512_set1_epi8(tile.low)), _mm512_set1_epi8(tile.high));
}

/// Output number `o` of the tile, or of both tiles, as far as there are so many.
template <bool Halves, int Step>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline void store(const Tile& tile, const Four& sums, int o, int outputs) {
  const __m512i bytes = finish(tile, sums);
  std::int8_t* to = tile.out + o * tile.out_step;
  if constexpr (Halves) {
    const auto channels = static_cast<__mmask32>(tile.channels);
    if (o < outputs) _mm256_mask_storeu_epi8(to, channels, _mm512_castsi512_si256(bytes));
    if (o + Step < outputs) _mm256_mask_storeu_epi8(to + Step * tile.out_step, channels, _mm512_extracti64x4_epi64(bytes, 1));
  } else {
    if (o < outputs) _mm512_mask_storeu_epi8(to, tile.channels, bytes);
  }
}

/// Six pixels of each kernel row: four outputs with stride 1, two with stride 2. In halves twice as many, of at most 32 channels.
template <bool Signed, int Stride, bool Halves>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), noinline)) void run_tile(const Tile& tile, int outputs) {
  constexpr int step = Stride == 1 ? 4 : 2;
  Four first = load_four(tile.constants), second = first, third = first, fourth = first;
  const std::int8_t* weights = tile.weights;
  const std::int8_t* const* pixel = tile.pixels;
  for (int ky = 0; ky < tile.kernel_h; ++ky, pixel += Halves ? 2 * tile_pixels : tile_pixels, weights += 256) {
    const __m512i a = load<Signed, Halves>(tile, pixel), b = load<Signed, Halves>(tile, pixel + 1), c = load<Signed, Halves>(tile, pixel + 2);
    const __m512i d = load<Signed, Halves>(tile, pixel + 3), e = load<Signed, Halves>(tile, pixel + 4), f = load<Signed, Halves>(tile, pixel + 5);
    const __m512i middle_low = _mm512_unpacklo_epi8(c, d), middle_high = _mm512_unpackhi_epi8(c, d);
    const Four front = interleave(_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b), middle_low, middle_high);
    const Four back = interleave(middle_low, middle_high, _mm512_unpacklo_epi8(e, f), _mm512_unpackhi_epi8(e, f));
    const Four w = load_four(weights);
    multiply(first, front, w);
    multiply(third, back, w);
    if constexpr (Stride == 1) {
      const Four next = shifted(w);
      multiply(second, front, next);
      multiply(fourth, back, next);
    }
  }
  store<Halves, step>(tile, first, 0, outputs);
  if constexpr (Stride == 1) store<Halves, step>(tile, second, 1, outputs);
  store<Halves, step>(tile, third, step / 2, outputs);
  if constexpr (Stride == 1) store<Halves, step>(tile, fourth, 3, outputs);
}

using RunTile = void (*)(const Tile&, int);
constexpr RunTile run_tiles[2][2][2] = {  // [signed][stride - 1][halves]
    {{run_tile<false, 1, false>, run_tile<false, 1, true>}, {run_tile<false, 2, false>, run_tile<false, 2, true>}},
    {{run_tile<true, 1, false>, run_tile<true, 1, true>}, {run_tile<true, 2, false>, run_tile<true, 2, true>}}};

constexpr bool in_halves(std::int64_t channels) { return channels <= block / 2; }

}  // namespace

bool VnniDepthwise::fits(const ConvSpec& s) {
  const Window& w = s.window;
  return simd_level() >= SimdLevel::vnni && s.depthwise() && w.kernel_w == 3 && w.kernel_h <= max_kernel_h && w.dilation_w == 1 &&
         w.stride_w <= 2 && s.out.c >= 16 && integer_finish(s).has_value();
}

VnniDepthwise::VnniDepthwise(const ConvSpec& s, Arena& arena)
    : in_{s.in}, out_{s.out}, window_{s.window}, finish_{*integer_finish(s)}, non_negative_{s.source_non_negative},
      blocks_{(s.out.c + block - 1) / block}, weights_(arena.take_array<std::int8_t>(static_cast<std::size_t>(blocks_ * window_.kernel_h * 256))),
      constants_(arena.take_array<std::int32_t>(static_cast<std::size_t>(blocks_ * block))),
      zeros_(arena.take_array<std::int8_t>(static_cast<std::size_t>(blocks_ * block))) {
  if (!non_negative_) {
    const auto sums = weight_sums(s);
    for (std::size_t c = 0; c < sums.size(); ++c) finish_.constants[c] -= 128 * sums[c];
  }
  for (std::int64_t c = 0; c < out_.c; ++c) {
    const bool halves = in_halves(out_.c - c / block * block);
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < 16; ++e) {
        if (channel_of(i, e, halves) != c % block) continue;
        constants_[c / block * block + i * 16 + e] = finish_.constants[static_cast<std::size_t>(c)];
        for (int ky = 0; ky < window_.kernel_h; ++ky) {
          for (int kx = 0; kx < 3; ++kx) {
            weights_[((c / block * window_.kernel_h + ky) * 4 + i) * 64 + e * 4 + kx] =
                s.weights[static_cast<std::size_t>((c * window_.kernel_h + ky) * 3 + kx)];
          }
        }
      }
    }
  }
}

void VnniDepthwise::run_rows(const std::int8_t* in, std::int8_t* out, std::int64_t n, std::int64_t begin, std::int64_t end) const {
  const std::int64_t full = blocks_ - (in_halves(out_.c - (blocks_ - 1) * block) ? 1 : 0);
  for (std::int64_t y = begin; y < end; ++y) {
    if (full > 0) run_row(in, out, n, y, 0, full, false);
    if (full < blocks_) run_row(in, out, n, y, full, blocks_, true);
  }
}

void VnniDepthwise::run_row(const std::int8_t* in, std::int8_t* out, std::int64_t n, std::int64_t y, std::int64_t first, std::int64_t last,
                            bool halves) const {
  const std::int64_t stride = window_.stride_w, step = stride == 1 ? 4 : 2, tiles = halves ? 2 : 1;
  const std::int8_t* image = in + n * in_.h * in_.w * in_.c;
  const std::int8_t* pixels[max_kernel_h * 2 * tile_pixels];
  const RunTile run = run_tiles[non_negative_ ? 0 : 1][stride - 1][halves];
  for (std::int64_t x = 0; x < out_.w; x += tiles * step) {
    const std::int8_t** pixel = pixels;
    for (int ky = 0; ky < window_.kernel_h; ++ky) {
      const std::int64_t iy = y * window_.stride_h - window_.pad_top + std::int64_t{ky} * window_.dilation_h;
      const std::int8_t* row = iy >= 0 && iy < in_.h ? image + iy * in_.w * in_.c : nullptr;
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t left = (x + t * step) * stride - window_.pad_left;
        for (std::int64_t i = left; i < left + tile_pixels; ++i) *pixel++ = row && i >= 0 && i < in_.w ? row + i * in_.c : zeros_;
      }
    }
    const auto outputs = static_cast<int>(std::min(tiles * step, out_.w - x));
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t channels = out_.c - b * block;
      run({.pixels = pixels, .offset = b * block, .weights = weights_ + b * window_.kernel_h * 256,
           .constants = constants_ + b * block, .out = out + ((n * out_.h + y) * out_.w + x) * out_.c + b * block, .out_step = out_.c,
           .kernel_h = window_.kernel_h, .shift = finish_.shift, .low = finish_.low, .high = finish_.high,
           .channels = channels >= block ? ~__mmask64{0} : (__mmask64{1} << channels) - 1},
          outputs);
    }
  }
}

void VnniDepthwise::run(const std::int8_t* in, std::int8_t* out) const {
  split_rows(out_.n * out_.h, out_.elements() * window_.kernel_h, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end;) {
      const std::int64_t n = row / out_.h, last = std::min(end, (n + 1) * out_.h);
      run_rows(in, out, n, row - n * out_.h, last - n * out_.h);
      row = last;
    }
  });
}

}  // namespace splitcnn::inline v0::soft
