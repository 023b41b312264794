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

/// `Pixels` output pixels times `Blocks` vectors of channels. Meanwhile 64 bytes per step come nearer from `ahead`.
template <int Pixels, int Blocks, bool Signed>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), noinline)) void run_tile(const Shape& shape, const std::int8_t* in,
                                                                                       const std::int8_t* weights, const std::int32_t* constants, const std::int8_t* ahead,
                                                                                       __mmask16 last, std::int8_t* out) {
  Row<Blocks> w;
  load(w, constants);
  Sums<Pixels, Blocks> sums;
  fill(sums, w);
  const std::int64_t step = shape.pixel_step, quads = shape.quads;
  for (std::int64_t r = 0; r < shape.kernel_rows; ++r) {
    const std::int8_t* row = in + r * shape.row_step;
    for (std::int64_t q = 0; q < quads; ++q, row += 4, weights += 64 * Blocks, ahead += 64) {
      _mm_prefetch(ahead, _MM_HINT_T1);
      load(w, weights);
      multiply<Signed>(sums, row, step, w);
    }
  }
  const Ending end{_mm_cvtsi32_si128(shape.shift), _mm512_set1_epi32(shape.low), _mm512_set1_epi32(shape.high),
                   _mm512_set1_epi8(shape.low), _mm512_set1_epi8(shape.high), last};
  store(sums, end, out, shape.out_step);
}

/// `count` pixels with one panel. The last tile overlaps the one before: the same bytes are written twice. The first tiles fetch the weights of the next
/// panel into the second cache (behind the last one lie those of the next layer): with few pixels per weight, waiting for them was a tenth to a third of the time.
template <int Pixels, int Blocks, bool Signed>
void run_panel(const Shape& s, std::int64_t count, const std::int8_t* in, const std::int8_t* weights, const std::int32_t* constants,
               __mmask16 last, std::int8_t* out) {
  if (count < Pixels) {
    for (std::int64_t p = 0; p < count; ++p) run_tile<1, Blocks, Signed>(s, in + p * s.pixel_step, weights, constants, weights, last, out + p * s.out_step);
    return;
  }
  for (std::int64_t p = 0; p < count; p += Pixels) {
    const std::int64_t at = std::min(p, count - Pixels);
    const std::int64_t tile = p / Pixels, steps = s.kernel_rows * s.quads;
    const std::int8_t* ahead = tile < Blocks ? weights + (Blocks + tile) * steps * 64 : weights;
    run_tile<Pixels, Blocks, Signed>(s, in + at * s.pixel_step, weights, constants, ahead, last, out + at * s.out_step);
  }
}

using RunPanel = void (*)(const Shape&, std::int64_t, const std::int8_t*, const std::int8_t*, const std::int32_t*, __mmask16, std::int8_t*);
constexpr RunPanel run_panels[2][4] = {{run_panel<10, 1, false>, run_panel<10, 2, false>, run_panel<8, 3, false>, run_panel<6, 4, false>},
                                       {run_panel<10, 1, true>, run_panel<10, 2, true>, run_panel<8, 3, true>, run_panel<6, 4, true>}};

constexpr std::int64_t cached_input = 24 << 10;  // bytes of input that all panels go over before the next ones come
/// With fewer pixels than this the weights come from the second cache for every tile: ten pixels at a time need them less often than six.
constexpr std::int64_t few_pixels = 100;
constexpr std::int64_t fewest_pixels = 40;

std::int64_t pixels_of(const Extent& e) { return e.n * e.h * e.w; }
bool has_few(const ConvSpec& s) { return pixels_of(s.out) >= fewest_pixels && pixels_of(s.out) < few_pixels; }
bool is_pointwise(const Window& w) { return w.kernel_h == 1 && w.kernel_w == 1; }

}  // namespace

bool VnniConv::fits(const ConvSpec& s) {
  return simd_level() >= SimdLevel::vnni && s.groups == 1 && s.window.dilation_w == 1 && integer_finish(s).has_value();
}

bool VnniConv::pays(const ConvSpec& s) {
  if (s.in.c <= 4) return true;
  if (simd_level() >= SimdLevel::amx) return false;  // ResNet50 9.2 or 5.2 ms, with VnniWinograd (measured)
  if (is_pointwise(s.window)) return pixels_of(s.out) >= fewest_pixels;
  return has_few(s) && s.in.c % 4 == 0;
}

VnniConv::VnniConv(const ConvSpec& s, Arena& arena)
    : in_{s.in}, out_{s.out}, window_{s.window}, finish_{*integer_finish(s)}, non_negative_{s.source_non_negative} {
  const Window& w = window_;
  const std::int64_t run = in_.c * w.kernel_w;
  quads_ = (run + 3) / 4;
  const bool pads = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right, strides = w.stride_h > 1 || w.stride_w > 1;
  gathers_ = run % 4 == 0 && (is_pointwise(w) ? strides && !pads : has_few(s));
  copies_ = gathers_ || pads || run % 4 != 0;
  panel_blocks_ = has_few(s) ? 2 : 4;
  if (gathers_) {
    kernel_rows_ = 1, quads_ *= w.kernel_h, row_bytes_ = out_.w * quads_ * 4, padded_h_ = out_.h;
  } else {
    // Every window must be inside the copy, whatever is left over at the far edges.
    const std::int64_t reach_h = (out_.h - 1) * w.stride_h + std::int64_t{w.kernel_h - 1} * w.dilation_h + 1;
    const std::int64_t reach_w = (out_.w - 1) * w.stride_w + w.kernel_w;
    kernel_rows_ = w.kernel_h;
    padded_h_ = copies_ ? std::max(reach_h, in_.h + w.pad_top) : in_.h;
    row_bytes_ = (copies_ ? std::max(reach_w, in_.w + w.pad_left) : in_.w) * in_.c;
  }
  pack(s, arena);
}

