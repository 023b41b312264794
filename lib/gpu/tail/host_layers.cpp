// The layers: convolutions, dense layers, pools. Sums in f32, rounded once per result.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/dispatch.hpp"
#include "core/half.hpp"
#include "gpu/tail/host_ops.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

std::int64_t up8(std::int64_t n) { return (n + tail_pad - 1) / tail_pad * tail_pad; }

const std::uint16_t* halves(const std::byte* arena, std::uint64_t offset) {
  return reinterpret_cast<const std::uint16_t*>(arena + offset);
}

void read(const std::uint16_t* from, float* to, std::int64_t n, float load_max) noexcept {
  from_half(from, to, static_cast<std::size_t>(n));
  if (std::isfinite(load_max)) {
    const float limit = from_half(to_half(load_max));
    for (std::int64_t i = 0; i < n; ++i) to[i] = std::min(to[i], limit);
  }
}

/// sums[j][0..n) += x[j] * w[0..n) for `pixels` inputs that share a row of weights.
[[gnu::always_inline]] inline void add_rows(const float* w, std::int64_t n, const float* x, std::int64_t pixels, float* sums) noexcept {
  if (pixels == 4) {
    const float a = x[0], b = x[1], c = x[2], d = x[3];
    float *s0 = sums, *s1 = sums + n, *s2 = sums + 2 * n, *s3 = sums + 3 * n;
    for (std::int64_t k = 0; k < n; ++k) {
      s0[k] += a * w[k];
      s1[k] += b * w[k];
      s2[k] += c * w[k];
      s3[k] += d * w[k];
    }
    return;
  }
  for (std::int64_t j = 0; j < pixels; ++j) {
    for (std::int64_t k = 0; k < n; ++k) sums[j * n + k] += x[j] * w[k];
  }
}
[[gnu::always_inline]] inline void tap_body(const float* const* x, const float* w, std::int64_t c, std::int64_t k, std::int64_t pixels, float* sums) noexcept {
  for (std::int64_t i = 0; i < c; ++i) {
    const float values[4] = {x[0][i], x[1][i], x[2][i], x[3][i]};
    add_rows(w + i * k, k, values, pixels, sums);
  }
}

[[gnu::always_inline]] inline void dot_body(const float* a, const float* b, std::int64_t n, float* result) noexcept {
  float parts[16] = {};
  for (std::int64_t i = 0; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) parts[j] += a[i + j] * b[i + j];
  }
  float sum = 0;
  for (const float p : parts) sum += p;
  for (std::int64_t i = n / 16 * 16; i < n; ++i) sum += a[i] * b[i];
  *result = sum;
}

/// Row `r` of x for output row `p` and tap row `t`; -1 outside.
std::int64_t source(std::int64_t o, int stride, int before, int tap, int dilation, std::int64_t size) {
  const std::int64_t at = o * stride - before + std::int64_t{tap} * dilation;
  return at < 0 || at >= size ? -1 : at;
}

void grouped_pixel(const TailOp& op, const HostFrame& f, std::int64_t image, std::int64_t p, std::int64_t q, std::int64_t cp, float* sums) {
  const TailWindow& w = op.window;
  const std::int64_t per_in = op.c / op.groups, per_out = op.k / op.groups;
  const std::uint16_t* weights = halves(f.weights, op.weights);
  for (std::int64_t k = 0; k < op.k; ++k) {
    float sum = 0;
    for (int i = 0; i < w.kernel_h; ++i) {
      for (int j = 0; j < w.kernel_w; ++j) {
        const std::int64_t r = source(p, w.stride_h, w.pad_top, i, w.dilation_h, op.h), s = source(q, w.stride_w, w.pad_left, j, w.dilation_w, op.w);
        if (r < 0 || s < 0) continue;
        const float* x = f.floats_x + ((image * op.h + r) * op.w + s) * cp + k / per_out * per_in;
        const std::uint16_t* wk = weights + ((k * w.kernel_h + i) * w.kernel_w + j) * per_in;
        for (std::int64_t c = 0; c < per_in; ++c) sum += x[c] * from_half(wk[c]);
      }
    }
    sums[k] = sum;
  }
}

}  // namespace

