// The ops that walk through boxes of elements.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/convert.hpp"
#include "core/half.hpp"
#include "gpu/tail/host_ops.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

std::int64_t elements(const TailWalk& walk) {
  std::int64_t n = 1;
  for (int d = 0; d < walk.rank; ++d) n *= walk.dims[d];
  return n;
}

/// Where element i of a walk lies.
std::int64_t place(const TailWalk& walk, std::int64_t i) {
  std::int64_t at = walk.offset;
  for (int d = walk.rank; d-- > 0; i /= walk.dims[d]) at += i % walk.dims[d] * walk.strides[d];
  return at;
}

/// After element i of walk[3]: the pad lanes, when it ends an innermost run.
template <class T>
void pad(const TailOp& op, std::int64_t i, std::int64_t at, T* y) {
  const TailWalk& walk = op.walk[3];
  if (op.pad_lanes == 0 || (i + 1) % walk.dims[walk.rank - 1] != 0) return;
  for (int lane = 1; lane <= op.pad_lanes; ++lane) y[at + lane] = 0;
}

float load(const TailOp& op, const HostFrame& f, std::size_t operand, std::int64_t i) {
  const float v = from_half(f.x[operand][place(op.walk[operand], i)]);
  const float limit = operand < 2 ? op.load_max[operand] : std::numeric_limits<float>::infinity();
  return std::isfinite(limit) ? std::min(v, from_half(to_half(limit))) : v;
}

float element(TailMath math, float a, float b, float c) {
  switch (math) {
    case TailMath::copy: return a;
    case TailMath::add: return a + b;
    case TailMath::sub: return a - b;
    case TailMath::mul: return a * b;
    case TailMath::div: return a / b;
    case TailMath::prelu: return a < 0 ? a * b : a;
    case TailMath::affine: return a * b + c;
    case TailMath::sigmoid: return 1.0f / (1.0f + std::exp(-a));
    case TailMath::tanh: return std::tanh(a);
    case TailMath::exp: return std::exp(a);
    case TailMath::sqrt: return std::sqrt(a);
  }
  return a;
}

}  // namespace

void host_entry(const TailOp& op, const TailIo& io, const HostFrame& f) noexcept {
  const float unit = std::ldexp(1.0f, -io.fix_point);
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t from = place(op.walk[0], i), to = place(op.walk[3], i);
    switch (io.type) {
      case IoType::f32: f.y[to] = to_half(reinterpret_cast<const float*>(f.in)[from]); break;
      case IoType::f16: f.y[to] = reinterpret_cast<const std::uint16_t*>(f.in)[from]; break;
      case IoType::i8: f.y[to] = to_half(static_cast<float>(reinterpret_cast<const std::int8_t*>(f.in)[from]) * unit); break;
    }
    pad(op, i, to, f.y);
  }
}

void host_exit(const TailOp& op, const TailIo& io, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[0]);
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = load(op, f, 0, i);
    const std::int64_t to = place(op.walk[3], i);
    switch (io.type) {
      case IoType::f32: reinterpret_cast<float*>(f.out)[to] = v; break;
      case IoType::f16: reinterpret_cast<std::uint16_t*>(f.out)[to] = to_half(v); break;
      case IoType::i8:
        reinterpret_cast<std::int8_t*>(f.out)[to] = round_half_up_to_i8(std::ldexp(static_cast<double>(v), io.fix_point));
        break;
    }
  }
}

void host_elementwise(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const float a = load(op, f, 0, i), b = f.x[1] ? load(op, f, 1, i) : 0, c = f.x[2] ? load(op, f, 2, i) : 0;
    const std::int64_t to = place(op.walk[3], i);
    f.y[to] = to_half(host_activate(op, element(op.math, a, b, c)));
    pad(op, i, to, f.y);
  }
}

void host_move(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t to = place(op.walk[3], i);
    f.y[to] = f.x[0][place(op.walk[0], i)];
    pad(op, i, to, f.y);
  }
}

void host_reshape(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t to = place(op.walk[3], i);
    f.y[to] = f.x[0][place(op.walk[0], place(op.walk[1], i))];
    pad(op, i, to, f.y);
  }
}

