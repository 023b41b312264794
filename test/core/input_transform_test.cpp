#include "splitcnn/input_transform.hpp"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "core/convert.hpp"
#include "core/half.hpp"
#include "core/input_transform_rows.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {
std::atomic<std::size_t> allocations{0};
}

// Not inlined: the compiler would see malloc on one side only and warn.
[[gnu::noinline]] void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n ? n : 1)) return p;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

/// A frame with its bytes: exactly as many as its strides say it has, so that a sanitizer sees any step
/// beyond.
struct OwnedFrame {
  CameraFrame frame;
  std::vector<std::uint8_t> planes[2];

  OwnedFrame(PixelFormat format, int width, int height, std::size_t padding, std::mt19937_64& random) {
    const auto w = static_cast<std::size_t>(width), h = static_cast<std::size_t>(height);
    const std::size_t row = format == PixelFormat::yuyv                                  ? 2 * w
                            : format == PixelFormat::gray || format == PixelFormat::nv12 ? w
                                                                                         : 3 * w;
    frame = {.format = format, .width = width, .height = height};
    frame.strides = {row + padding, format == PixelFormat::nv12 ? w + padding / 2 : 0};
    planes[0].resize(frame.strides[0] * (h - 1) + row);
    if (format == PixelFormat::nv12) planes[1].resize(frame.strides[1] * ((h + 1) / 2 - 1) + w);
    for (auto& plane : planes) {
      for (auto& byte : plane)
        byte = static_cast<std::uint8_t>(random() % 8 == 0 ? (random() % 2) * 255 : random());
    }
    frame.planes = {planes[0].data(), format == PixelFormat::nv12 ? planes[1].data() : nullptr};
  }
};

int floor_div_256(int x) { return static_cast<int>(std::floor(x / 256.0)); }
int clip(int x) { return std::min(255, std::max(0, x)); }

/// One source pixel as the header defines it: RGB, or luma in [0].
std::array<int, 3> decoded(const CameraFrame& f, int x, int y, bool luma) {
  const auto byte = [&](int plane, int row, int i) {
    return int{f.planes[static_cast<std::size_t>(plane)]
                       [static_cast<std::size_t>(row) * f.strides[static_cast<std::size_t>(plane)] +
                        static_cast<std::size_t>(i)]};
  };
  int Y = 0, U = 0, V = 0;
  std::array<int, 3> rgb{};
  switch (f.format) {
    case PixelFormat::gray:
      return {byte(0, y, x), byte(0, y, x), byte(0, y, x)};
    case PixelFormat::rgb:
      rgb = {byte(0, y, 3 * x), byte(0, y, 3 * x + 1), byte(0, y, 3 * x + 2)};
      break;
    case PixelFormat::bgr:
      rgb = {byte(0, y, 3 * x + 2), byte(0, y, 3 * x + 1), byte(0, y, 3 * x)};
      break;
    case PixelFormat::yuyv:
      Y = byte(0, y, 2 * x);
      U = byte(0, y, x / 2 * 4 + 1);
      V = byte(0, y, x / 2 * 4 + 3);
      break;
    case PixelFormat::nv12:
      Y = byte(0, y, x);
      U = byte(1, y / 2, x / 2 * 2);
      V = byte(1, y / 2, x / 2 * 2 + 1);
  }
  if (f.format == PixelFormat::rgb || f.format == PixelFormat::bgr) {
    if (luma) rgb[0] = floor_div_256(77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2] + 128);
    return rgb;
  }
  const int c = 298 * (Y - 16) + 128, d = U - 128, e = V - 128;
  if (luma) return {clip(floor_div_256(c)), 0, 0};
  return {clip(floor_div_256(c + 409 * e)), clip(floor_div_256(c - 100 * d - 208 * e)),
          clip(floor_div_256(c + 516 * d))};
}

