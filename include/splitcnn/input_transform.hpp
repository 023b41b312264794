#pragma once
/// From an 8-bit camera frame to the network's input, in one pass.
///
///     InputTransform t{.resize = Resize::center_crop, .mean = {127.5f, 127.5f, 127.5f}, .scale = {1/127.5f, 1/127.5f, 1/127.5f}};
///     CameraFrame frame{.format = PixelFormat::nv12, .width = 640, .height = 480, .planes = {y, uv}, .strides = {640, 640}};
///     transform(frame, t, input.view());       // int8, f16 or f32, channels last
///
/// Per channel c: value = (pixel - mean[c]) * scale[c], with pixel in 0..255. An int8 destination gets
/// R(value * 2^fix_point), R = floor(x + 0.5) saturated to [-128, 127] (DPU_ROUND, docs/arithmetic.md). The resampled pixel is rounded
/// half up to 8 bits before the table lookup, in every path, so the int8, f16 and f32 results describe the same image.
#include <array>
#include <cstddef>
#include <cstdint>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

enum class PixelFormat : std::uint8_t { rgb, bgr, gray, yuyv, nv12 };
enum class Resize : std::uint8_t {
  none,         ///< the frame has exactly the network's size; anything else is a mismatch
  stretch,      ///< both sides to the network's size, aspect ratio lost
  center_crop,  ///< short side to `short_side`, then the middle (the usual ImageNet evaluation)
  letterbox,    ///< whole frame inside, aspect ratio kept, borders of `border`
};
enum class Sampling : std::uint8_t {
  bilinear,  ///< half-pixel centres, edges clamped, no antialiasing
  area,      ///< mean over the source area of each pixel; for shrinking (bilinear when growing)
};
enum class ColorOrder : std::uint8_t { rgb, bgr };  ///< order the network wants; one-channel networks get luma (BT.601)

/// A borrowed frame as cameras give it. Packed formats use planes[0]; nv12 has luma in planes[0] and interleaved chroma in
/// planes[1]. Strides are bytes per row and may exceed the row. YUV is BT.601, limited range.
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

  /// Converts one frame into `destination` (input.bytes() bytes). A frame of another size than the last one rebuilds the
  /// resampling tables (allocates); otherwise no allocation. Returns mismatch or bad_argument for frames that cannot be
  /// used (null plane, stride shorter than a row, odd nv12/yuyv width, size 0 or above 16384).
  [[nodiscard]] Status operator()(const CameraFrame& frame, std::byte* destination);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One-off convenience around FrameConverter. Throws on what FrameConverter reports.
SPLITCNN_API void transform(const CameraFrame& frame, const InputTransform& transform, TensorView destination);

}  // namespace splitcnn::inline v0
