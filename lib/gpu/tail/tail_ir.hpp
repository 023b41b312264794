#pragma once
/// TailProgram: a GPU segment as plain data. What the device executes, what the host executor executes, and
/// nothing else.
///
///     TailProgram program = build_tail(plan, segment);   // tail/build.hpp
///     HostTail oracle{program.view(), 16};               // tail/host_executor.hpp: the same rounding points
///     TailView view = program.view();                    // flat pointers: what crosses the plug-in boundary
///
/// Shapes. Every activation is FP16 in storage order (N,H,W,C for rank 4, row-major otherwise) with the
/// innermost dimension padded to a multiple of 8 elements. THE PAD LANES OF EVERY TENSOR ARE ZERO, always;
/// every op keeps that so (see pad_lanes, clear).
///
/// Frames. A program describes one frame. For a batch of B frames every arena offset is multiplied by B and
/// frame f of a tensor begins f * frame_elements behind the tensor's beginning: one colouring serves all batch
/// sizes. Constants have no frames.
///
/// Rounding. Sums and element functions are computed in f32 (or better) and rounded ONCE, to nearest even,
/// when the op stores y. gap_fc alone stores twice: the mean is rounded to FP16 before the product, as if it
/// were two ops.
///
/// Lanes. At most one op of lane 1 runs at a time, beside ops of lane 0: a device that runs both at once needs
/// a second workspace.
///
/// Units: strides, dims and walk offsets count elements; everything called `bytes` or an arena offset counts
/// bytes. Ownership: a TailProgram is a value. A TailView borrows from it. Nothing here throws or includes CUDA.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace splitcnn::inline v0::gpu {

constexpr std::uint32_t tail_version = 1;  ///< changes with any of the structs below
constexpr std::uint32_t no_tensor = 0xffffffffu;
constexpr std::uint64_t no_data = ~std::uint64_t{0};
constexpr int tail_dims = 8;  ///< Shape::max_rank
constexpr int tail_pad = 8;   ///< innermost dimensions are multiples of this: 16 bytes
constexpr std::size_t tail_alignment =
    256;  ///< of everything in the weight arena and of arena offsets, bytes
constexpr std::uint32_t tail_batches[] = {1, 2, 3,  4,
                                          6, 8, 12, 16};  ///< sizes a device prepares; others are padded up

/// The smallest prepared batch that holds `frames`; 0 when there are more than 16.
constexpr std::uint32_t padded_batch(std::size_t frames) noexcept {
  for (const std::uint32_t b : tail_batches) {
    if (frames <= b) return b;
  }
  return 0;
}

enum class Place : std::uint32_t { arena, weights };
enum class IoType : std::uint32_t { f32, f16, i8 };

struct TailTensor {
  Place place = Place::arena;
  std::int32_t rank = 0;
  std::int32_t dims[tail_dims] = {};  ///< storage order, logical sizes: {N, H, W, C} for rank 4
  std::int32_t strides[tail_dims] =
      {};  ///< of the same dimensions; strides[rank-1] == 1; strides[2] of rank 4 is the pixel stride
  std::int32_t padded = tail_pad;   ///< the innermost dimension with its pad lanes (multiple of 8)
  std::int32_t frame_elements = 0;  ///< distance between frames: one frame with padding (multiple of 8)
  std::uint64_t offset =
      0;  ///< arena: bytes for ONE frame, times the batch (multiple of 256); weights: bytes
  std::uint32_t source =
      no_tensor;  ///< TensorId of the graph it stands for, or no_tensor (intermediate of a pass)
};

/// Steps through a box of elements, last dimension fastest. Dimensions of size 1 are dropped and neighbours
/// merged where that is possible, but the innermost one of y is never merged across pad lanes. rank >= 1.
struct TailWalk {
  std::int32_t rank = 0;
  std::int32_t dims[tail_dims] = {};
  std::int32_t strides[tail_dims] = {};  ///< 0 where the operand is broadcast
  std::int32_t offset = 0;               ///< of the first element, from the beginning of the frame
};

/// One coordinate of a resample op: element offsets of two sources and the weight of the second (0: the first
/// alone).
struct TailTap {
  std::int32_t low = 0, high = 0;
  float weight = 0;
};

