// Compiled with -O3 (see CMakeLists.txt); only for x86-64.
#include <algorithm>
#include <cstring>

#include "dpu/soft/parallel.hpp"
#include "dpu/soft/simd.hpp"
#include "dpu/soft/vnni_kernels.hpp"
#include "dpu/soft/vnni_tile.hpp"

namespace splitcnn::inline v0::soft {

namespace {

using namespace tile;

/// What every tile of one convolution shares.
struct Shape {
  std::int64_t pixel_step;           // bytes of input from one output pixel to the next
  std::int64_t row_step;             // from one kernel row to the next
  std::int64_t kernel_rows, quads;   // quads: four bytes of input each, per kernel row
  std::int64_t out_step;
  int shift;
  std::int8_t low, high;
};

/// `Pixels` output pixels times `Blocks` vectors of channels.
template <int Pixels, int Blocks, bool Signed>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), noinline)) void run_tile(const Shape& shape, const std::int8_t* in,
                                                                                       const std::int8_t* weights, const std::int32_t* constants,
                                                                                       __mmask16 last, std::int8_t* out) {
  Row<Blocks> w;
  load(w, constants);
  Sums<Pixels, Blocks> sums;
  fill(sums, w);
  const std::int64_t step = shape.pixel_step, quads = shape.quads;
  for (std::int64_t r = 0; r < shape.kernel_rows; ++r) {
    const std::int8_t* row = in + r * shape.row_step;
    for (std::int64_t q = 0; q < quads; ++q, row += 4, weights += 64 * Blocks) {
      load(w, weights);
      multiply<Signed>(sums, row, step, w);
    }
  }
  const Ending end{_mm_cvtsi32_si128(shape.shift), _mm512_set1_epi32(shape.low), _mm512_set1_epi32(shape.high),
                   _mm512_set1_epi8(shape.low), _mm512_set1_epi8(shape.high), last};
  store(sums, end, out, shape.out_step);
}

/// `count` pixels with one panel. The last tile overlaps the one before: the same bytes are written twice.
template <int Pixels, int Blocks, bool Signed>
void run_panel(const Shape& s, std::int64_t count, const std::int8_t* in, const std::int8_t* weights, const std::int32_t* constants,
               __mmask16 last, std::int8_t* out) {
  if (count < Pixels) {
    for (std::int64_t p = 0; p < count; ++p) run_tile<1, Blocks, Signed>(s, in + p * s.pixel_step, weights, constants, last, out + p * s.out_step);
    return;
  }
  for (std::int64_t p = 0; p < count; p += Pixels) {
    const std::int64_t at = std::min(p, count - Pixels);
    run_tile<Pixels, Blocks, Signed>(s, in + at * s.pixel_step, weights, constants, last, out + at * s.out_step);
  }
}

using RunPanel = void (*)(const Shape&, std::int64_t, const std::int8_t*, const std::int8_t*, const std::int32_t*, __mmask16, std::int8_t*);
constexpr RunPanel run_panels[2][4] = {{run_panel<10, 1, false>, run_panel<10, 2, false>, run_panel<8, 3, false>, run_panel<6, 4, false>},
                                       {run_panel<10, 1, true>, run_panel<10, 2, true>, run_panel<8, 3, true>, run_panel<6, 4, true>}};

constexpr std::int64_t cached_input = 24 << 10;  // bytes of input that all panels go over before the next ones come

}  // namespace

bool VnniConv::fits(const ConvSpec& s) {
  return simd_level() >= SimdLevel::vnni && s.groups == 1 && s.window.dilation_w == 1 && integer_finish(s).has_value();
}

bool VnniConv::pays(const ConvSpec& s) {
  const bool one = s.window.kernel_h == 1 && s.window.kernel_w == 1;
  return s.in.c <= 4 || (one && s.out.n * s.out.h * s.out.w >= 100);
}

VnniConv::VnniConv(const ConvSpec& s, Arena& arena)
    : in_{s.in}, out_{s.out}, window_{s.window}, finish_{*integer_finish(s)}, non_negative_{s.source_non_negative} {
  const std::int64_t run = in_.c * window_.kernel_w;
  quads_ = (run + 3) / 4;
  const bool pads = window_.pad_top || window_.pad_left || window_.pad_bottom || window_.pad_right;
  copies_ = pads || run % 4 != 0;
  // Every window must be inside the copy, whatever is left over at the far edges.
  const std::int64_t reach_h = (out_.h - 1) * window_.stride_h + std::int64_t{window_.kernel_h - 1} * window_.dilation_h + 1;
  const std::int64_t reach_w = (out_.w - 1) * window_.stride_w + window_.kernel_w;
  padded_h_ = copies_ ? std::max(reach_h, in_.h + window_.pad_top) : in_.h;
  row_bytes_ = (copies_ ? std::max(reach_w, in_.w + window_.pad_left) : in_.w) * in_.c;
  thins_ = !copies_ && window_.kernel_h == 1 && window_.kernel_w == 1 && (window_.stride_h > 1 || window_.stride_w > 1);
  if (thins_) copies_ = true, padded_h_ = out_.h, row_bytes_ = out_.w * in_.c;
  pack(s, arena);
}