/// Source pixels and their share in output x of a side resampled from `in` to `out`, from the definitions.
std::vector<std::pair<int, long double>> taps(int in, int out, int x, Sampling sampling) {
  const long double ratio = static_cast<long double>(in) / out;
  std::vector<std::pair<int, long double>> result;
  if (sampling == Sampling::area && out < in) {
    for (int p = 0; p < in; ++p) {
      const long double overlap =
          std::min<long double>(p + 1, (x + 1) * ratio) - std::max<long double>(p, x * ratio);
      if (overlap > 1e-12L) result.emplace_back(p, overlap / ratio);
    }
    return result;
  }
  const long double centre = std::min<long double>(in - 1, std::max(0.0L, (x + 0.5L) * ratio - 0.5L));
  const int left = static_cast<int>(std::floor(centre + 1e-13L));
  const long double share = std::max(0.0L, centre - left);
  return {{left, 1 - share}, {std::min(left + 1, in - 1), share}};
}

/// The whole transform, slowly: 8-bit pixels of the network's input, or -1 where the size is a mismatch.
struct Slow {
  bool fits = true;
  std::vector<int> pixels;  // H x W x C
};

Slow slow_pixels(const CameraFrame& f, const InputTransform& t, int W, int H, int C) {
  Slow result;
  int scaled_w = W, scaled_h = H, left = 0, top = 0;  // scaled frame; where it lies in the network's input
  if (t.resize == Resize::none && (f.width != W || f.height != H)) result.fits = false;
  if (t.resize == Resize::center_crop) {
    const int side = t.short_side ? t.short_side : std::min(W, H);
    scaled_w = f.width <= f.height
                   ? side
                   : static_cast<int>(std::floor(static_cast<double>(f.width) * side / f.height + 1e-9));
    scaled_h = f.height <= f.width
                   ? side
                   : static_cast<int>(std::floor(static_cast<double>(f.height) * side / f.width + 1e-9));
    result.fits = scaled_w >= W && scaled_h >= H;
    left = -((scaled_w - W) / 2);
    top = -((scaled_h - H) / 2);
  }
  if (t.resize == Resize::letterbox) {
    const double scale = std::min(static_cast<double>(W) / f.width, static_cast<double>(H) / f.height);
    scaled_w = std::max(1, std::min(W, static_cast<int>(std::floor(f.width * scale + 0.5 + 1e-9))));
    scaled_h = std::max(1, std::min(H, static_cast<int>(std::floor(f.height * scale + 0.5 + 1e-9))));
    left = (W - scaled_w) / 2;
    top = (H - scaled_h) / 2;
  }
  if (!result.fits) return result;
  for (int y = 0; y < H; ++y) {
    for (int x = 0; x < W; ++x) {
      const int sx = x - left, sy = y - top;
      const bool border = sx < 0 || sy < 0 || sx >= scaled_w || sy >= scaled_h;
      std::array<long double, 3> sum{};
      if (!border) {
        for (const auto& [py, wy] : taps(f.height, scaled_h, sy, t.sampling)) {
          for (const auto& [px, wx] : taps(f.width, scaled_w, sx, t.sampling)) {
            const auto pixel = decoded(f, px, py, C == 1);
            for (std::size_t c = 0; c < 3; ++c) sum[c] += wy * wx * pixel[c];
          }
        }
      }
      for (std::size_t c = 0; c < static_cast<std::size_t>(C); ++c) {
        const std::size_t from = t.order == ColorOrder::bgr && C == 3 ? 2 - c : c;
        // The exact value is a fraction: what is within 1e-10 of a half is a half.
        result.pixels.push_back(border ? t.border : static_cast<int>(std::floor(sum[from] + 0.5L + 1e-10L)));
      }
    }
  }
  return result;
}

void check_destination(const TensorSpec& spec, const InputTransform& t, const std::vector<int>& pixels,
                       const std::byte* data) {
  const auto C = static_cast<std::size_t>(spec.shape[3]);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const float value = (static_cast<float>(pixels[i]) - t.mean[i % C]) * t.scale[i % C];
    bool same = false;
    switch (spec.dtype) {
      case DType::f32:
        same = std::memcmp(data + 4 * i, &value, 4) == 0;
        break;
      case DType::f16:
        same = reinterpret_cast<const std::uint16_t*>(data)[i] == to_half(value);
        break;
      default:
        same = reinterpret_cast<const std::int8_t*>(data)[i] ==
               round_half_up_to_i8(std::ldexp(static_cast<double>(value), spec.fix_point));
    }
    if (!same)
      FAIL("element " << i << " of " << to_string(spec.shape) << " " << to_string(spec.dtype) << ", pixel "
                      << pixels[i]);
  }
}

