#include "splitcnn/input_transform.hpp"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "core/convert.hpp"
#include "core/half.hpp"
#include "core/input_transform_geometry.hpp"
#include "core/input_transform_rows.hpp"

namespace splitcnn::inline v0 {

namespace {

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw Error{Errc::bad_argument, "input transform: " + fmt::format(text, std::forward<Args>(args)...)};
}

void check(const InputTransform& t, const TensorSpec& input) {
  const Shape& s = input.shape;
  if (s.rank() != 4 || s[0] != 1 || (s[3] != 1 && s[3] != 3)) {
    refuse("network input '{}' is {}; it must be 1 x height x width x 1 or 3, channels last", input.name,
           to_string(s));
  }
  if (s[1] < 1 || s[2] < 1 || s[1] > max_frame_side || s[2] > max_frame_side) {
    refuse("network input '{}' is {}; sides from 1 to {} are supported", input.name, to_string(s),
           max_frame_side);
  }
  if (input.dtype != DType::f32 && input.dtype != DType::f16 && input.dtype != DType::i8) {
    refuse("network input '{}' is {}; it must be f32, f16 or i8", input.name, to_string(input.dtype));
  }
  for (std::size_t c = 0; c < 3; ++c) {
    if (!std::isfinite(t.mean[c]) || !std::isfinite(t.scale[c]))
      refuse("mean or scale of channel {} is not finite", c);
  }
  if (t.short_side < 0 || t.short_side > max_frame_side)
    refuse("short_side {} is outside 0..{}", t.short_side, max_frame_side);
  if (t.resize > Resize::letterbox || t.sampling > Sampling::area || t.order > ColorOrder::bgr) {
    refuse("resize, sampling or colour order is none of the enumerators");
  }
  if (t.resize == Resize::center_crop && t.short_side > 0 && t.short_side < std::min(s[1], s[2])) {
    refuse("short_side {} is less than the network's {}; no frame would fill the crop", t.short_side,
           std::min(s[1], s[2]));
  }
}

std::size_t row_bytes(PixelFormat format, int width) noexcept {
  const auto w = static_cast<std::size_t>(width);
  switch (format) {
    case PixelFormat::rgb:
    case PixelFormat::bgr:
      return 3 * w;
    case PixelFormat::yuyv:
      return 2 * w;
    default:
      return w;
  }
}

Status check(const CameraFrame& f) {
  if (f.format > PixelFormat::nv12)
    return {Errc::bad_argument, "frame: its pixel format is none of the enumerators"};
  if (f.width < 1 || f.height < 1 || f.width > max_frame_side || f.height > max_frame_side) {
    return {Errc::bad_argument,
            fmt::format("frame {}x{}: sides from 1 to {} are supported", f.width, f.height, max_frame_side)};
  }
  const bool halved = f.format == PixelFormat::yuyv || f.format == PixelFormat::nv12;
  if (halved && f.width % 2 != 0) {
    return {Errc::bad_argument,
            fmt::format("frame {}x{}: YUYV and NV12 frames have an even width", f.width, f.height)};
  }
  const std::size_t planes = f.format == PixelFormat::nv12 ? 2 : 1;
  for (std::size_t p = 0; p < planes; ++p) {
    if (f.planes[p] == nullptr)
      return {Errc::bad_argument, fmt::format("frame {}x{}: plane {} is null", f.width, f.height, p)};
    if (f.strides[p] < row_bytes(f.format, f.width)) {
      return {Errc::bad_argument,
              fmt::format("frame {}x{}: the stride of plane {} is {} bytes, a row has {}", f.width, f.height,
                          p, f.strides[p], row_bytes(f.format, f.width))};
    }
  }
  return {};
}

/// What each of the 256 pixel values becomes, per channel, in the destination's type.
std::vector<std::byte> make_lookup(const InputTransform& t, const TensorSpec& input) {
  const auto channels = static_cast<std::size_t>(input.shape[3]);
  const std::size_t size = size_of(input.dtype);
  std::vector<float> values(channels * 256);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = i / 256;
    values[i] = (static_cast<float>(i % 256) - t.mean[c]) * t.scale[c];
  }
  std::vector<std::byte> lookup(values.size() * size);
  const Shape shape{static_cast<std::int64_t>(values.size())};
  convert(shape, {.dtype = DType::f32}, reinterpret_cast<const std::byte*>(values.data()),
          {.dtype = input.dtype, .fix_point = input.fix_point}, lookup.data());
  return lookup;
}