void VnniConv::pack(const ConvSpec& s, Arena& arena) {
  if (!non_negative_) {
    const auto sums = weight_sums(s);
    for (std::size_t c = 0; c < sums.size(); ++c) finish_.constants[c] -= 128 * sums[c];
  }
  const std::int64_t blocks = (out_.c + lanes - 1) / lanes;
  const std::int64_t steps = window_.kernel_h * quads_;  // 64 bytes of weights per block and step
  weights_ = arena.take_array<std::int8_t>(static_cast<std::size_t>(blocks * steps * 64));
  constants_ = arena.take_array<std::int32_t>(static_cast<std::size_t>(blocks * lanes));
  std::copy(finish_.constants.begin(), finish_.constants.end(), constants_);
  const std::int64_t run = in_.c * window_.kernel_w;
  for (std::int64_t block = 0, next = 0; block < blocks; block = next) {  // full panels end in fewer instructions than narrow ones
    next = std::min(block + 4, blocks);
    const std::int64_t width = next - block;
    Panel panel{.first = block * lanes, .blocks = static_cast<int>(width), .weights = static_cast<std::size_t>(block * steps * 64),
                .constants = static_cast<std::size_t>(block * lanes)};
    panel.channels = static_cast<int>(std::min(lanes, out_.c - (next - 1) * lanes));
    std::int8_t* to = weights_ + panel.weights;
    for (int ky = 0; ky < window_.kernel_h; ++ky) {
      for (std::int64_t q = 0; q < quads_; ++q, to += 64 * width) {
        for (std::int64_t o = 0; o < width * lanes && panel.first + o < out_.c; ++o) {
          const std::int8_t* from = s.weights.data() + ((panel.first + o) * window_.kernel_h + ky) * run + q * 4;
          std::copy_n(from, std::min<std::int64_t>(4, run - q * 4), to + o * 4);
        }
      }
    }
    panels_.push_back(panel);
  }
}

std::size_t VnniConv::scratch_bytes() const noexcept {
  return copies_ ? static_cast<std::size_t>(in_.n * padded_h_ * row_bytes_) + 64 : 0;  // the last quad may read beyond the last row
}

void VnniConv::copy_padded(const std::int8_t* in, std::int8_t* to, std::int64_t row, std::int64_t rows) const {
  if (thins_) return copy_thinned(in, to, row, rows);
  const std::int64_t before = window_.pad_left * in_.c, bytes = in_.w * in_.c, after = row_bytes_ - before - bytes;
  for (std::int64_t r = row; r < row + rows; ++r) {
    const std::int64_t y = r % padded_h_ - window_.pad_top;
    std::int8_t* at = to + r * row_bytes_;
    if (y < 0 || y >= in_.h) {
      std::memset(at, 0, static_cast<std::size_t>(row_bytes_));
      continue;
    }
    std::memset(at, 0, static_cast<std::size_t>(before));
    std::memcpy(at + before, in + (r / padded_h_ * in_.h + y) * bytes, static_cast<std::size_t>(bytes));
    std::memset(at + before + bytes, 0, static_cast<std::size_t>(after));
  }
}

void VnniConv::copy_thinned(const std::int8_t* in, std::int8_t* to, std::int64_t row, std::int64_t rows) const {
  for (std::int64_t r = row; r < row + rows; ++r) {
    const std::int8_t* from = in + (r / out_.h * in_.h + r % out_.h * window_.stride_h) * in_.w * in_.c;
    for (std::int64_t x = 0; x < out_.w; ++x) {
      std::memcpy(to + r * row_bytes_ + x * in_.c, from + x * window_.stride_w * in_.c, static_cast<std::size_t>(in_.c));
    }
  }
}

void VnniConv::run_pixels(const std::int8_t* in, std::int8_t* out, std::int64_t count) const {
  const Shape s{.pixel_step = (thins_ ? 1 : window_.stride_w) * in_.c, .row_step = window_.dilation_h * row_bytes_, .kernel_rows = window_.kernel_h,
                .quads = quads_, .out_step = out_.c, .shift = finish_.shift, .low = finish_.low, .high = finish_.high};
  // All panels over some pixels whose input stays in the nearest cache; a multiple of what the tiles take.
  const std::int64_t some = std::max<std::int64_t>(120, cached_input / std::max<std::int64_t>(1, quads_ * 4 * window_.kernel_h) / 120 * 120);
  for (std::int64_t p = 0; p < count; p += some) {
    for (const Panel& panel : panels_) {
      const auto last = static_cast<__mmask16>((1u << panel.channels) - 1);
      run_panels[non_negative_ ? 0 : 1][panel.blocks - 1](s, std::min(some, count - p), in + p * s.pixel_step, weights_ + panel.weights,
                                                          constants_ + panel.constants, last, out + p * s.out_step + panel.first);
    }
  }
}

void VnniConv::run(const std::int8_t* in, std::int8_t* out, std::byte* scratch) const {
  auto* padded = reinterpret_cast<std::int8_t*>(scratch);
  const std::int64_t work = out_.elements() * window_.kernel_h * quads_;
  if (copies_) {
    split_rows(in_.n * padded_h_, in_.elements(), [&](std::int64_t a, std::int64_t b) { copy_padded(in, padded, a, b - a); });
  }
  const std::int8_t* from = copies_ ? padded : in;
  const bool flat = window_.kernel_h == 1 && window_.kernel_w == 1 && (thins_ || (window_.stride_h == 1 && window_.stride_w == 1)) &&
                    out_.w * in_.c == row_bytes_ && out_.h == padded_h_;
  if (flat) {  // one long row
    return split_rows(out_.n * out_.h * out_.w, work, [&](std::int64_t a, std::int64_t b) { run_pixels(from + a * in_.c, out + a * out_.c, b - a); });
  }
  split_rows(out_.n * out_.h, work, [&](std::int64_t a, std::int64_t b) {
    for (std::int64_t r = a; r < b; ++r) {
      const std::int64_t row = r / out_.h * padded_h_ + r % out_.h * window_.stride_h;
      run_pixels(from + row * row_bytes_, out + r * out_.w * out_.c, out_.w);
    }
  });
}

}  // namespace splitcnn::inline v0::soft
