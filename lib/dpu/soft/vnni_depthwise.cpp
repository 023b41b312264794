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
constexpr std::int64_t channel_of(int i, int e) { return e / 4 * 16 + i * 4 + e % 4; }

struct Tile {
  const std::int8_t* const* pixels;  // [kernel row][tile_pixels]
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

template <bool Signed>
__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline __m512i load(const std::int8_t* from, __mmask64 channels) {
  const __m512i bytes = _mm512_maskz_loadu_epi8(channels, from);
  return Signed ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) : bytes;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline Four load_four(const void* from) {
  const auto* at = static_cast<const std::byte*>(from);
  return {_mm512_load_si512(at), _mm512_load_si512(at + 64), _mm512_load_si512(at + 128), _mm512_load_si512(at + 192)};
}

__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline Four interleave(__m512i low0, __m512i high0, __m512i low1, __m512i high1) {
  return {_mm512_unpacklo_epi16(low0, low1), _mm512_unpackhi_epi16(low0, low1), _mm512_unpacklo_epi16(high0, high1),
          _mm512_unpackhi_epi16(high0, high1)};
}

/// As an instruction: with the intrinsic the compiler (g++ 12) copies sums to other registers and to the stack and back.
__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline void dot(__m512i& sums, __m512i x, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(weights));
}

__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline void multiply(Four& sums, const Four& x, const Four& weights) {
  dot(sums.a, x.a, weights.a);
  dot(sums.b, x.b, weights.b);
  dot(sums.c, x.c, weights.c);
  dot(sums.d, x.d, weights.d);
}

/// The taps one pixel further: the zero goes to the front.
__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline Four shifted(const Four& w) {
  return {_mm512_slli_epi32(w.a, 8), _mm512_slli_epi32(w.b, 8), _mm512_slli_epi32(w.c, 8), _mm512_slli_epi32(w.d, 8)};
}

__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) inline void store(const Tile& tile, const Four& sums, std::int8_t* to) {
  const __m128i shift = _mm_cvtsi32_si128(tile.shift);
  const __m512i front = _mm512_packs_epi32(_mm512_sra_epi32(sums.a, shift), _mm512_sra_epi32(sums.b, shift));
  const __m512i back = _mm512_packs_epi32(_mm512_sra_epi32(sums.c, shift), _mm512_sra_epi32(sums.d, shift));
  const __m512i bytes = _mm512_packs_epi16(front, back);
  _mm512_mask_storeu_epi8(to, tile.channels, _mm512_min_epi8(_mm512_max_epi8(bytes, _mm512_set1_epi8(tile.low)), _mm512_set1_epi8(tile.high)));
}

/// Six pixels of each kernel row: four outputs with stride 1, two with stride 2.
template <bool Signed, int Stride>
__attribute__((target("avx512f,avx512bw,avx512vnni"), noinline)) void run_tile(const Tile& tile, int outputs) {
  const __mmask64 channels = tile.channels;
  Four first = load_four(tile.constants), second = first, third = first, fourth = first;
  const std::int8_t* weights = tile.weights;
  const std::int8_t* const* pixel = tile.pixels;
  for (int ky = 0; ky < tile.kernel_h; ++ky, pixel += tile_pixels, weights += 256) {
    const __m512i a = load<Signed>(pixel[0] + tile.offset, channels), b = load<Signed>(pixel[1] + tile.offset, channels);
    const __m512i c = load<Signed>(pixel[2] + tile.offset, channels), d = load<Signed>(pixel[3] + tile.offset, channels);
    const __m512i e = load<Signed>(pixel[4] + tile.offset, channels), f = load<Signed>(pixel[5] + tile.offset, channels);
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
  store(tile, first, tile.out);
  if constexpr (Stride == 1) {
    if (outputs > 1) store(tile, second, tile.out + tile.out_step);
    if (outputs > 2) store(tile, third, tile.out + 2 * tile.out_step);
    if (outputs > 3) store(tile, fourth, tile.out + 3 * tile.out_step);
  } else {
    if (outputs > 1) store(tile, third, tile.out + tile.out_step);
  }
}

}  // namespace

