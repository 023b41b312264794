// Compiled with -O3 (see CMakeLists.txt); only for x86-64.
//
// Winograd's F(2,3) along the height. Of four input rows d0..d3 (each with all its columns and channels) and kernel rows g0, g1, g2 the two output
// rows are
//   y0 = d0 g0 + d1 g1 + d2 g2 = (m1 + m2) / 2 + (d0 - d2) g0        m1 = (d1 + d2) (g0 + g1 + g2)
//   y1 = d1 g0 + d2 g1 + d3 g2 = (m1 - m2) / 2 + (d3 - d1) g2        m2 = (d2 - d1) (g0 - g1 + g2)
// where a product is the convolution of one row of sums with one row of weights. m1 + m2 and m1 - m2 are even: nothing is rounded.
// For d in 0..127 all rows of sums are bytes: d1 + d2 as it is, the differences raised by 128, which the constants take off again.
// g0 + g1 + g2 and g0 - g1 + g2 are bytes but for a few. What is over is a list of further products with the same rows of sums: one takes 64 bytes
// of a row (a cache line), from which every output channel picks the four that it needs with one vpermb.
#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "dpu/soft/parallel.hpp"
#include "dpu/soft/plain_kernels.hpp"
#include "dpu/soft/simd.hpp"
#include "dpu/soft/vnni_kernels.hpp"
#include "dpu/soft/vnni_tile.hpp"