void VnniConv::pack(const ConvSpec& s, Arena& arena) {
  if (!non_negative_) {
    const auto sums = weight_sums(s);
    for (std::size_t c = 0; c < sums.size(); ++c) finish_.constants[c] -= 128 * sums[c];
  }
  const std::int64_t blocks = (out_.c + lanes - 1) / lanes;
  const std::int64_t steps = kernel_rows_ * quads_;  // 64 bytes of weights per block and step
  weights_ = arena.take_array<std::int8_t>(static_cast<std::size_t>(blocks * steps * 64));
  constants_ = arena.take_array<std::int32_t>(static_cast<std::size_t>(blocks * lanes));
  std::copy(finish_.constants.begin(), finish_.constants.end(), constants_);
  const std::int64_t run = in_.c * window_.kernel_w * window_.kernel_h / kernel_rows_;
  for (std::int64_t block = 0, next = 0; block < blocks; block = next) {  // full panels end in fewer instructions than narrow ones
    next = std::min(block + panel_blocks_, blocks);
    const std::int64_t width = next - block;
    Panel panel{.first = block * lanes, .blocks = static_cast<int>(width), .weights = static_cast<std::size_t>(block * steps * 64),
                .constants = static_cast<std::size_t>(block * lanes)};
    panel.channels = static_cast<int>(std::min(lanes, out_.c - (next - 1) * lanes));
    std::int8_t* to = weights_ + panel.weights;
    for (std::int64_t ky = 0; ky < kernel_rows_; ++ky) {
      for (std::int64_t q = 0; q < quads_; ++q, to += 64 * width) {
        for (std::int64_t o = 0; o < width * lanes && panel.first + o < out_.c; ++o) {
          const std::int8_t* from = s.weights.data() + ((panel.first + o) * kernel_rows_ + ky) * run + q * 4;
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

/// Every window in full, one after the other.
void VnniConv::copy_windows(const std::int8_t* in, std::int8_t* to, std::int64_t row, std::int64_t rows) const {
  const Window& w = window_;
  const std::int64_t run = w.kernel_w * in_.c;
  to += row * row_bytes_;
  for (std::int64_t r = row; r < row + rows; ++r) {
    const std::int8_t* image = in + r / out_.h * in_.h * in_.w * in_.c;
    for (std::int64_t x = 0; x < out_.w; ++x) {
      const std::int64_t left = x * w.stride_w - w.pad_left, first = std::clamp<std::int64_t>(-left, 0, w.kernel_w);
      const std::int64_t last = std::clamp<std::int64_t>(in_.w - left, first, w.kernel_w);
      for (int ky = 0; ky < w.kernel_h; ++ky, to += run) {
        const std::int64_t y = r % out_.h * w.stride_h - w.pad_top + std::int64_t{ky} * w.dilation_h;
        const bool inside = y >= 0 && y < in_.h;
        if (!inside || last - first < w.kernel_w) std::memset(to, 0, static_cast<std::size_t>(run));
        if (inside) std::memcpy(to + first * in_.c, image + (y * in_.w + left + first) * in_.c, static_cast<std::size_t>((last - first) * in_.c));
      }
    }
  }
}

void VnniConv::run_pixels(const std::int8_t* in, std::int8_t* out, std::int64_t count) const {
  const Shape s{.pixel_step = pixel_step(), .row_step = window_.dilation_h * row_bytes_, .kernel_rows = kernel_rows_,
                .quads = quads_, .out_step = out_.c, .shift = finish_.shift, .low = finish_.low, .high = finish_.high};
  // All panels over some pixels whose input stays in the nearest cache; a multiple of what the tiles take.
  const std::int64_t some = std::max<std::int64_t>(120, cached_input / std::max<std::int64_t>(1, quads_ * 4 * kernel_rows_) / 120 * 120);
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
  const std::int64_t work = out_.elements() * kernel_rows_ * quads_;
  if (copies_) {
    split_rows(in_.n * padded_h_, in_.n * padded_h_ * row_bytes_, [&](std::int64_t a, std::int64_t b) {
      gathers_ ? copy_windows(in, padded, a, b - a) : copy_padded(in, padded, a, b - a);
    });
  }
  const std::int8_t* from = copies_ ? padded : in;
  const bool flat = gathers_ || (is_pointwise(window_) && window_.stride_h == 1 && window_.stride_w == 1 && out_.w * in_.c == row_bytes_ && out_.h == padded_h_);
  if (flat) {  // one long row
    return split_rows(pixels_of(out_), work, [&](std::int64_t a, std::int64_t b) { run_pixels(from + a * pixel_step(), out + a * out_.c, b - a); });
  }
  split_rows(out_.n * out_.h, work, [&](std::int64_t a, std::int64_t b) {
    for (std::int64_t r = a; r < b; ++r) {
      const std::int64_t row = r / out_.h * padded_h_ + r % out_.h * window_.stride_h;
      run_pixels(from + row * row_bytes_, out + r * out_.w * out_.c, out_.w);
    }
  });
}

}  // namespace splitcnn::inline v0::soft