float host_activate(const TailOp& op, float v) noexcept {
  switch (op.act) {
    case TailAct::none: return v;
    case TailAct::relu: return v > 0 ? v : (v != v ? v : 0.0f);
    case TailAct::clip: return std::min(std::max(v, op.act_alpha), op.act_beta);
    case TailAct::leaky_relu: return v < 0 ? op.act_alpha * v : v;
    case TailAct::hard_sigmoid: return std::max(0.0f, std::min(1.0f, op.act_alpha * v + op.act_beta));
    case TailAct::hard_swish: return v * std::max(0.0f, std::min(1.0f, v * (1.0f / 6.0f) + 0.5f));
  }
  return v;
}

std::vector<float> host_pack(const TailOp& op, const std::byte* weights) {
  if (op.kind != TailKind::conv || op.groups != 1) return {};
  const std::int64_t taps = std::int64_t{op.window.kernel_h} * op.window.kernel_w, c = up8(op.c), k = up8(op.k);
  std::vector<float> packed(static_cast<std::size_t>(taps * c * k)), row(static_cast<std::size_t>(taps * c));
  for (std::int64_t o = 0; o < k; ++o) {
    from_half(halves(weights, op.weights) + o * taps * c, row.data(), row.size());
    for (std::size_t i = 0; i < row.size(); ++i) packed[i * static_cast<std::size_t>(k) + static_cast<std::size_t>(o)] = row[i];
  }
  return packed;
}

void host_conv(const TailOp& op, const HostFrame& f) noexcept {
  const TailWindow& w = op.window;
  const std::int64_t cp = f.xt[0]->padded, kp = f.yt->padded;
  const float inf = std::numeric_limits<float>::infinity();
  read(f.x[0], f.floats_x, f.xt[0]->frame_elements, inf);
  if (f.x[1]) read(f.x[1], f.floats_z, f.xt[1]->frame_elements, inf);
  from_half(halves(f.weights, op.bias), f.row, static_cast<std::size_t>(kp));
  for (std::int64_t row = 0; row < std::int64_t{op.n} * op.p; ++row) {
    const std::int64_t image = row / op.p, p = row % op.p;
    for (std::int64_t q0 = 0; q0 < op.q; q0 += 4) {
      const std::int64_t pixels = std::min<std::int64_t>(4, op.q - q0);
      std::fill_n(f.sums, pixels * kp, 0.0f);
      if (op.groups != 1) {
        for (std::int64_t j = 0; j < pixels; ++j) grouped_pixel(op, f, image, p, q0 + j, cp, f.sums + j * kp);
      } else {
        for (int t = 0; t < w.kernel_h * w.kernel_w; ++t) {
          const std::int64_t r = source(p, w.stride_h, w.pad_top, t / w.kernel_w, w.dilation_h, op.h);
          if (r < 0) continue;
          const float* weights = f.packed + t * cp * kp;
          const float* x[4];
          bool inside[4] = {};
          for (std::int64_t j = 0; j < pixels; ++j) {
            const std::int64_t s = source(q0 + j, w.stride_w, w.pad_left, t % w.kernel_w, w.dilation_w, op.w);
            inside[j] = s >= 0;
            x[j] = f.floats_x + ((image * op.h + r) * op.w + s) * cp;
          }
          if (pixels == 4 && inside[0] && inside[1] && inside[2] && inside[3]) {
            run_best<tap_body>(static_cast<const float* const*>(x), weights, std::int64_t{op.c}, kp, pixels, f.sums);
            continue;
          }
          for (std::int64_t j = 0; j < pixels; ++j) {
            if (!inside[j]) continue;
            const float* same[4] = {x[j], x[j], x[j], x[j]};
            run_best<tap_body>(static_cast<const float* const*>(same), weights, std::int64_t{op.c}, kp, std::int64_t{1}, f.sums + j * kp);
          }
        }
      }
      const std::int64_t at = (row * op.q + q0) * kp;
      for (std::int64_t i = 0; i < pixels * kp; ++i) {
        const float z = f.x[1] ? f.floats_z[at + i] : 0.0f;
        f.sums[i] = host_activate(op, f.sums[i] + z + f.row[i % kp]);
      }
      to_half(f.sums, f.y + at, static_cast<std::size_t>(pixels * kp));
    }
  }
}

