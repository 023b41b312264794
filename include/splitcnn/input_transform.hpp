#pragma once
/// From an 8-bit camera frame to the network's input, in one pass.
///
///     InputTransform t{.resize = Resize::center_crop, .mean = {127.5f, 127.5f, 127.5f}, .scale = {1/127.5f, 1/127.5f, 1/127.5f}};
///     CameraFrame frame{.format = PixelFormat::nv12, .width = 640, .height = 480, .planes = {y, uv}, .strides = {640, 640}};
///     transform(frame, t, input.view());       // int8, f16 or f32, channels last
///
/// Exactly this happens, in this order:
///   1. Each source pixel becomes 8-bit RGB. YUV (BT.601, limited range) in integers, >> rounding towards minus infinity and
///      clip to 0..255, the chroma of pixel (x, y) being the sample that covers it (no interpolation):
///        c = 298 * (Y - 16) + 128;  d = U - 128;  e = V - 128
///        R = clip((c + 409 * e) >> 8);  G = clip((c - 100 * d - 208 * e) >> 8);  B = clip((c + 516 * d) >> 8)
///      One-channel networks get luma: gray as it is, (77 * R + 150 * G + 29 * B + 128) >> 8, or clip(c >> 8) of YUV.
///   2. The pixels are resampled in exact rational arithmetic, and the result is rounded half up to 8 bits, once.
///   3. Per channel c: value = (pixel - mean[c]) * scale[c], in float, by a table of 256 entries. An int8 destination gets
///      R(value * 2^fix_point), R = floor(x + 0.5) saturated to [-128, 127] (DPU_ROUND, docs/arithmetic.md).
/// So the int8, f16 and f32 results describe the same image.
#include <array>
#include <cstddef>
#include <cstdint>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

enum class PixelFormat : std::uint8_t { rgb, bgr, gray, yuyv, nv12 };
enum class Resize : std::uint8_t {
  none,         ///< the frame has exactly the network's size; anything else is a mismatch
  stretch,      ///< both sides to the network's size, aspect ratio lost
  /// Short side to `short_side`, long side to floor(long * short_side / short), then the middle (the usual ImageNet
  /// evaluation): the crop begins at floor((side - network's side) / 2). A mismatch where that is smaller than the network's input.
  center_crop,
  /// Whole frame inside, aspect ratio kept (the shorter side rounded half up, at least 1), in the middle (rounded down), borders of
  /// `border`.
  letterbox,
};
enum class Sampling : std::uint8_t {
  bilinear,  ///< half-pixel centres, edges clamped, no antialiasing
  area,      ///< mean over the source area of each pixel, along each side that shrinks; bilinear along one that grows
};
enum class ColorOrder : std::uint8_t { rgb, bgr };  ///< order the network wants; one-channel networks get luma (BT.601)

/// A borrowed frame as cameras give it. Packed formats use planes[0]; nv12 has luma in planes[0] and interleaved chroma in
/// planes[1] (one row for two of luma, rounded up). Strides are bytes per row and may exceed the row.
struct CameraFrame {
  PixelFormat format = PixelFormat::rgb;
  int width = 0, height = 0;
  std::array<const std::uint8_t*, 2> planes{};
  std::array<std::size_t, 2> strides{};
};

/// How to make the network's input; part of the model's sidecar. A value.
struct InputTransform {
  Resize resize = Resize::stretch;
  Sampling sampling = Sampling::bilinear;
  ColorOrder order = ColorOrder::rgb;
  int short_side = 0;                       ///< center_crop: 0 = the network's short side
  std::uint8_t border = 128;                ///< letterbox
  std::array<float, 3> mean{0, 0, 0};       ///< in 0..255, in the order the network wants
  std::array<float, 3> scale{1, 1, 1};      ///< 1/std when std is in 0..255
  friend bool operator==(const InputTransform&, const InputTransform&) = default;
};

/// What a transform needs per (frame size, transform, destination): tables, computed once. Not thread-safe (it owns row
/// buffers); one per thread. Move-only.
class SPLITCNN_API FrameConverter {
 public:
  /// `input`: 1xHxWxC with C = 1 or 3, channels last, f32, f16 or i8. Throws bad_argument naming what does not fit.
  FrameConverter(const InputTransform& transform, const TensorSpec& input);
  FrameConverter(FrameConverter&&) noexcept;
  FrameConverter& operator=(FrameConverter&&) noexcept;
  ~FrameConverter();

  /// Converts one frame into `destination` (input.bytes() bytes). A frame of another size or format than the last one rebuilds
  /// the resampling tables (allocates); otherwise no allocation. Returns mismatch or bad_argument for frames that cannot be
  /// used (null plane, stride shorter than a row, odd nv12/yuyv width, size 0 or above 16384).
  [[nodiscard]] Status operator()(const CameraFrame& frame, std::byte* destination);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One-off convenience around FrameConverter. Throws on what FrameConverter reports.
SPLITCNN_API void transform(const CameraFrame& frame, const InputTransform& transform, TensorView destination);

}  // namespace splitcnn::inline v0
