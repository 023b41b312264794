#pragma once
/// Bodies of the ops that walk through boxes of elements: entry and exit conversions, elementwise, move,
/// reshape, fill, mean. Where rows are contiguous and padded to 8 there is a second body that takes
/// eight lanes at a time.
#include "gpu/cuda/kernels/math.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// Which frame, and what is left of the index.
struct Frames {
  FastDiv by_elements;      ///< per frame
  std::uint32_t total = 0;  ///< over all frames

  SPLITCNN_BOTH std::int32_t split(std::uint32_t& i) const {
    const std::uint32_t frame = by_elements.quotient(i);
    i -= frame * by_elements.divisor;
    return static_cast<std::int32_t>(frame);
  }
};

/// What a body's number of a thread means: an element of some frame, and where N operands have it.
template <int N>
struct FrameWalks {
  Walks<N> walks;
  Frames frames;
  std::int32_t frame[N] = {};  ///< elements between an operand's frames

  struct Spot {
    std::uint32_t i;  ///< within the frame
    std::int32_t frame;
    std::int32_t at[N];  ///< in each operand, from its first frame
  };
  SPLITCNN_BOTH Spot spot(std::uint32_t i) const {
    Spot s;
    s.frame = frames.split(i);
    s.i = i;
    walks.at(i, s.at);
    for (int o = 0; o < N; ++o) s.at[o] += s.frame * frame[o];
    return s;
  }
};

/// Zeros behind a run of y.
struct PadLanes {
  FastDiv run;  ///< length of the innermost dimension
  std::int32_t lanes = 0;

  SPLITCNN_BOTH void operator()(std::uint32_t i, std::uint16_t* at) const {
    if (lanes == 0 || run.quotient(i + 1) * run.divisor != i + 1) return;
    for (std::int32_t l = 1; l <= lanes; ++l) at[l] = 0;
  }
};

/// v * 2^fix_point, half up, saturating; NaN is 0. Exact: v has 11 significant bits.
SPLITCNN_BOTH std::int8_t to_i8(float v, float scale) {
  if (v != v) return 0;
  const float r = floorf(v * scale + 0.5f);
  return static_cast<std::int8_t>(r < -128.0f ? -128.0f : (127.0f < r ? 127.0f : r));
}

template <class T>
SPLITCNN_BOTH std::uint16_t entered(T v, float unit);
template <>
SPLITCNN_BOTH std::uint16_t entered(float v, float) {
  return to_bits(v);
}
template <>
SPLITCNN_BOTH std::uint16_t entered(std::uint16_t v, float) {
  return v;
}
template <>
SPLITCNN_BOTH std::uint16_t entered(std::int8_t v, float unit) {
  return to_bits(static_cast<float>(v) * unit);
}

SPLITCNN_BOTH void leave(float* to, float v, float) { *to = v; }
SPLITCNN_BOTH void leave(std::uint16_t* to, float v, float) { *to = to_bits(v); }
SPLITCNN_BOTH void leave(std::int8_t* to, float v, float scale) { *to = to_i8(v, scale); }

/// io buffer (operand 0) -> y (operand 1), any layout; one element a thread.
template <class T>
struct EntryBody : FrameWalks<2> {
  static constexpr int threads = 256, phases = 1;
  const T* in = nullptr;
  std::uint16_t* y = nullptr;
  PadLanes pad;
  float unit = 1;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    std::uint16_t* to = y + s.at[1];
    *to = entered<T>(in[s.at[0]], unit);
    pad(s.i, to);
  }
};

/// The same for rows of c values, dense on one side and padded to cp on the other; eight lanes a thread.
template <class T>
struct EntryRowsBody {
  static constexpr int threads = 256, phases = 1;
  std::int32_t c = 8;
  const T* in = nullptr;
  std::uint16_t* y = nullptr;
  FastDiv by_c8;
  std::uint32_t total = 0;
  float unit = 1;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t i = t.global<threads>();
    if (i >= total) return;
    std::uint32_t row = i;
    const auto first = static_cast<std::int32_t>(by_c8.split(row)) * 8;
    struct alignas(8 * sizeof(T) > 16 ? 16 : 8 * sizeof(T)) Eight {
      T v[8];
    };
    const T* from = in + static_cast<std::int32_t>(row) * c + first;
    Eight e{};
    if (c % 8 == 0) {  // the call sees to the alignment
      e = *reinterpret_cast<const Eight*>(from);
    } else {
      for (int l = 0; l < 8; ++l) {
        if (first + l < c) e.v[l] = from[l];
      }
    }
    Half8 h;
    for (int l = 0; l < 4; ++l)
      h.word[l] =
          std::uint32_t{entered<T>(e.v[2 * l], unit)} | std::uint32_t{entered<T>(e.v[2 * l + 1], unit)} << 16;
    store8(y + i * 8, h);
  }
};

/// x (operand 0) -> io buffer (operand 1).
template <class T>
struct ExitBody : FrameWalks<2> {
  static constexpr int threads = 256, phases = 1;
  const std::uint16_t* x = nullptr;
  T* out = nullptr;
  float scale = 1, load_max = 0;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    leave(out + s.at[1], at_most(from_bits(x[s.at[0]]), load_max), scale);
  }
};