constexpr std::array formats{PixelFormat::rgb, PixelFormat::bgr, PixelFormat::gray, PixelFormat::yuyv,
                             PixelFormat::nv12};

CameraFrame plain(PixelFormat format, int width, int height, const std::vector<std::uint8_t>& bytes,
                  std::size_t stride) {
  return {.format = format,
          .width = width,
          .height = height,
          .planes = {bytes.data(), bytes.data()},
          .strides = {stride, stride}};
}

}  // namespace

TEST_CASE("every format, resize, sampling and type equals the slow float reference", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const auto from_to = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  int mismatches = 0;
  for (int round = 0; round < 1500; ++round) {
    const int C = from_to(0, 1) ? 3 : 1;
    const int W = from_to(1, 40), H = from_to(1, 40);
    InputTransform t{.resize = static_cast<Resize>(from_to(0, 3)),
                     .sampling = static_cast<Sampling>(from_to(0, 1)),
                     .order = static_cast<ColorOrder>(from_to(0, 1)),
                     .border = static_cast<std::uint8_t>(random()),
                     .mean = {127.5f, 103.94f, static_cast<float>(from_to(0, 255))},
                     .scale = {1 / 127.5f, 0.017f, -0.5f}};
    if (from_to(0, 1)) t.short_side = std::min(W, H) + from_to(0, 20);
    const PixelFormat format = formats[static_cast<std::size_t>(from_to(0, 4))];
    const bool even = format == PixelFormat::yuyv || format == PixelFormat::nv12;
    int w = from_to(1, 70), h = from_to(1, 70);
    if (t.resize == Resize::none || from_to(0, 9) == 0) w = W, h = H;
    if (even && w % 2) ++w;
    const OwnedFrame owned{format, w, h, static_cast<std::size_t>(from_to(0, 2) * from_to(0, 40)), random};
    TensorSpec spec{"x",
                    {1, H, W, C},
                    std::array{DType::f32, DType::f16, DType::i8}[static_cast<std::size_t>(from_to(0, 2))]};
    if (spec.dtype == DType::i8) spec.fix_point = from_to(-2, 9);
    INFO("round " << round << " frame " << w << "x" << h << " format " << static_cast<int>(format)
                  << " network " << W << "x" << H << "x" << C << " resize " << static_cast<int>(t.resize)
                  << " sampling " << static_cast<int>(t.sampling) << " short " << t.short_side);
    const Slow expected = slow_pixels(owned.frame, t, W, H, C);
    FrameConverter convert_frame{t, spec};
    std::vector<std::byte> out(spec.bytes() + 64, std::byte{0x5a});
    const Status status = convert_frame(owned.frame, out.data());
    if (!expected.fits) {
      REQUIRE(status.code == Errc::mismatch);
      ++mismatches;
      continue;
    }
    REQUIRE(status.ok());
    check_destination(spec, t, expected.pixels, out.data());
    REQUIRE(std::all_of(out.end() - 64, out.end(), [](std::byte b) { return b == std::byte{0x5a}; }));
  }
  CHECK(mismatches > 10);
}