void host_depthwise(const TailOp& op, const HostFrame& f) noexcept {
  const TailWindow& w = op.window;
  const std::int64_t cp = f.xt[0]->padded;
  read(f.x[0], f.floats_x, f.xt[0]->frame_elements, op.load_max[0]);
  const std::uint16_t *weights = halves(f.weights, op.weights), *bias = halves(f.weights, op.bias);
  for (std::int64_t o = 0; o < std::int64_t{op.n} * op.p * op.q; ++o) {
    const std::int64_t image = o / (std::int64_t{op.p} * op.q), p = o / op.q % op.p, q = o % op.q;
    std::fill_n(f.sums, cp, 0.0f);
    for (int t = 0; t < w.kernel_h * w.kernel_w; ++t) {
      const std::int64_t r = source(p, w.stride_h, w.pad_top, t / w.kernel_w, w.dilation_h, op.h);
      const std::int64_t s = source(q, w.stride_w, w.pad_left, t % w.kernel_w, w.dilation_w, op.w);
      if (r < 0 || s < 0) continue;
      const float* x = f.floats_x + ((image * op.h + r) * op.w + s) * cp;
      from_half(weights + t * cp, f.row, static_cast<std::size_t>(cp));
      for (std::int64_t c = 0; c < op.c; ++c) f.sums[c] += x[c] * f.row[c];
    }
    for (std::int64_t c = 0; c < cp; ++c) f.sums[c] = c < op.c ? host_activate(op, f.sums[c] + from_half(bias[c])) : 0.0f;
    to_half(f.sums, f.y + o * cp, static_cast<std::size_t>(cp));
  }
}

void host_fc(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t kp = f.yt->padded, in = op.in;
  if (op.kind == TailKind::gap_fc) {
    const std::int64_t cp = f.xt[0]->padded, area = std::int64_t{op.h} * op.w;
    read(f.x[0], f.floats_z, f.xt[0]->frame_elements, op.load_max[0]);
    for (std::int64_t c = 0; c < cp; ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < area; ++i) sum += static_cast<double>(f.floats_z[i * cp + c]);
      f.floats_x[c] = from_half(to_half(static_cast<float>(sum / static_cast<double>(area))));
    }
  } else {
    read(f.x[0], f.floats_x, std::int64_t{op.rows} * in, std::numeric_limits<float>::infinity());
  }
  const std::uint16_t *weights = halves(f.weights, op.weights), *bias = halves(f.weights, op.bias);
  for (std::int64_t k = 0; k < kp; ++k) {
    from_half(weights + k * in, f.row, static_cast<std::size_t>(in));
    for (std::int64_t r = 0; r < op.rows; ++r) {
      float sum = 0;
      run_best<dot_body>(static_cast<const float*>(f.floats_x + r * in), static_cast<const float*>(f.row), in, &sum);
      f.y[r * kp + k] = to_half(k < op.k ? host_activate(op, sum + from_half(bias[k])) : 0.0f);
    }
  }
}

void host_pool(const TailOp& op, const HostFrame& f) noexcept {
  TailWindow w = op.window;
  if (op.kind == TailKind::global_average_pool) {
    w = {};
    w.kernel_h = op.h;
    w.kernel_w = op.w;
  }
  const std::int64_t cp = f.xt[0]->padded, kp = f.yt->padded;
  const bool maximum = op.kind == TailKind::max_pool;
  read(f.x[0], f.floats_x, f.xt[0]->frame_elements, op.load_max[0]);
  for (std::int64_t o = 0; o < std::int64_t{op.n} * op.p * op.q; ++o) {
    const std::int64_t image = o / (std::int64_t{op.p} * op.q), p = o / op.q % op.p, q = o % op.q;
    for (std::int64_t c = 0; c < kp; ++c) {
      float top = std::numeric_limits<float>::lowest();
      double sum = 0;
      std::int64_t inside = 0, padded = 0;
      for (int t = 0; c < op.c && t < w.kernel_h * w.kernel_w; ++t) {
        const std::int64_t y = p * w.stride_h - w.pad_top + std::int64_t{t / w.kernel_w} * w.dilation_h;
        const std::int64_t x = q * w.stride_w - w.pad_left + std::int64_t{t % w.kernel_w} * w.dilation_w;
        padded += y < op.h + w.pad_bottom && x < op.w + w.pad_right;
        if (y < 0 || y >= op.h || x < 0 || x >= op.w) continue;
        const float v = f.floats_x[((image * op.h + y) * op.w + x) * cp + c];
        top = std::max(top, v);
        sum += static_cast<double>(v);
        ++inside;
      }
      const std::int64_t count = std::max<std::int64_t>(1, op.count_include_pad ? padded : inside);
      const float v = maximum ? top : static_cast<float>(sum / static_cast<double>(count));
      f.y[o * kp + c] = to_half(c < op.c ? host_activate(op, v) : 0.0f);
    }
  }
}

}  // namespace splitcnn::inline v0::gpu
