#pragma once
/// Our own convolutions for AVX512-VNNI, for the shapes where oneDNN leaves much of the machine unused: few input channels, 1x1 with
/// short sums, depthwise 3x3; and Winograd, which needs fewer products. Sums and the last step are integers (integer_finish.hpp). Signed
/// sources are read as unsigned ones raised by 128, which the constants take off again. Weights lie in the arena that a kernel is built with, which must outlive it.
/// On other machines fits() is false and nothing else may be called.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/arena.hpp"
#include "dpu/soft/integer_finish.hpp"

namespace splitcnn::inline v0::soft {

/// A dense convolution: every kernel row is one run of kernel_w * in.c bytes of the (padded) input, or, where the pixels are few, a whole window is one
/// run of a copy.
class VnniConv {
 public:
  static bool fits(const ConvSpec& spec);
  /// Whether it is the faster one where oneDNN is exact, too (measured on Zen 4 and on a Xeon, bench/results).
  static bool pays(const ConvSpec& spec);
  VnniConv(const ConvSpec& spec, Arena& arena);

  /// For a copy of the input; 0 for plain 1x1.
  [[nodiscard]] std::size_t scratch_bytes() const noexcept;
  void run(const std::int8_t* in, std::int8_t* out, std::byte* scratch) const;

 private:
  struct Panel {
    std::int64_t first = 0;      // output channel
    int blocks = 1, channels = 16;
    std::size_t weights = 0, constants = 0;
  };
  void pack(const ConvSpec& spec, Arena& arena);
  void copy_padded(const std::int8_t* in, std::int8_t* to, std::int64_t row, std::int64_t rows) const;
  void copy_windows(const std::int8_t* in, std::int8_t* to, std::int64_t row, std::int64_t rows) const;
  void run_pixels(const std::int8_t* in, std::int8_t* out, std::int64_t count) const;
  [[nodiscard]] std::int64_t pixel_step() const noexcept { return gathers_ ? quads_ * 4 : window_.stride_w * in_.c; }

  Extent in_, out_;
  Window window_;
  IntegerFinish finish_;
  bool non_negative_ = false;
  bool copies_ = false, gathers_ = false;  // a padded copy; window after window
  int panel_blocks_ = 4;
  std::int64_t kernel_rows_ = 1;       // runs per window
  std::int64_t quads_ = 0;             // per run: groups of 4 bytes
  std::int64_t row_bytes_ = 0;         // of the (padded) input
  std::int64_t padded_h_ = 0;
  std::vector<Panel> panels_;
  std::int8_t* weights_ = nullptr;
  std::int32_t* constants_ = nullptr;
};

/// What the bytes of a product's weights cannot hold, for 16 output channels (vnni_winograd.cpp).
struct WinogradRemainder {
  const std::int32_t* offsets = nullptr;  // [count], in the run
  const std::int8_t* entries = nullptr;   // [count][picks, weights][64]
  std::int64_t count = 0;
};

/// Three kernel rows, stride 1 along the height, a source that is never negative: two output rows for four products instead of six, and exact
/// (how: vnni_winograd.cpp). Move-only.
class VnniWinograd {
 public:
  static bool fits(const ConvSpec& spec);
  /// Whether these weights leave enough of the gain: counts products.
  static bool pays(const ConvSpec& spec);
  VnniWinograd(const ConvSpec& spec, Arena& arena);
  VnniWinograd(VnniWinograd&&) noexcept = default;  // no copies: remainders_ points into the lists beside it
  VnniWinograd& operator=(VnniWinograd&&) noexcept = default;

  /// For run() with at most so many threads.
  [[nodiscard]] std::size_t scratch_bytes(int threads = 1) const noexcept;
  void run(const std::int8_t* in, std::int8_t* out, std::byte* scratch) const;

 private:
  void pack(const ConvSpec& spec, Arena& arena);
  void pack_quad(const ConvSpec& spec, int product, std::int64_t channel, std::int64_t quad, std::int8_t* to) const;
  void pack_constants(const ConvSpec& spec);
  [[nodiscard]] std::int64_t chunk_pairs(int threads) const noexcept;
  [[nodiscard]] std::size_t part_bytes() const noexcept;
  void run_chunk(const std::int8_t* in, std::int8_t* out, std::int64_t first, std::int64_t pairs, std::uint8_t* rows) const;
  void run_pixels(const std::uint8_t* rows, std::int8_t* out, std::int64_t first, std::int64_t count, std::int64_t panel, bool both) const;

  Extent in_, out_;
  Window window_;
  IntegerFinish finish_;
  std::int64_t run_ = 0, quads_ = 0;        // bytes of a row that a kernel row takes; groups of 4 of them
  std::int64_t columns_ = 0, row_bytes_ = 0;  // of a row of sums, padding included
  std::int64_t panels_ = 0;                 // of 64 output channels
  std::int8_t *weights_ = nullptr, *further_ = nullptr;
  std::int32_t* constants_ = nullptr;
  std::int8_t* zeros_ = nullptr;        // a row outside the image
  std::vector<std::int32_t> offsets_;
  std::vector<WinogradRemainder> remainders_;
};

/// Depthwise, three taps wide, stride 1 or 2.
class VnniDepthwise {
 public:
  static bool fits(const ConvSpec& spec);
  VnniDepthwise(const ConvSpec& spec, Arena& arena);

  void run(const std::int8_t* in, std::int8_t* out) const;
  /// Output rows [begin, end) of image n.
  void run_rows(const std::int8_t* in, std::int8_t* out, std::int64_t n, std::int64_t begin, std::int64_t end) const;

 private:
  void run_row(const std::int8_t* in, std::int8_t* out, std::int64_t n, std::int64_t y, std::int64_t first, std::int64_t last, bool halves) const;

  Extent in_, out_;
  Window window_;
  IntegerFinish finish_;
  bool non_negative_ = false;
  std::int64_t blocks_ = 0;             // of 64 channels
  std::int8_t* weights_ = nullptr;  // [block][kernel row][4][16 channels][3 taps and a zero]
  std::int32_t* constants_ = nullptr;
  std::int8_t* zeros_ = nullptr;    // a pixel of padding
};

}  // namespace splitcnn::inline v0::soft