namespace splitcnn::inline v0::soft {

namespace {

using namespace tile;

constexpr int blocks = 4, tile_pixels = 6;
constexpr std::int64_t panel_channels = blocks * lanes;
constexpr std::int64_t largest_weights = 1 << 20;
constexpr std::size_t chunk_bytes = 96 << 10;  // of transformed rows that all panels go over before the next ones come: much of the second cache

/// The products in the order in which a tile needs them.
enum Product { sum, difference, upper, lower, products };

template <int Pixels>
struct Pointers {
  const std::uint8_t* first;
  Pointers<Pixels - 1> rest;
};
template <>
struct Pointers<0> {};

struct Tile {
  const std::uint8_t* pixels[tile_pixels];  // where the window of each begins in the first row of sums
  std::int8_t* out[tile_pixels];            // its first channel in the upper output row
  std::int64_t row_bytes;                   // from one product's row of sums to the next
  std::int64_t out_row;                     // from the upper output row to the lower
  std::int64_t quads;
  const std::int8_t* weights;               // [products][quads][64 channels][4]
  const std::int8_t* ahead;                 // weights that come nearer meanwhile, 64 bytes per step
  const std::int32_t* constants;            // [sum, difference, upper, lower][64 channels]
  const WinogradRemainder* remainders;      // [sum, difference][blocks]
  std::int64_t channels;
  int shift;
  std::int8_t low, high;
};

template <int Pixels>
inline void set(Pointers<Pixels>& to, const std::uint8_t* const* from) {
  if constexpr (Pixels > 0) {
    to.first = *from;
    set(to.rest, from + 1);
  }
}

template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void multiply(Sums<Pixels, blocks>& sums, const Pointers<Pixels>& pixels, std::int64_t at, const Row<blocks>& weights) {
  if constexpr (Pixels > 0) {
    tile::multiply(sums.first, broadcast(pixels.first + at), weights);
    multiply(sums.rest, pixels.rest, at, weights);
  }
}

/// One product: its row of sums times its weights.
template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void multiply(Sums<Pixels, blocks>& sums, const Pointers<Pixels>& pixels, const Tile& t, Product product) {
  const std::int8_t *weights = t.weights + product * t.quads * 64 * blocks, *ahead = t.ahead + product * t.quads * 64;
  const std::int64_t begin = product * t.row_bytes, end = begin + t.quads * 4;
  Row<blocks> w;
  for (std::int64_t at = begin; at < end; at += 4, weights += 64 * blocks, ahead += 64) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    load(w, weights);
    multiply(sums, pixels, at, w);
  }
}

/// One further product of block `Block` of all pixels.
template <int Block, int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi"), always_inline)) inline
void multiply_picked(Sums<Pixels, blocks>& sums, const Pointers<Pixels>& pixels, std::int64_t at, __m512i picks, __m512i weights) {
  if constexpr (Pixels > 0) {
    dot(block<Block>(sums.first), _mm512_permutexvar_epi8(picks, _mm512_loadu_si512(pixels.first + at)), weights);
    multiply_picked<Block>(sums.rest, pixels.rest, at, picks, weights);
  }
}

template <int Block, int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi"), always_inline)) inline
void add_remainders(Sums<Pixels, blocks>& sums, const Pointers<Pixels>& pixels, const WinogradRemainder* list, std::int64_t row) {
  if constexpr (Block < blocks) {
    const std::int8_t* entry = list->entries;
    for (const std::int32_t *o = list->offsets, *end = o + list->count; o != end; ++o, entry += 128) {
      multiply_picked<Block>(sums, pixels, row + *o, _mm512_load_si512(entry), _mm512_load_si512(entry + 64));
    }
    add_remainders<Block + 1>(sums, pixels, list + 1, row);
  }
}

template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void keep(const Sums<Pixels, blocks>& sums, std::int32_t* to) {
  if constexpr (Pixels > 0) {
    keep(sums.first, to);
    keep(sums.rest, to + panel_channels);
  }
}

/// From m2, and m1 as kept: what the upper row begins with as sums, what the lower row begins with kept.
template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void halve(Row<Blocks>& sums, std::int32_t* kept, const std::int32_t* constants, std::int64_t to_lower) {
  if constexpr (Blocks > 0) {
    const __m512i m1 = _mm512_load_si512(kept);
    const __m512i half = _mm512_srai_epi32(_mm512_add_epi32(m1, sums.first), 1);  // (m1 - m2) / 2 is m1 - half
    sums.first = _mm512_add_epi32(half, _mm512_load_si512(constants));
    _mm512_store_si512(kept, _mm512_add_epi32(_mm512_sub_epi32(m1, half), _mm512_load_si512(constants + to_lower)));
    halve(sums.rest, kept + lanes, constants + lanes, to_lower);
  }
}
template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void halve(Sums<Pixels, blocks>& sums, std::int32_t* kept, const std::int32_t* constants) {
  if constexpr (Pixels > 0) {
    halve(sums.first, kept, constants, panel_channels);
    halve(sums.rest, kept + panel_channels, constants);
  }
}

template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void fetch(Sums<Pixels, blocks>& sums, const std::int32_t* kept) {
  if constexpr (Pixels > 0) {
    load(sums.first, kept);
    fetch(sums.rest, kept + panel_channels);
  }
}

template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void store(const Sums<Pixels, blocks>& sums, const Ending& end, std::int8_t* const* out, std::int64_t row, std::int64_t channels) {
  if constexpr (Pixels > 0) {
    if (channels >= panel_channels) {
      store_four(sums.first, end, *out + row);
    } else {
      store_some(sums.first, end, *out + row, channels);
    }
    store(sums.rest, end, out + 1, row, channels);
  }
}

/// `Pixels` pixels of two output rows, or of the upper one alone, times 64 channels.
template <int Pixels>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi"), noinline)) void run_tile(const Tile& t, bool both) {
  alignas(64) std::int32_t kept[Pixels * panel_channels];
  Pointers<Pixels> pixels;
  set(pixels, t.pixels);
  const Ending end{_mm_cvtsi32_si128(t.shift), _mm512_set1_epi32(t.low), _mm512_set1_epi32(t.high), _mm512_set1_epi8(t.low), _mm512_set1_epi8(t.high), 0};
  Row<blocks> w;
  Sums<Pixels, blocks> sums;
  load(w, t.constants);
  fill(sums, w);
  multiply(sums, pixels, t, sum);
  add_remainders<0>(sums, pixels, t.remainders, 0);
  keep(sums, kept);
  load(w, t.constants + panel_channels);
  fill(sums, w);
  multiply(sums, pixels, t, difference);
  add_remainders<0>(sums, pixels, t.remainders + blocks, t.row_bytes);
  halve(sums, kept, t.constants + 2 * panel_channels);
  multiply(sums, pixels, t, upper);
  store(sums, end, t.out, 0, t.channels);
  if (!both) return;
  fetch(sums, kept);
  multiply(sums, pixels, t, lower);
  store(sums, end, t.out, t.out_row, t.channels);
}

using RunTile = void (*)(const Tile&, bool);
constexpr RunTile run_tiles[tile_pixels + 1] = {nullptr, run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>, run_tile<5>, run_tile<6>};