SPLITCNN_BOTH float compute(TailMath math, float a, float b, float c) {
  switch (math) {
    case TailMath::copy:
      return a;
    case TailMath::add:
      return a + b;
    case TailMath::sub:
      return a - b;
    case TailMath::mul:
      return a * b;
    case TailMath::div:
      return a / b;
    case TailMath::prelu:
      return a < 0 ? a * b : a;
    case TailMath::affine:
      return a * b + c;
    case TailMath::sigmoid:
      return 1.0f / (1.0f + expf(-a));
    case TailMath::tanh:
      return tanhf(a);
    case TailMath::exp:
      return expf(a);
    case TailMath::sqrt:
      return sqrtf(a);
  }
  return a;
}

/// y = act(math(x0, x1, x2)); operands 0..2 and y (3). One element a thread.
struct ElementwiseBody : FrameWalks<4> {
  static constexpr int threads = 256, phases = 1;
  const std::uint16_t* x[3] = {};
  std::uint16_t* y = nullptr;
  PadLanes pad;
  TailMath math = TailMath::copy;
  Act act;
  float load_max[2] = {};

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    const float a = at_most(from_bits(x[0][s.at[0]]), load_max[0]);
    const float b = x[1] ? at_most(from_bits(x[1][s.at[1]]), load_max[1]) : 0.0f;
    const float c = x[2] ? from_bits(x[2][s.at[2]]) : 0.0f;
    std::uint16_t* to = y + s.at[3];
    *to = to_bits(act(compute(math, a, b, c)));
    pad(s.i, to);
  }
};

/// The same, eight lanes of a run a thread. An operand's run is contiguous, or one value for all lanes.
struct Elementwise8Body : FrameWalks<4> {  // the innermost dimension counts groups of eight
  static constexpr int threads = 128, phases = 1;
  std::int32_t splat[3] = {};
  const std::uint16_t* x[3] = {};
  std::uint16_t* y = nullptr;
  FastDiv by_groups;   ///< groups per run
  std::int32_t c = 8;  ///< lanes of a run that are not padding
  TailMath math = TailMath::copy;
  Act act;
  float load_max[2] = {};

  SPLITCNN_BOTH Half8 operand(int o, std::int32_t at) const {
    if (!splat[o]) return load8(x[o] + at);
    const std::uint32_t one = x[o][at], two = one | one << 16;
    return {{two, two, two, two}};
  }
  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    const std::int32_t lane =
        static_cast<std::int32_t>(s.i - by_groups.quotient(s.i) * by_groups.divisor) * 8;
    const Half8 none{};
    const Half8 a = operand(0, s.at[0]), b = x[1] ? operand(1, s.at[1]) : none,
                d = x[2] ? operand(2, s.at[2]) : none;
    float v[8];
    for (int l = 0; l < 8; ++l) {
      const float r =
          act(compute(math, at_most(a[l], load_max[0]), x[1] ? at_most(b[l], load_max[1]) : 0.0f, d[l]));
      v[l] = lane + l < c ? r : 0.0f;
    }
    store8(y + s.at[3], Half8::of(v));
  }
};

/// y = x, operands x (0) and y (1); `lanes` elements a thread (1 or 8).
template <int lanes>
struct MoveBody : FrameWalks<2> {
  static constexpr int threads = 256, phases = 1;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;
  PadLanes pad;  ///< of single elements

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    const std::uint16_t* from = x + s.at[0];
    std::uint16_t* to = y + s.at[1];
    if constexpr (lanes == 8) {
      store8(to, load8(from));
    } else {
      *to = *from;
      pad(s.i, to);
    }
  }
};

/// y in storage order (operand 0) with the logical position (operand 1), which another walk finds in x.
struct ReshapeBody : FrameWalks<2> {
  static constexpr int threads = 256, phases = 1;
  Walks<1> from_walk;
  std::int32_t frame_in = 0;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;
  PadLanes pad;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    std::int32_t from[1];
    from_walk.at(static_cast<std::uint32_t>(s.at[1]), from);
    std::uint16_t* to = y + s.at[0];
    *to = x[s.frame * frame_in + from[0]];
    pad(s.i, to);
  }
};

struct FillBody : FrameWalks<1> {
  static constexpr int threads = 256, phases = 1;
  std::uint16_t* y = nullptr;
  std::uint16_t value = 0;
  PadLanes pad;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    std::uint16_t* to = y + s.at[0];
    *to = value;
    pad(s.i, to);
  }
};

/// One mean a thread: operands x (0) and y (1), and a walk over what is averaged.
struct MeanBody : FrameWalks<2> {
  static constexpr int threads = 64, phases = 1;
  Walks<1> over;
  const std::uint16_t* x = nullptr;
  std::uint16_t* y = nullptr;
  Act act;

  template <int phase>
  SPLITCNN_BOTH void run(const Thread& t) const {
    const std::uint32_t n = t.global<threads>();
    if (n >= frames.total) return;
    const Spot s = spot(n);
    std::int32_t inner[1];
    const std::uint16_t* from = x + s.at[0];
    float sum = 0, lost = 0;  // what rounding took from the sum (Kahan)
    for (std::uint32_t k = 0; k < over.elements; ++k) {
      over.at(k, inner);
      const float v = from_bits(from[inner[0]]) - lost, next = sum + v;
      lost = next - sum - v;
      sum = next;
    }
    y[s.at[1]] = to_bits(act(sum / static_cast<float>(over.elements)));
  }
};

}  // namespace splitcnn::inline v0::gpu::cuda