enum class TailKind : std::uint32_t {
  entry,  ///< io buffer -> y: y = rn16(v), v = the f32, the f16, or int8 * 2^-fix_point.  walk[0] over the io
          ///< buffer, walk[3] over y
  exit,   ///< x -> io buffer: f32, f16, or int8 = saturate(floor(v * 2^fix_point + 0.5)), NaN -> 0.  walk[0]
          ///< over x, walk[3] over the io buffer
  conv,   ///< y = act(sum w*x + z + bias)  x[0], z = x[1] or no_tensor; act none or relu; canonical order:
          ///< conv, z, bias, act
  depthwise,     ///< y = act(sum w*x + bias)  one filter per channel; any act; also stand-alone affine nodes
                 ///< (1x1)
  fc,            ///< y[row] = act(w . x[row] + bias)  act none or relu; x read as [rows][in], both packed
  gap_fc,        ///< mean over H,W rounded to FP16, then fc
  max_pool,      ///< any act
  average_pool,  ///< any act; divisor as count_include_pad says
  global_average_pool,  ///< to H = W = 1; any act; sum in f32 or better
  elementwise,  ///< y = act(math(x[0], x[1], x[2]))  walk[0..2] over the operands, walk[3] over y, all with
                ///< the same dims
  move,         ///< y[walk[3]] = x[walk[0]], same dims; slice, split, transpose, pad's body, concat's parts
  reshape,  ///< walk[3] over y in storage order; walk[1] (same dims) gives the logical position p; walk[0]
            ///< decodes p over x
  fill,     ///< y[walk[3]] = value
  mean,  ///< y[walk[3]] = act(mean over walk[1] of x[walk[0] + walk[1]]); walk[0] and walk[3] have the same
         ///< dims
  softmax,  ///< along an axis; walk[0] and walk[3] over the other dimensions
  log_softmax,
  lrn,  ///< x / (lrn_bias + alpha * sum of x^2 over [c - before, c + after])^beta along the axis; alpha is
        ///< already divided by size
  resample,  ///< y at (i0, i1, ...) = sum over corners; nearest, linear, gather.  taps[d]: dims[d] TailTaps
             ///< of dimension d of walk[3]
  product,   ///< y[m][n] = alpha * sum_k a[m][k] b[k][n] + beta * c[m][n], over the batch dimensions of
             ///< walk[0..3]
};

enum class TailAct : std::uint32_t {
  none,
  relu,
  clip,
  leaky_relu,
  hard_sigmoid,
  hard_swish
};  ///< parameters act_alpha, act_beta as in Activation
enum class TailMath : std::uint32_t {
  copy,
  add,
  sub,
  mul,
  div,
  prelu,   ///< prelu: x0 < 0 ? x0 * x1 : x0
  affine,  ///< x0 * x1 + x2
  sigmoid,
  tanh,
  exp,
  sqrt,
};

struct TailWindow {
  std::int32_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int32_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
};

struct TailOp {
  TailKind kind = TailKind::move;
  std::uint32_t node =
      0;  ///< NodeId it came from, for reports (entry, exit: the node that writes or first reads it)
  std::uint32_t x[3] = {no_tensor, no_tensor, no_tensor};
  std::uint32_t y = no_tensor;
  std::uint32_t io = 0;  ///< entry: index into inputs; exit: into outputs

  std::uint32_t lane = 0;  ///< 0: the compute stream; 1: the side stream
  std::int32_t wait =
      -1;  ///< index of an earlier op on the OTHER lane that must be complete before this one starts

  TailAct act = TailAct::none;
  float act_alpha = 0, act_beta = 0;
  /// Applied to x[0], x[1] as they are read: min(v, load_max), a ReLU6 sunk into its readers (the value
  /// stored is after the ReLU). +infinity: nothing. Only depthwise, gap_fc, the pools, elementwise and exit
  /// ever have one.
  float load_max[2] = {__builtin_inff(), __builtin_inff()};
  std::int32_t pad_lanes =
      0;  ///< zeros to write behind each innermost run of walk[3] (entry, elementwise, move, reshape, fill)
  std::uint32_t clear =
      0;  ///< 1: set all bytes of y to zero before the op (ops that do not write the pad lanes themselves)