/// Rows of sums of one pair of output rows, [products][bytes]. `d`: the four input rows.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), noinline)) void transform(const std::int8_t* const* d, std::int64_t bytes, std::int64_t row_bytes, std::uint8_t* to) {
  const __m512i raise = _mm512_set1_epi8(-128);
  for (std::int64_t i = 0; i < bytes; i += 64) {
    const __mmask64 some = bytes - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (bytes - i)) - 1;
    const __m512i d0 = _mm512_maskz_loadu_epi8(some, d[0] + i), d1 = _mm512_maskz_loadu_epi8(some, d[1] + i);
    const __m512i d2 = _mm512_maskz_loadu_epi8(some, d[2] + i), d3 = _mm512_maskz_loadu_epi8(some, d[3] + i);
    _mm512_mask_storeu_epi8(to + i, some, _mm512_add_epi8(d1, d2));
    _mm512_mask_storeu_epi8(to + row_bytes + i, some, _mm512_xor_si512(_mm512_sub_epi8(d2, d1), raise));
    _mm512_mask_storeu_epi8(to + 2 * row_bytes + i, some, _mm512_xor_si512(_mm512_sub_epi8(d0, d2), raise));
    _mm512_mask_storeu_epi8(to + 3 * row_bytes + i, some, _mm512_xor_si512(_mm512_sub_epi8(d3, d1), raise));
  }
}

/// Weights of a product before they are cut to bytes. `at`: the first kernel row's, `row`: bytes to the next.
int product_weight(int product, const std::int8_t* at, std::int64_t row) {
  switch (product) {
    case sum: return at[0] + at[row] + at[2 * row];
    case difference: return at[0] - at[row] + at[2 * row];
    case upper: return at[0];
    default: return at[2 * row];
  }
}

std::int8_t byte_of(int value) { return static_cast<std::int8_t>(std::clamp(value, -128, 127)); }

struct Further {
  std::int32_t offset = 0;                // in the run, of 64 bytes
  std::array<std::int8_t, 64> picks{};    // [16 output channels][4], which of the 64
  std::array<std::int8_t, 64> weights{};  // likewise; 0: nothing
};

/// What bytes cannot hold of a product's weights for the 16 output channels from `channel`.
std::vector<Further> further_products(const ConvSpec& s, int product, std::int64_t channel) {
  const std::int64_t run = s.in.c * s.window.kernel_w;
  std::vector<Further> all;
  for (std::int64_t begin = 0; begin < run; begin += 64) {
    const std::size_t first = all.size();
    for (std::int64_t o = 0; o < std::min(lanes, s.out.c - channel); ++o) {
      std::size_t used = 0;
      for (std::int64_t k = begin; k < std::min(run, begin + 64); ++k) {
        const int value = product_weight(product, s.weights.data() + (channel + o) * 3 * run + k, run);
        for (int rest = value - byte_of(value); rest != 0; rest -= byte_of(rest), ++used) {
          if (first + used / 4 == all.size()) all.push_back({.offset = static_cast<std::int32_t>(begin)});
          Further& f = all[first + used / 4];
          const auto at = static_cast<std::size_t>(o) * 4 + used % 4;
          f.picks[at] = static_cast<std::int8_t>(k - begin);
          f.weights[at] = byte_of(rest);
        }
      }
    }
  }
  return all;
}

}  // namespace

bool VnniWinograd::fits(const ConvSpec& s) {
  const Window& w = s.window;
  // d1 + d2 reaches 254, and a product has up to three weights: nothing may leave 32 bits on the way.
  return simd_level() >= SimdLevel::vnni && __builtin_cpu_supports("avx512vbmi") && s.groups == 1 && w.kernel_h == 3 && w.stride_h == 1 && w.dilation_h == 1 && w.dilation_w == 1 &&
         s.source_non_negative && integer_finish(s).has_value() && largest_sum(s) < (std::int64_t{1} << 28);
}

VnniWinograd::VnniWinograd(const ConvSpec& s, Arena& arena)
    : in_{s.in}, out_{s.out}, window_{s.window}, finish_{*integer_finish(s)}, run_{in_.c * window_.kernel_w}, quads_{(run_ + 3) / 4},
      columns_{std::max((out_.w - 1) * window_.stride_w + window_.kernel_w, in_.w + window_.pad_left)},
      row_bytes_{columns_ * in_.c}, panels_{(out_.c + panel_channels - 1) / panel_channels},
      weights_(arena.take_array<std::int8_t>(static_cast<std::size_t>(panels_ * products * quads_ * panel_channels * 4))),
      constants_(arena.take_array<std::int32_t>(static_cast<std::size_t>(panels_ * 4 * panel_channels))),
      zeros_(arena.take_array<std::int8_t>(static_cast<std::size_t>(in_.w * in_.c))) {
  pack(s, arena);
  pack_constants(s);
}