void host_fill(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t to = place(op.walk[3], i);
    f.y[to] = to_half(op.value);
    pad(op, i, to, f.y);
  }
}

void host_mean(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]), count = elements(op.walk[1]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t* x = f.x[0] + place(op.walk[0], i);
    double sum = 0;
    for (std::int64_t k = 0; k < count; ++k) sum += static_cast<double>(from_half(x[place(op.walk[1], k)]));
    f.y[place(op.walk[3], i)] = to_half(host_activate(op, static_cast<float>(sum / static_cast<double>(count))));
  }
}

void host_softmax(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t* x = f.x[0] + place(op.walk[0], i);
    std::uint16_t* y = f.y + place(op.walk[3], i);
    const auto at = [&](std::int64_t k) { return static_cast<double>(from_half(x[k * op.axis_x])); };
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t k = 0; k < op.axis_n; ++k) top = std::max(top, at(k));
    for (std::int64_t k = 0; k < op.axis_n; ++k) sum += std::exp(at(k) - top);
    for (std::int64_t k = 0; k < op.axis_n; ++k) {
      const double v = op.kind == TailKind::softmax ? std::exp(at(k) - top) / sum : at(k) - top - std::log(sum);
      y[k * op.axis_y] = to_half(static_cast<float>(v));
    }
  }
}

void host_lrn(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t n = elements(op.walk[3]);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t* x = f.x[0] + place(op.walk[0], i);
    std::uint16_t* y = f.y + place(op.walk[3], i);
    const auto at = [&](std::int64_t k) { return from_half(x[k * op.axis_x]); };
    for (std::int64_t c = 0; c < op.axis_n; ++c) {
      float squares = 0;
      for (std::int64_t k = std::max<std::int64_t>(0, c - op.lrn_before); k <= std::min<std::int64_t>(op.axis_n - 1, c + op.lrn_after); ++k)
        squares += at(k) * at(k);
      y[c * op.axis_y] = to_half(at(c) / std::pow(op.lrn_bias + op.alpha * squares, op.beta));
    }
  }
}

void host_resample(const TailOp& op, const HostFrame& f) noexcept {
  const TailWalk& walk = op.walk[3];
  const std::int64_t n = elements(walk);
  for (std::int64_t i = 0; i < n; ++i) {
    const TailTap* taps[tail_dims];
    std::int64_t rest = i, base = 0;
    int split = 0;
    for (int d = walk.rank; d-- > 0; rest /= walk.dims[d]) {
      const TailTap* tap = reinterpret_cast<const TailTap*>(f.weights + op.taps[d]) + rest % walk.dims[d];
      base += tap->low;
      if (tap->weight != 0) taps[split++] = tap;
    }
    float sum = 0;
    for (int corner = 0; corner < 1 << split; ++corner) {
      float weight = 1;
      std::int64_t at = base;
      for (int d = 0; d < split; ++d) {
        const bool high = (corner >> d & 1) != 0;
        weight *= high ? taps[d]->weight : 1 - taps[d]->weight;
        if (high) at += taps[d]->high - taps[d]->low;
      }
      const float v = from_half(f.x[0][at]);
      sum = split == 0 ? v : sum + weight * v;
    }
    f.y[place(walk, i)] = to_half(sum);
  }
}

void host_product(const TailOp& op, const HostFrame& f) noexcept {
  const std::int64_t batch = elements(op.walk[3]);
  for (std::int64_t i = 0; i < batch; ++i) {
    const std::uint16_t *a = f.x[0] + place(op.walk[0], i), *b = f.x[1] + place(op.walk[1], i);
    std::uint16_t* y = f.y + place(op.walk[3], i);
    for (std::int64_t m = 0; m < op.pm; ++m) {
      for (std::int64_t n = 0; n < op.pn; ++n) {
        float sum = 0;
        for (std::int64_t k = 0; k < op.pk; ++k) sum += from_half(a[m * op.a_m + k * op.a_k]) * from_half(b[k * op.b_k + n * op.b_n]);
        float v = op.alpha * sum;
        if (f.x[2]) v += op.beta * from_half(f.x[2][m * op.c_m + n * op.c_n]);
        y[m * op.y_m + n * op.y_n] = to_half(v);
      }
    }
  }
}

}  // namespace splitcnn::inline v0::gpu