bool VnniDepthwise::fits(const ConvSpec& s) {
  const Window& w = s.window;
  return simd_level() >= SimdLevel::vnni && s.depthwise() && w.kernel_w == 3 && w.kernel_h <= max_kernel_h && w.dilation_w == 1 &&
         w.stride_w <= 2 && s.out.c >= 16 && integer_finish(s).has_value();
}

VnniDepthwise::VnniDepthwise(const ConvSpec& s)
    : in_{s.in}, out_{s.out}, window_{s.window}, finish_{*integer_finish(s)}, non_negative_{s.source_non_negative},
      blocks_{(s.out.c + block - 1) / block}, weights_(static_cast<std::size_t>(blocks_ * window_.kernel_h * 256)),
      constants_(static_cast<std::size_t>(blocks_ * block)), zeros_(static_cast<std::size_t>(blocks_ * block)) {
  if (!non_negative_) {
    const auto sums = weight_sums(s);
    for (std::size_t c = 0; c < sums.size(); ++c) finish_.constants[c] -= 128 * sums[c];
  }
  for (std::int64_t c = 0; c < out_.c; ++c) {
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < 16; ++e) {
        if (channel_of(i, e) != c % block) continue;
        constants_.data()[c / block * block + i * 16 + e] = finish_.constants[static_cast<std::size_t>(c)];
        for (int ky = 0; ky < window_.kernel_h; ++ky) {
          for (int kx = 0; kx < 3; ++kx) {
            weights_.data()[((c / block * window_.kernel_h + ky) * 4 + i) * 64 + e * 4 + kx] =
                s.weights[static_cast<std::size_t>((c * window_.kernel_h + ky) * 3 + kx)];
          }
        }
      }
    }
  }
}

void VnniDepthwise::run_rows(const std::int8_t* in, std::int8_t* out, std::int64_t n, std::int64_t begin, std::int64_t end) const {
  const std::int64_t stride = window_.stride_w, step = stride == 1 ? 4 : 2;
  const std::int8_t* image = in + n * in_.h * in_.w * in_.c;
  const std::int8_t* pixels[max_kernel_h * tile_pixels];
  const auto run = non_negative_ ? (stride == 1 ? run_tile<false, 1> : run_tile<false, 2>) : (stride == 1 ? run_tile<true, 1> : run_tile<true, 2>);
  for (std::int64_t y = begin; y < end; ++y) {
    for (std::int64_t x = 0; x < out_.w; x += step) {
      const std::int64_t left = x * stride - window_.pad_left;
      for (int ky = 0; ky < window_.kernel_h; ++ky) {
        const std::int64_t iy = y * window_.stride_h - window_.pad_top + std::int64_t{ky} * window_.dilation_h;
        const bool row = iy >= 0 && iy < in_.h;
        for (std::int64_t i = 0; i < tile_pixels; ++i) {
          const bool inside = row && left + i >= 0 && left + i < in_.w;
          pixels[ky * tile_pixels + i] = inside ? image + (iy * in_.w + left + i) * in_.c : zeros_.data();
        }
      }
      const auto outputs = static_cast<int>(std::min(step, out_.w - x));
      for (std::int64_t b = 0; b < blocks_; ++b) {
        const std::int64_t channels = out_.c - b * block;
        run({.pixels = pixels, .offset = b * block, .weights = weights_.data() + b * window_.kernel_h * 256,
             .constants = constants_.data() + b * block, .out = out + ((n * out_.h + y) * out_.w + x) * out_.c + b * block, .out_step = out_.c,
             .kernel_h = window_.kernel_h, .shift = finish_.shift, .low = finish_.low, .high = finish_.high,
             .channels = channels >= block ? ~__mmask64{0} : (__mmask64{1} << channels) - 1},
            outputs);
      }
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
