#pragma once
/// The sums of a tile of pixels times vectors of output channels, in registers, and what happens to them. For the files of the VNNI kernels only;
/// x86-64. Every function becomes part of its caller, which is compiled for the same instructions.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace splitcnn::inline v0::soft::tile {

inline constexpr std::int64_t lanes = 16;  // sums in a vector

/// The sums of a tile are nested structs, not arrays: the compiler keeps them in registers only when every one has a name.
template <int Blocks>
struct Row {
  __m512i first;
  Row<Blocks - 1> rest;
};
template <>
struct Row<0> {};

template <int Pixels, int Blocks>
struct Sums {
  Row<Blocks> first;
  Sums<Pixels - 1, Blocks> rest;
};
template <int Blocks>
struct Sums<0, Blocks> {};

template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void load(Row<Blocks>& row, const void* from) {
  if constexpr (Blocks > 0) {
    row.first = _mm512_load_si512(from);
    load(row.rest, static_cast<const std::byte*>(from) + 64);
  }
}

template <int Pixels, int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void fill(Sums<Pixels, Blocks>& sums, const Row<Blocks>& with) {
  if constexpr (Pixels > 0) {
    sums.first = with;
    fill(sums.rest, with);
  }
}

/// Four products for every sum. As an instruction: with the intrinsic the compiler (g++ 12) copies every sum to another register and to the stack
/// and back.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void dot(__m512i& sums, __m512i x, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(weights));
}

/// Four bytes, for every sum.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
__m512i broadcast(const void* from) {
  std::int32_t quad;
  std::memcpy(&quad, from, 4);
  return _mm512_set1_epi32(quad);
}

template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void multiply(Row<Blocks>& sums, __m512i x, const Row<Blocks>& weights) {
  if constexpr (Blocks > 0) {
    dot(sums.first, x, weights.first);
    multiply(sums.rest, x, weights.rest);
  }
}

/// Vector number `Block` of a row.
template <int Block, int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
__m512i& block(Row<Blocks>& row) {
  if constexpr (Block == 0) {
    return row.first;
  } else {
    return block<Block - 1>(row.rest);
  }
}

/// Four bytes of each pixel times the weights of all blocks.
template <bool Signed, int Pixels, int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void multiply(Sums<Pixels, Blocks>& sums, const std::int8_t* pixel, std::int64_t step, const Row<Blocks>& weights) {
  if constexpr (Pixels > 0) {
    __m512i x = broadcast(pixel);
    if constexpr (Signed) x = _mm512_xor_si512(x, _mm512_set1_epi8(-128));
    multiply(sums.first, x, weights);
    multiply<Signed>(sums.rest, pixel + step, step, weights);
  }
}

/// The last step of all sums; the last block of a panel may hold fewer channels.
struct Ending {
  __m128i shift;
  __m512i low, high, low_bytes, high_bytes;
  __mmask16 last;
};

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
__m128i bytes_of(__m512i sums, const Ending& end) {
  return _mm512_cvtepi32_epi8(_mm512_min_epi32(_mm512_max_epi32(_mm512_sra_epi32(sums, end.shift), end.low), end.high));
}

template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void store(const Row<Blocks>& sums, const Ending& end, std::int8_t* to) {
  if constexpr (Blocks > 0) {
    _mm_mask_storeu_epi8(to, Blocks > 1 ? __mmask16{0xffff} : end.last, bytes_of(sums.first, end));
    store(sums.rest, end, to + lanes);
  }
}

/// Four full vectors at once: packing interleaves their lanes, one permutation puts them right.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void store_four(const Row<4>& sums, const Ending& end, std::int8_t* to) {
  const __m512i a = _mm512_sra_epi32(sums.first, end.shift), b = _mm512_sra_epi32(sums.rest.first, end.shift);
  const __m512i c = _mm512_sra_epi32(sums.rest.rest.first, end.shift), d = _mm512_sra_epi32(sums.rest.rest.rest.first, end.shift);
  const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  const __m512i bytes = _mm512_min_epi8(_mm512_max_epi8(packed, end.low_bytes), end.high_bytes);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi32(order, bytes));
}

template <int Pixels, int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void store(const Sums<Pixels, Blocks>& sums, const Ending& end, std::int8_t* to, std::int64_t step) {
  if constexpr (Pixels > 0) {
    if (Blocks == 4 && end.last == 0xffff) {
      if constexpr (Blocks == 4) store_four(sums.first, end, to);
    } else {
      store(sums.first, end, to);
    }
    store(sums.rest, end, to + step, step);
  }
}

/// To aligned memory, as they are.
template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void keep(const Row<Blocks>& sums, std::int32_t* to) {
  if constexpr (Blocks > 0) {
    _mm512_store_si512(to, sums.first);
    keep(sums.rest, to + lanes);
  }
}

/// The first `channels` of a row, however many.
template <int Blocks>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline
void store_some(const Row<Blocks>& sums, const Ending& end, std::int8_t* to, std::int64_t channels) {
  if constexpr (Blocks > 0) {
    if (channels <= 0) return;
    _mm_mask_storeu_epi8(to, static_cast<__mmask16>(channels >= lanes ? 0xffff : (1 << channels) - 1), bytes_of(sums.first, end));
    store_some(sums.rest, end, to + lanes, channels - lanes);
  }
}

}  // namespace splitcnn::inline v0::soft::tile