TEST_CASE("every YUV triple decodes as the header says", "[input_transform]") {
  // 256 x 256 chroma pairs for every luma: rows of one luma value, nv12 with a pair per two pixels.
  FrameConverter convert_frame{{.resize = Resize::none}, {"x", {1, 2, 512, 3}}};
  std::vector<std::uint8_t> luma(512 * 2), chroma(512);
  std::vector<float> out(512 * 2 * 3);
  std::size_t wrong = 0;
  for (int y = 0; y < 256; ++y) {
    std::memset(luma.data(), y, luma.size());
    for (int u = 0; u < 256; u += 15) {
      for (int v = 0; v < 256; ++v) {
        chroma[static_cast<std::size_t>(2 * v)] = static_cast<std::uint8_t>(u);
        chroma[static_cast<std::size_t>(2 * v + 1)] = static_cast<std::uint8_t>(v);
      }
      const CameraFrame f{PixelFormat::nv12, 512, 2, {luma.data(), chroma.data()}, {512, 512}};
      REQUIRE(convert_frame(f, reinterpret_cast<std::byte*>(out.data())).ok());
      for (int x = 0; x < 512; x += 2) {
        const auto rgb = decoded(f, x, 1, false);
        for (std::size_t c = 0; c < 3; ++c)
          wrong += out[(512 + static_cast<std::size_t>(x)) * 3 + c] != static_cast<float>(rgb[c]);
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("the last rounding is exact for the largest denominators", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const auto& [dx, dy] :
       {std::pair{32762, 32738}, {32768, 32768}, {32768, 1}, {2, 2}, {14, 28}, {30, 16384}}) {
    const std::int64_t d = std::int64_t{dx} * dy;
    const std::size_t n = 4096;
    std::vector<std::int32_t> left(n), right(n);
    std::vector<double> wl(n), wr(n);
    std::vector<std::uint8_t> pixels(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto below = [&](std::int64_t m) {
        return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(m));
      };
      wr[i] = static_cast<double>(i % 3 == 0 ? dx / 2 : below(dx + 1));
      wl[i] = dx - wr[i];
      // Sums around k + 1/2 as closely as these integers allow.
      const std::int64_t k = below(255);
      const std::int64_t near = (2 * k + 1) * dy / 2;
      left[i] = static_cast<std::int32_t>(std::clamp<std::int64_t>(near + below(3) - 1, 0, 255ll * dy));
      right[i] = static_cast<std::int32_t>(std::clamp<std::int64_t>(near + below(3) - 1, 0, 255ll * dy));
      if (i % 17 == 0) left[i] = right[i] = 255 * dy;
    }
    blend_columns(left.data(), right.data(), wl.data(), wr.data(), n, static_cast<double>(d), pixels.data());
    std::size_t wrong = 0, ties = 0;
    std::vector<int> begin{0}, column, weight;
    std::vector<std::int32_t> sums;
    for (std::size_t i = 0; i < n; ++i) {
      const auto a = static_cast<std::int64_t>(wl[i]), b = static_cast<std::int64_t>(wr[i]);
      const std::int64_t sum = left[i] * a + right[i] * b;
      wrong += pixels[i] != (2 * sum + d) / (2 * d);
      ties += (2 * sum + d) % (2 * d) == 0;
      for (const auto& [s, w] : {std::pair{left[i], a}, {right[i], b}}) {
        column.push_back(static_cast<int>(sums.size()));
        sums.push_back(s);
        weight.push_back(static_cast<int>(w));
      }
      begin.push_back(static_cast<int>(column.size()));
    }
    CHECK(wrong == 0);
    CHECK((ties > 0 || dx * dy > 1 << 20));
    std::vector<std::uint8_t> summed(n);
    sum_columns(sums.data(), begin.data(), column.data(), weight.data(), n, static_cast<double>(d),
                summed.data());
    CHECK(summed == pixels);
  }
}

TEST_CASE("sides up to 16384 without overflow", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  struct Case {
    int w, h, W, H;
  };
  for (const Case& c :
       {Case{16384, 2, 5, 3}, Case{2, 16384, 3, 5}, Case{16382, 3, 16369, 2}, Case{2, 3, 16384, 1},
        Case{1, 1, 16384, 2}, Case{16381, 1, 1, 60}, Case{1, 16381, 60, 1}, Case{1, 3, 2, 16383}}) {
    for (const Sampling sampling : {Sampling::bilinear, Sampling::area}) {
      OwnedFrame owned{PixelFormat::gray, c.w, c.h, 3, random};
      for (auto& byte : owned.planes[0]) byte |= 0xe0;  // bright: the largest sums
      const InputTransform t{.sampling = sampling};
      const TensorSpec spec{"x", {1, c.H, c.W, 1}};
      FrameConverter convert_frame{t, spec};
      Tensor out{spec};
      INFO(c.w << "x" << c.h << " to " << c.W << "x" << c.H);
      REQUIRE(convert_frame(owned.frame, out.bytes().data()).ok());
      if (sampling == Sampling::area && c.w > 16000 && c.W > 16000)
        continue;  // the reference is quadratic there
      check_destination(spec, t, slow_pixels(owned.frame, t, c.W, c.H, 1).pixels, out.bytes().data());
    }
  }
  // A crop whose scaled frame would be larger than any supported side.
  const OwnedFrame thin{PixelFormat::gray, 16384, 1, 0, random};
  FrameConverter crop{{.resize = Resize::center_crop}, {"x", {1, 224, 224, 1}}};
  std::vector<std::byte> out(224 * 224 * 4);
  CHECK(crop(thin.frame, out.data()).code == Errc::mismatch);
}

TEST_CASE("int8, f16 and f32 describe the same image", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const OwnedFrame owned{PixelFormat::nv12, 64, 47, 5, random};
  const InputTransform t{
      .resize = Resize::letterbox, .mean = {127, 127, 127}, .scale = {1 / 128.0f, 1 / 128.0f, 1 / 128.0f}};
  const Shape shape{1, 32, 32, 3};
  Tensor f32{{"x", shape}}, f16{{"x", shape, DType::f16}}, i8{{"x", shape, DType::i8, 7}};
  for (Tensor* tensor : {&f32, &f16, &i8}) transform(owned.frame, t, tensor->view());
  for (std::size_t i = 0; i < f32.as<float>().size(); ++i) {  // (pixel - 127) / 128 is exact in all three
    REQUIRE(f32.as<float>()[i] == from_half(f16.as<std::uint16_t>()[i]));
    REQUIRE(std::min(f32.as<float>()[i], 127 / 128.0f) == i8.as<std::int8_t>()[i] / 128.0f);
  }
}

TEST_CASE("no allocation after the first frame of a size", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  for (const PixelFormat format : formats) {
    for (const Sampling sampling : {Sampling::bilinear, Sampling::area}) {
      const OwnedFrame owned{format, 90, 61, 7, random};
      FrameConverter convert_frame{{.resize = Resize::letterbox, .sampling = sampling},
                                   {"x", {1, 32, 48, 3}, DType::i8, 3}};
      std::vector<std::byte> out(32 * 48 * 3);
      REQUIRE(convert_frame(owned.frame, out.data()).ok());
      const std::size_t before = allocations;
      bool ok = true;
      for (int i = 0; i < 10; ++i) ok = ok && convert_frame(owned.frame, out.data()).ok();
      const std::size_t after = allocations;
      CHECK(ok);
      CHECK(after == before);
    }
  }
}

TEST_CASE("frames of changing size, format and content through one converter", "[input_transform]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const InputTransform t{.resize = Resize::stretch, .sampling = Sampling::area};
  const TensorSpec spec{"x", {1, 9, 11, 3}};
  FrameConverter first{t, spec};
  FrameConverter convert_frame = std::move(first);
  std::vector<std::byte> out(spec.bytes());
  for (int i = 0; i < 60; ++i) {
    const OwnedFrame owned{formats[random() % 5], 2 * static_cast<int>(1 + random() % 12),
                           static_cast<int>(1 + random() % 20), 0, random};
    if (i % 7 == 0) {  // a refused frame in between changes nothing
      CameraFrame bad = owned.frame;
      bad.height = 0;
      REQUIRE_FALSE(convert_frame(bad, out.data()).ok());
    }
    REQUIRE(convert_frame(owned.frame, out.data()).ok());
    check_destination(spec, t, slow_pixels(owned.frame, t, 11, 9, 3).pixels, out.data());
  }
}

TEST_CASE("frames that cannot be used get a Status", "[input_transform]") {
  const std::vector<std::uint8_t> bytes(64 * 64 * 3);
  FrameConverter convert_frame{{}, {"x", {1, 8, 8, 3}}};
  std::vector<std::byte> out(8 * 8 * 3 * 4);
  const auto code = [&](CameraFrame f) {
    const Status status = convert_frame(f, out.data());
    CHECK(status.ok() == status.message.empty());
    return status.code;
  };
  const CameraFrame good = plain(PixelFormat::rgb, 16, 16, bytes, 48);
  CHECK(code(good) == Errc::ok);
  for (const int side : {0, -1, 16385, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    CHECK(code(plain(PixelFormat::gray, side, 16, bytes, 1 << 30)) == Errc::bad_argument);
    CHECK(code(plain(PixelFormat::gray, 16, side, bytes, 1 << 30)) == Errc::bad_argument);
  }
  for (const auto& [format, row] : {std::pair{PixelFormat::rgb, 48},
                                    {PixelFormat::bgr, 48},
                                    {PixelFormat::gray, 16},
                                    {PixelFormat::yuyv, 32},
                                    {PixelFormat::nv12, 16}}) {
    const auto stride = static_cast<std::size_t>(row);
    CHECK(code(plain(format, 16, 16, bytes, stride)) == Errc::ok);
    CHECK(code(plain(format, 16, 16, bytes, stride - 1)) == Errc::bad_argument);
    CameraFrame null = plain(format, 16, 16, bytes, stride);
    null.planes[0] = nullptr;
    CHECK(code(null) == Errc::bad_argument);
  }
  CHECK(code(plain(PixelFormat::yuyv, 15, 16, bytes, 64)) == Errc::bad_argument);
  CHECK(code(plain(PixelFormat::nv12, 15, 16, bytes, 64)) == Errc::bad_argument);
  CHECK(code(plain(PixelFormat::nv12, 16, 15, bytes, 64)) == Errc::ok);
  CameraFrame chroma = plain(PixelFormat::nv12, 16, 16, bytes, 16);
  chroma.planes[1] = nullptr;
  CHECK(code(chroma) == Errc::bad_argument);
  chroma.planes[1] = bytes.data();
  chroma.strides[1] = 15;
  CHECK(code(chroma) == Errc::bad_argument);
  CHECK(code(plain(static_cast<PixelFormat>(9), 16, 16, bytes, 64)) == Errc::bad_argument);
  CHECK(convert_frame(good, nullptr).code == Errc::bad_argument);
  FrameConverter exact{{.resize = Resize::none}, {"x", {1, 8, 8, 3}}};
  CHECK(exact(good, out.data()).code == Errc::mismatch);
  CHECK(exact(plain(PixelFormat::rgb, 8, 8, bytes, 24), out.data()).ok());
}

TEST_CASE("transforms that cannot be are refused when built", "[input_transform]") {
  const auto code = [](const InputTransform& t, const TensorSpec& spec) {
    try {
      FrameConverter convert_frame{t, spec};
    } catch (const Error& e) {
      return e.code();
    }
    return Errc::ok;
  };
  const TensorSpec good{"x", {1, 8, 8, 3}};
  CHECK(code({}, good) == Errc::ok);
  for (const Shape& shape :
       {Shape{8, 8, 3}, Shape{2, 8, 8, 3}, Shape{1, 8, 8, 2}, Shape{1, 3, 8, 8}, Shape{1, 0, 8, 3},
        Shape{1, 8, 0, 3}, Shape{1, 16385, 8, 3}, Shape{1, 8, 16385, 3}, Shape{}}) {
    CHECK(code({}, {"x", shape}) == Errc::bad_argument);
  }
  CHECK(code({}, {"x", {1, 8, 8, 3}, DType::u8}) == Errc::bad_argument);
  CHECK(code({.mean = {0, std::nanf(""), 0}}, good) == Errc::bad_argument);
  CHECK(code({.scale = {0, 0, std::numeric_limits<float>::infinity()}}, good) == Errc::bad_argument);
  CHECK(code({.short_side = -1}, good) == Errc::bad_argument);
  CHECK(code({.short_side = 16385}, good) == Errc::bad_argument);
  CHECK(code({.resize = Resize::center_crop, .short_side = 7}, good) == Errc::bad_argument);
  CHECK(code({.resize = static_cast<Resize>(9)}, good) == Errc::bad_argument);
  Tensor t{good};
  TensorView elsewhere = t.view();
  elsewhere.memory = Memory::device;
  const std::vector<std::uint8_t> bytes(8 * 8 * 3);
  CHECK_THROWS_AS(transform(plain(PixelFormat::rgb, 8, 8, bytes, 24), {}, elsewhere), Error);
  CHECK_THROWS_AS(transform(plain(PixelFormat::rgb, 8, 8, bytes, 23), {}, t.view()), Error);
  CHECK_NOTHROW(transform(plain(PixelFormat::rgb, 8, 8, bytes, 24), {}, t.view()));
}