/// Planar 8-bit pixels to interleaved elements of the destination.
template <class T>
void look_up(const std::uint8_t* pixels, std::size_t n, std::size_t channels, const std::byte* lookup,
             std::byte* destination) noexcept {
  const T* table = reinterpret_cast<const T*>(lookup);
  T* out = reinterpret_cast<T*>(destination);
  if (channels == 1) {
    for (std::size_t i = 0; i < n; ++i) out[i] = table[pixels[i]];
    return;
  }
  const std::uint8_t *a = pixels, *b = a + n, *c = b + n;
  for (std::size_t i = 0; i < n; ++i) {
    out[3 * i] = table[a[i]];
    out[3 * i + 1] = table[256 + b[i]];
    out[3 * i + 2] = table[512 + c[i]];
  }
}

}  // namespace

struct FrameConverter::Impl {
  InputTransform transform;
  int width = 0, height = 0;  // of the network
  std::size_t channels = 0, element = 0;
  std::vector<std::byte> lookup;
  std::vector<std::uint8_t> border;  // a row of border pixels, planar

  // For the last frame's size and format.
  PixelFormat format = PixelFormat::rgb;
  int frame_w = 0, frame_h = 0;
  Placement placement;
  std::size_t columns = 0;  // source columns decoded per row
  std::vector<std::uint32_t> offset, chroma_offset;
  std::vector<int> area_column;                   // area: per tap, where its column is among those decoded
  std::vector<double> weight_left, weight_right;  // bilinear

  // Row buffers.
  std::vector<std::uint8_t> scratch, decoded[2], pixels;
  std::vector<std::int32_t> sums;
  int decoded_row[2] = {-1, -1};

  Impl(const InputTransform& t, const TensorSpec& input)
      : transform{t},
        width{static_cast<int>(input.shape[2])},
        height{static_cast<int>(input.shape[1])},
        channels{static_cast<std::size_t>(input.shape[3])},
        element{size_of(input.dtype)},
        lookup{make_lookup(t, input)},
        border(static_cast<std::size_t>(width) * channels, t.border) {}

  Status rebuild(const CameraFrame& frame);
  void choose_columns();
  const std::uint8_t* source_row(const CameraFrame& frame, int y) noexcept;
  void resample_row(const CameraFrame& frame, int y) noexcept;
  void put(const std::uint8_t* planar, std::size_t n, std::byte* destination) const noexcept;
  void convert_frame(const CameraFrame& frame, std::byte* destination) noexcept;
};

/// Bilinear reads two columns per output: all left ones, then all right ones, so that the arithmetic behind
/// it runs on whole rows. Area reads every column of the span once.
void FrameConverter::Impl::choose_columns() {
  const Axis& x = placement.x;
  const auto n = static_cast<std::size_t>(placement.width);
  std::vector<int> wanted;
  area_column.clear();
  weight_left.assign(n, 0);
  weight_right.assign(n, 0);
  if (x.bilinear) {
    wanted.resize(2 * n);
    for (std::size_t i = 0; i < n; ++i) {
      wanted[i] = x.pixel[2 * i];
      wanted[n + i] = x.pixel[2 * i + 1];
      weight_left[i] = x.weight[2 * i];
      weight_right[i] = x.weight[2 * i + 1];
    }
  } else {
    for (int p = x.pixel.front(); p <= x.pixel.back(); ++p) wanted.push_back(p);
    for (const int p : x.pixel) area_column.push_back(p - x.pixel.front());
  }
  columns = wanted.size();
  offset.clear();
  chroma_offset.clear();
  for (const int p : wanted) {
    const auto u = static_cast<std::uint32_t>(p);
    offset.push_back(static_cast<std::uint32_t>(row_bytes(format, 1)) * u);
    chroma_offset.push_back(format == PixelFormat::yuyv ? 4 * (u / 2) + 1 : 2 * (u / 2));
  }
}

Status FrameConverter::Impl::rebuild(const CameraFrame& frame) {
  frame_w = frame_h = 0;  // invalid until everything below has worked
  Status status = place(transform, width, height, frame.width, frame.height, placement);
  if (!status.ok()) return status;
  format = frame.format;
  choose_columns();
  scratch.resize(3 * columns);
  for (auto& row : decoded) row.resize(channels * columns);
  sums.resize(channels * columns);
  pixels.resize(channels * static_cast<std::size_t>(placement.width));
  frame_w = frame.width;
  frame_h = frame.height;
  return {};
}

/// Row y decoded; the two last rows are kept because neighbouring output rows share them.
const std::uint8_t* FrameConverter::Impl::source_row(const CameraFrame& frame, int y) noexcept {
  const std::size_t slot = static_cast<std::size_t>(y) % 2;
  if (decoded_row[slot] == y) return decoded[slot].data();
  const auto row = static_cast<std::size_t>(y);
  const std::uint8_t* bytes = frame.planes[0] + row * frame.strides[0];
  decode_row(
      {.format = format,
       .channels = static_cast<int>(channels),
       .blue_first = transform.order == ColorOrder::bgr,
       .row = bytes,
       .chroma_row = format == PixelFormat::nv12 ? frame.planes[1] + row / 2 * frame.strides[1] : bytes,
       .n = columns,
       .offset = offset.data(),
       .chroma_offset = chroma_offset.data(),
       .scratch = scratch.data(),
       .out = decoded[slot].data()});
  decoded_row[slot] = y;
  return decoded[slot].data();
}