void VnniWinograd::pack(const ConvSpec& s, Arena& arena) {
  std::vector<Further> further;
  std::vector<std::size_t> firsts;  // where the list of each panel, product and block begins
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    for (int product = 0; product < products; ++product) {
      std::int8_t* to = weights_ + (panel * products + product) * quads_ * panel_channels * 4;
      for (int b = 0; b < blocks; ++b) {
        const std::int64_t channel = panel * panel_channels + b * lanes;
        for (std::int64_t q = 0; q < quads_; ++q) pack_quad(s, product, channel, q, to + (q * blocks + b) * 64);
        if (product > difference) continue;
        firsts.push_back(further.size());
        if (channel < out_.c) std::ranges::copy(further_products(s, product, channel), std::back_inserter(further));
      }
    }
  }
  firsts.push_back(further.size());
  further_ = arena.take_array<std::int8_t>(further.size() * 128);
  for (std::size_t i = 0; i < further.size(); ++i) {
    offsets_.push_back(further[i].offset);
    std::ranges::copy(further[i].picks, further_ + i * 128);
    std::ranges::copy(further[i].weights, further_ + i * 128 + 64);
  }
  for (std::size_t i = 0; i + 1 < firsts.size(); ++i) {
    remainders_.push_back({.offsets = offsets_.data() + firsts[i], .entries = further_ + firsts[i] * 128,
                           .count = static_cast<std::int64_t>(firsts[i + 1] - firsts[i])});
  }
}

/// Sixteen output channels times four of the run, cut to bytes.
void VnniWinograd::pack_quad(const ConvSpec& s, int product, std::int64_t channel, std::int64_t q, std::int8_t* to) const {
  for (std::int64_t o = 0; o < lanes && channel + o < out_.c; ++o) {
    for (std::int64_t k = 0; k < 4 && q * 4 + k < run_; ++k) {
      to[o * 4 + k] = byte_of(product_weight(product, s.weights.data() + (channel + o) * 3 * run_ + q * 4 + k, run_));
    }
  }
}

void VnniWinograd::pack_constants(const ConvSpec& s) {
  for (std::int64_t c = 0; c < out_.c; ++c) {
    std::int32_t raised[products] = {};
    for (int product = difference; product < products; ++product) {
      for (std::int64_t i = 0; i < run_; ++i) raised[product] += 128 * product_weight(product, s.weights.data() + c * 3 * run_ + i, run_);
    }
    std::int32_t* to = constants_ + c / panel_channels * 4 * panel_channels + c % panel_channels;
    const std::int32_t constant = finish_.constants[static_cast<std::size_t>(c)];
    to[panel_channels] = -raised[difference];
    to[2 * panel_channels] = constant - raised[upper];
    to[3 * panel_channels] = constant - raised[lower];
  }
}

bool VnniWinograd::pays(const ConvSpec& s) {
  if (simd_level() >= SimdLevel::amx) return false;  // more products in less time: ResNet18 3.5 or 2.3 ms (measured)
  const std::int64_t run = s.in.c * s.window.kernel_w, quads = (run + 3) / 4, vectors = (s.out.c + lanes - 1) / lanes;
  const std::int64_t padded = (vectors + blocks - 1) / blocks * blocks;
  if (run < 96 || s.out.w * s.out.h < 16) return false;
  // Weights that leave the second cache: 7x7x512 in ResNet50 takes 0.88 of the time for 4/3 of the memory (measured); 14x14x256 takes 0.78.
  if (padded * lanes * 4 * products * quads > largest_weights) return false;
  std::size_t over = 0;
  for (std::int64_t v = 0; v < vectors; ++v) {
    for (const int product : {sum, difference}) over += further_products(s, product, v * lanes).size();
  }
  // A row of padding is not multiplied by oneDNN. A further product costs about two.
  const double direct = static_cast<double>(3 * s.out.h - std::min(s.window.pad_top, 1) - std::min(s.window.pad_bottom, 1)) * static_cast<double>(quads * vectors);
  const auto pairs = static_cast<double>(s.out.h / 2), single = static_cast<double>(s.out.h % 2);
  const double ours = (4 * pairs + 3 * single) * static_cast<double>(quads * padded) + 2.0 * (pairs + single) * static_cast<double>(over);
  return ours < 0.88 * direct;
}