  // conv, depthwise, fc, gap_fc, pools. conv and pools: x[0] is {n, h, w, c}, y is {n, p, q, k}; rank-2
  // affine ops: h = w = 1.
  TailWindow window;
  std::int32_t groups = 1;  ///< conv only; > 1: weights are [k][R][S][c / groups] without padding
  std::int32_t n = 1, h = 1, w = 1, c = 1, p = 1, q = 1, k = 1;  ///< logical sizes; n is per frame
  std::int32_t rows = 1,
               in = 0;  ///< fc, gap_fc: rows per frame, elements per row WITH padding (gap_fc: padded c)
  std::uint32_t count_include_pad = 0;
  /// In the weight arena, FP16. conv: [k padded][R][S][c padded]; depthwise: [R * S][c padded]; fc, gap_fc:
  /// [k padded][in]. Zeros in the pads.
  std::uint64_t weights = no_data, bias = no_data;  ///< bias: [k padded]; always there
  std::uint64_t weights_bytes = 0;

  TailMath math = TailMath::copy;
  TailWalk walk[4];                                 ///< x[0], x[1], x[2], y
  float value = 0;                                  ///< fill
  std::int32_t axis_n = 0, axis_x = 0, axis_y = 0;  ///< softmax, lrn: length and strides of the axis
  std::int32_t lrn_before = 0, lrn_after = 0;
  float alpha = 1, beta = 0, lrn_bias = 0;  ///< lrn, product
  std::uint64_t taps[tail_dims] = {};       ///< resample: byte offsets of the tables in the weight arena
  std::int32_t pm = 0, pn = 0, pk = 0;      ///< product: sizes and strides
  std::int32_t a_m = 0, a_k = 0, b_k = 0, b_n = 0, c_m = 0, c_n = 0, y_m = 0, y_n = 0;
};

/// A tensor at the segment's edge, as the stage's neighbours see it: packed, one frame behind the other.
struct TailIo {
  IoType type = IoType::f32;
  std::int32_t fix_point = 0;
  std::uint32_t tensor = no_tensor;  ///< the arena tensor an entry op writes or an exit op reads
  std::uint64_t frame_bytes = 0;
};

/// Ops [first, last) that fit one thread block's shared memory together (conv, pools, fc of a LeNet-sized
/// tail, lane 0 only, entry and exit excluded): a device may run them as one kernel. Results are the same
/// bytes either way.
struct TailGroup {
  std::uint32_t first = 0, last = 0;
  std::uint32_t shared_bytes = 0;  ///< all activations of one frame, each rounded up to 16 bytes
};

/// What crosses the plug-in boundary: pointers into a TailProgram, valid during the call.
struct TailView {
  std::uint32_t version = tail_version;
  std::uint32_t op_bytes = sizeof(TailOp);
  const TailTensor* tensors = nullptr;
  std::uint64_t n_tensors = 0;
  const TailOp* ops = nullptr;
  std::uint64_t n_ops = 0;
  const TailIo* inputs = nullptr;
  std::uint64_t n_inputs = 0;
  const TailIo* outputs = nullptr;
  std::uint64_t n_outputs = 0;
  const TailGroup* groups = nullptr;
  std::uint64_t n_groups = 0;
  const std::byte* weights = nullptr;
  std::uint64_t weights_bytes = 0;
  std::uint64_t arena_bytes = 0;            ///< for one frame; B frames need B times as much
  const char* const* node_names = nullptr;  ///< of each op, for messages
  std::uint64_t hash = 0;  ///< over everything above but names: the graph part of a plan cache key
};

struct TailProgram {
  std::vector<TailTensor> tensors;
  std::vector<TailOp> ops;              ///< in an order in which lane 0 alone computes the right thing
  std::vector<TailIo> inputs, outputs;  ///< in the order of Stage::inputs() and outputs()
  std::vector<TailGroup> groups;
  std::vector<std::byte> weights;  ///< the packed arena: 256-byte aligned pieces
  std::uint64_t arena_bytes = 0;
  std::uint64_t hash = 0;
  std::vector<std::string> names;          ///< node name per op
  std::vector<const char*> name_pointers;  ///< into names; refreshed by view()

  /// Borrows; dies with the program or its next change.
  [[nodiscard]] TailView view() {
    name_pointers.clear();
    for (const std::string& s : names) name_pointers.push_back(s.c_str());
    return {.tensors = tensors.data(),
            .n_tensors = tensors.size(),
            .ops = ops.data(),
            .n_ops = ops.size(),
            .inputs = inputs.data(),
            .n_inputs = inputs.size(),
            .outputs = outputs.data(),
            .n_outputs = outputs.size(),
            .groups = groups.data(),
            .n_groups = groups.size(),
            .weights = weights.data(),
            .weights_bytes = weights.size(),
            .arena_bytes = arena_bytes,
            .node_names = name_pointers.data(),
            .hash = hash};
  }
};

}  // namespace splitcnn::inline v0::gpu