/// Row y of the placed rectangle into `pixels`: rows first, on the decoded columns, then columns.
void FrameConverter::Impl::resample_row(const CameraFrame& frame, int y) noexcept {
  const Axis& v = placement.y;
  const auto i = static_cast<std::size_t>(y);
  const std::size_t n = channels * columns;
  if (v.bilinear) {
    const std::uint8_t* upper = source_row(frame, v.pixel[2 * i]);
    const std::uint8_t* lower = source_row(frame, v.pixel[2 * i + 1]);
    blend_rows(upper, v.weight[2 * i], lower, v.weight[2 * i + 1], n, sums.data());
  } else {
    for (int t = v.begin[i]; t < v.begin[i + 1]; ++t) {
      const auto tap = static_cast<std::size_t>(t);
      add_weighted(source_row(frame, v.pixel[tap]), v.weight[tap], n, t == v.begin[i], sums.data());
    }
  }
  const auto out = static_cast<std::size_t>(placement.width);
  const double denominator = static_cast<double>(placement.x.denominator) * v.denominator;
  for (std::size_t c = 0; c < channels; ++c) {
    const std::int32_t* row = sums.data() + c * columns;
    std::uint8_t* to = pixels.data() + c * out;
    if (placement.x.bilinear) {
      blend_columns(row, row + out, weight_left.data(), weight_right.data(), out, denominator, to);
    } else {
      sum_columns(row, placement.x.begin.data(), area_column.data(), placement.x.weight.data(), out,
                  denominator, to);
    }
  }
}

void FrameConverter::Impl::put(const std::uint8_t* planar, std::size_t n,
                               std::byte* destination) const noexcept {
  switch (element) {
    case 4:
      return look_up<std::uint32_t>(planar, n, channels, lookup.data(), destination);
    case 2:
      return look_up<std::uint16_t>(planar, n, channels, lookup.data(), destination);
    default:
      return look_up<std::uint8_t>(planar, n, channels, lookup.data(), destination);
  }
}

void FrameConverter::Impl::convert_frame(const CameraFrame& frame, std::byte* destination) noexcept {
  decoded_row[0] = decoded_row[1] = -1;  // the frame's bytes may have changed
  const std::size_t pixel = channels * element;
  const auto left = static_cast<std::size_t>(placement.left),
             inner = static_cast<std::size_t>(placement.width);
  const auto all = static_cast<std::size_t>(width);
  for (int y = 0; y < height; ++y) {
    std::byte* row = destination + static_cast<std::size_t>(y) * all * pixel;
    if (y < placement.top || y >= placement.top + placement.height) {
      put(border.data(), all, row);
      continue;
    }
    resample_row(frame, y - placement.top);
    put(border.data(), left, row);
    put(pixels.data(), inner, row + left * pixel);
    put(border.data(), all - left - inner, row + (left + inner) * pixel);
  }
}

FrameConverter::FrameConverter(const InputTransform& transform, const TensorSpec& input) {
  check(transform, input);
  impl_ = std::make_unique<Impl>(transform, input);
}

FrameConverter::FrameConverter(FrameConverter&&) noexcept = default;
FrameConverter& FrameConverter::operator=(FrameConverter&&) noexcept = default;
FrameConverter::~FrameConverter() = default;

Status FrameConverter::operator()(const CameraFrame& frame, std::byte* destination) {
  if (destination == nullptr) return {Errc::bad_argument, "frame: the destination is null"};
  if (Status status = check(frame); !status.ok()) return status;
  Impl& s = *impl_;
  if (frame.width != s.frame_w || frame.height != s.frame_h || frame.format != s.format) {
    if (Status status = s.rebuild(frame); !status.ok()) return status;
  }
  s.convert_frame(frame, destination);
  return {};
}

void transform(const CameraFrame& frame, const InputTransform& transform, TensorView destination) {
  if (destination.spec == nullptr || destination.data == nullptr || destination.frames != 1) {
    throw Error{Errc::bad_argument, "input transform: the destination is not one frame of a tensor"};
  }
  if (destination.memory == Memory::device || destination.memory == Memory::dmabuf) {
    throw Error{Errc::bad_argument,
                "input transform: the destination is not in host memory; convert on the host and copy"};
  }
  FrameConverter convert_frame{transform, *destination.spec};
  const Status status = convert_frame(frame, destination.data);
  if (!status.ok()) throw Error{status.code, status.message};
}

}  // namespace splitcnn::inline v0