std::int64_t VnniWinograd::chunk_pairs(int threads) const noexcept {
  const std::int64_t pairs = (out_.h + 1) / 2, cached = std::max<std::int64_t>(1, static_cast<std::int64_t>(chunk_bytes) / (products * row_bytes_));
  const std::int64_t most = std::max<std::int64_t>(1, std::min(cached, (in_.n * pairs + threads - 1) / threads));
  const std::int64_t chunks = (pairs + most - 1) / most;  // all about as large
  return (pairs + chunks - 1) / chunks;
}

std::size_t VnniWinograd::scratch_bytes(int threads) const noexcept {
  return static_cast<std::size_t>(threads) * part_bytes();
}

std::size_t VnniWinograd::part_bytes() const noexcept {  // the last quad may read beyond the last row
  return (static_cast<std::size_t>(chunk_pairs(1) * products * row_bytes_) + 127) / 64 * 64;
}

void VnniWinograd::run(const std::int8_t* in, std::int8_t* out, std::byte* scratch) const {
  const std::int64_t pairs = (out_.h + 1) / 2, step = std::min(pairs, chunk_pairs(omp_get_max_threads()));
  const std::int64_t chunks = (pairs + step - 1) / step;
  split_rows(in_.n * chunks, out_.elements() * quads_, [&](std::int64_t begin, std::int64_t end, int part) {
    auto* rows = reinterpret_cast<std::uint8_t*>(scratch) + static_cast<std::size_t>(part) * part_bytes();
    for (std::int64_t c = begin; c < end; ++c) {
      const std::int64_t n = c / chunks, first = c % chunks * step;
      run_chunk(in + n * in_.h * in_.w * in_.c, out + n * out_.h * out_.w * out_.c, first, std::min(step, pairs - first), rows);
    }
  });
}

void VnniWinograd::run_chunk(const std::int8_t* in, std::int8_t* out, std::int64_t first, std::int64_t pairs, std::uint8_t* rows) const {
  const std::int64_t before = window_.pad_left * in_.c, bytes = in_.w * in_.c, after = row_bytes_ - before - bytes;
  for (std::int64_t p = 0; p < pairs; ++p) {
    std::uint8_t* to = rows + p * products * row_bytes_;
    const std::int8_t* d[4];
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t y = 2 * (first + p) + i - window_.pad_top;
      d[i] = y >= 0 && y < in_.h ? in + y * bytes : zeros_;
    }
    transform(d, bytes, row_bytes_, to + before);
    for (int product = 0; product < products; ++product, to += row_bytes_) {
      const int zero = product == sum ? 0 : 128;
      std::memset(to, zero, static_cast<std::size_t>(before));
      std::memset(to + before + bytes, zero, static_cast<std::size_t>(after));
    }
  }
  const bool single = 2 * (first + pairs) > out_.h;  // the last one has an upper row only
  const std::int64_t both = single ? pairs - 1 : pairs;
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    run_pixels(rows, out + 2 * first * out_.w * out_.c, 0, both * out_.w, panel, true);
    if (single) run_pixels(rows, out + 2 * first * out_.w * out_.c, both * out_.w, out_.w, panel, false);
  }
}

/// Pixels [first, first + count) of a chunk's upper rows, in tiles as equal as can be.
void VnniWinograd::run_pixels(const std::uint8_t* rows, std::int8_t* out, std::int64_t first, std::int64_t count, std::int64_t panel, bool both) const {
  Tile t{.pixels = {}, .out = {}, .row_bytes = row_bytes_, .out_row = out_.w * out_.c, .quads = quads_,
         .weights = weights_ + panel * products * quads_ * panel_channels * 4, .ahead = nullptr, .constants = constants_ + panel * 4 * panel_channels,
         .remainders = remainders_.data() + panel * 2 * blocks, .channels = out_.c - panel * panel_channels, .shift = finish_.shift,
         .low = finish_.low, .high = finish_.high};
  const std::int64_t tiles = (count + tile_pixels - 1) / tile_pixels;
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t begin = first + count * i / tiles, end = first + count * (i + 1) / tiles;
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t pair = p / out_.w, x = p % out_.w;
      t.pixels[p - begin] = rows + pair * products * row_bytes_ + x * window_.stride_w * in_.c;
      t.out[p - begin] = out + (2 * pair * out_.w + x) * out_.c + panel * panel_channels;
    }
    t.ahead = t.weights + (i < blocks ? (blocks + i) * products * quads_ * 64 : 0);  // a quarter of the next panel (see vnni_conv.cpp)
    run_tiles[end - begin](t, both);
  }
}

}  // namespace splitcnn::inline v0::soft
