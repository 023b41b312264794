#include "cpu/onednn_ops.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/arena.hpp"
#include "core/onednn.hpp"
#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"

namespace splitcnn::inline v0::cpu {

using dnnl::memory;
using Desc = memory::desc;
using Dims = memory::dims;
using Tag = memory::format_tag;

struct OneDnn::Impl {
  dnnl::engine engine = onednn::cpu_engine();
  dnnl::stream stream{engine};
  Arena weights;
  Arena scratch;  // what the primitives use between their steps: one for all, they run one after another
  std::size_t scratch_bytes = 0;
  std::vector<memory> scratches;  // their views of it

  memory wrap(const Desc& desc, const float* data) const { return {desc, engine, const_cast<float*>(data)}; }

  /// Weights in the order the primitive wants; copied even where that is the given one, since the source goes
  /// away.
  memory pack(const Desc& given, const float* data, const Desc& wanted) {
    memory packed{wanted, engine, weights.take(wanted.get_size())};
    memory from = wrap(given, data);
    dnnl::reorder{from, packed}.execute(stream, from, packed);
    stream.wait();
    return packed;
  }
};

namespace {

Desc desc(const Dims& dims, Tag tag) { return {dims, memory::data_type::f32, tag}; }

/// A primitive with its arguments laid out once: the C call needs no containers.
class Call {
 public:
  Call(dnnl::primitive primitive, dnnl_stream_t stream) : primitive_{std::move(primitive)}, stream_{stream} {}

  void add(int argument, memory value) {
    kept_[count_] = std::move(value);
    arguments_[count_] = {argument, kept_[count_].get()};
    ++count_;
  }

  void operator()() const noexcept {
    // Fails only for arguments that do not fit, which building has ruled out.
    dnnl_primitive_execute(primitive_.get(), stream_, count_, arguments_.data());
    dnnl_stream_wait(stream_);
  }

 private:
  dnnl::primitive primitive_;
  dnnl_stream_t stream_;
  std::array<memory, 5> kept_;
  std::array<dnnl_exec_arg_t, 5> arguments_{};
  int count_ = 0;
};

/// True when the activation rides on the primitive; the others get a pass of their own.
bool attach(const Activation& activation, onednn::Attributes& attributes) {
  using Kind = Activation::Kind;
  using A = dnnl::algorithm;
  switch (activation.kind) {
    case Kind::none:
      return true;
    case Kind::relu:
      attributes.append_eltwise(A::eltwise_relu, 0.0f, 0.0f);
      return true;
    case Kind::clip:
      attributes.append_eltwise(A::eltwise_clip, activation.alpha, activation.beta);
      return true;
    case Kind::leaky_relu:
      attributes.append_eltwise(A::eltwise_relu, activation.alpha, 0.0f);
      return true;
    case Kind::hard_sigmoid:
    case Kind::hard_swish:
      return false;
  }
  return false;
}

/// Given weights as LoweredOp has them, wanted weights as the primitive likes them.
dnnl::convolution_forward::primitive_desc convolution(const onednn::Attributes& attributes,
                                                      const LoweredOp& op, const Shape& in, const Shape& out,
                                                      Desc& given) {
  const Window& w = op.window;
  const memory::dim groups = op.groups, inputs = op.in_channels / groups, outputs = op.out_channels / groups;
  const Dims grouped{groups, outputs, inputs, w.kernel_h, w.kernel_w};
  const Dims plain{outputs, inputs, w.kernel_h, w.kernel_w};
  given = groups > 1 ? desc(grouped, Tag::gohwi) : desc(plain, Tag::ohwi);
  return onednn::describe({.source = desc({in[0], in[1], in[2], in[3]}, Tag::nhwc),
                           .weights = groups > 1 ? desc(grouped, Tag::any) : desc(plain, Tag::any),
                           .bias = desc({op.out_channels}, Tag::x),
                           .destination = desc({out[0], out[1], out[2], out[3]}, Tag::nhwc),
                           .strides = {w.stride_h, w.stride_w},
                           .dilations = {w.dilation_h, w.dilation_w},
                           .pad_before = {w.pad_top, w.pad_left},
                           .pad_after = {w.pad_bottom, w.pad_right}},
                          attributes);
}

/// As rows times a matrix: never slower than a 1x1 convolution, faster for several rows and for large
/// kernels.
dnnl::inner_product_forward::primitive_desc dense(const onednn::Attributes& attributes, const LoweredOp& op,
                                                  Desc& given) {
  const memory::dim k = memory::dim{op.in_channels} * op.window.kernel_h * op.window.kernel_w;
  given = desc({op.out_channels, k}, Tag::oi);
  return onednn::describe_inner_product(desc({op.dense_rows, k}, Tag::nc),
                                        desc({op.out_channels, k}, Tag::any), desc({op.out_channels}, Tag::x),
                                        desc({op.dense_rows, op.out_channels}, Tag::nc), attributes);
}

/// Rows of a matrix product: [batch] matrices with broadcasting in front.
struct Product {
  const float *a = nullptr, *b = nullptr;
  float* y = nullptr;
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1;
  std::vector<std::array<std::int64_t, 2>> offsets;  // of a and b, per matrix of the output

  void operator()() const noexcept {
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a + offsets[i][0],
                 transpose_a ? m : k, b + offsets[i][1], transpose_b ? k : n, 0.0f,
                 y + static_cast<std::int64_t>(i) * m * n, n);
    }
  }
};

/// A copy of a rank-4 operand in row-major order; other ranks are that already.
struct RowMajor {
  std::vector<float> values;
  std::optional<BoxCopy> copy;

  explicit RowMajor(const Shape& shape) {
    if (shape.rank() != 4) return;
    values.resize(static_cast<std::size_t>(shape.elements()));
    copy.emplace(shape, storage_strides(shape), row_major_strides(shape));
  }
};

/// Offset of the i-th matrix of the output in an operand that broadcasts to it.
std::int64_t matrix_offset(const Shape& operand, const Shape& out, std::int64_t i) {
  const Strides strides = row_major_strides(operand);
  std::int64_t offset = 0;
  for (std::size_t d = out.rank() - 2; d-- > 0;) {
    const std::int64_t at = i % out[d];
    i /= out[d];
    const std::size_t missing = out.rank() - operand.rank();
    if (d >= missing && operand[d - missing] != 1) offset += at * strides[d - missing];
  }
  return offset;
}

}  // namespace

OneDnn::OneDnn() : impl_{std::make_unique<Impl>()} {}
OneDnn::OneDnn(OneDnn&&) noexcept = default;
OneDnn& OneDnn::operator=(OneDnn&&) noexcept = default;
OneDnn::~OneDnn() = default;

Step OneDnn::make_conv(const OpContext& context) {
  LoweredOp& op = *context.op;
  onednn::Attributes attributes;
  const bool attached = attach(op.activation, attributes);
  const auto finish_step = [&](const auto& pd, auto primitive, const Desc& weights) -> Step {
    Call call{std::move(primitive), impl_->stream.get()};
    call.add(DNNL_ARG_SRC, impl_->wrap(pd.src_desc(), context.in[0].data));
    call.add(DNNL_ARG_WEIGHTS, impl_->pack(weights, op.weights.data(), pd.weights_desc()));
    call.add(DNNL_ARG_BIAS, impl_->pack(desc({op.out_channels}, Tag::x), op.bias.data(), pd.bias_desc()));
    call.add(DNNL_ARG_DST, impl_->wrap(pd.dst_desc(), context.out[0].data));
    if (const std::size_t bytes = pd.scratchpad_desc().get_size(); bytes > 0) {
      impl_->scratch_bytes = std::max(impl_->scratch_bytes, bytes);
      impl_->scratches.push_back({pd.scratchpad_desc(), impl_->engine, DNNL_MEMORY_NONE});
      call.add(DNNL_ARG_SCRATCHPAD, impl_->scratches.back());
    }
    if (attached) return call;
    return [call, activation = op.activation, y = context.out[0].data, n = context.out[0].shape.elements()] {
      call();
      activate(activation, y, y, n);
    };
  };
  try {
    Desc weights;
    if (op.dense) {
      const auto pd = dense(attributes, op, weights);
      return finish_step(pd, dnnl::inner_product_forward{pd}, weights);
    }
    const auto pd = convolution(attributes, op, context.in[0].shape, context.out[0].shape, weights);
    return finish_step(pd, dnnl::convolution_forward{pd}, weights);
  } catch (const dnnl::error& e) {
    throw Error{Errc::unsupported,
                fmt::format("node '{}' ({}): oneDNN {}.{} cannot run it: {}; use the reference executor",
                            context.node->name, to_string(context.node->op), dnnl_version()->major,
                            dnnl_version()->minor, e.what())};
  }
}

void OneDnn::expect(std::size_t weight_bytes) { impl_->weights = Arena{weight_bytes}; }

void OneDnn::finish() {
  if (impl_->scratch_bytes == 0) return;
  std::byte* const scratch = impl_->scratch.take(impl_->scratch_bytes);
  for (memory& view : impl_->scratches) view.set_data_handle(scratch);
}

Step OneDnn::make_product(const OpContext& context) {
  const Node& node = *context.node;
  const bool gemm = node.op == Op::gemm;
  const Operand &a = context.in[0], &b = context.in[1], &out = context.out[0];
  Product product{.transpose_a = gemm && node.transpose_a,
                  .transpose_b = gemm && node.transpose_b,
                  .alpha = gemm ? node.alpha : 1.0f};
  product.m = out.shape[out.shape.rank() - 2];
  product.n = out.shape.back();
  product.k = product.transpose_a ? a.shape[0] : a.shape.back();
  const std::int64_t matrices =
      product.m * product.n == 0 ? 0 : out.shape.elements() / (product.m * product.n);
  for (std::int64_t i = 0; i < matrices; ++i) {
    product.offsets.push_back({matrix_offset(a.shape, out.shape, i), matrix_offset(b.shape, out.shape, i)});
  }
  Step bias = [] {};
  if (gemm && context.in.size() == 3) {
    const Operand& c = context.in[2];
    auto c_scaled = std::make_shared<std::vector<float>>(static_cast<std::size_t>(c.shape.elements()));
    auto sum_node = std::make_shared<Node>(Node{.op = Op::add});
    LoweredOp add;  // without activation
    const Step sum = make_binary(
        {.node = sum_node.get(), .op = &add, .in = {out, {c_scaled->data(), c.shape}}, .out = {out}});
    bias = [c_scaled, sum_node, sum, from = c.data, n = c.shape.elements(), beta = node.beta] {
      scale_shift(from, c_scaled->data(), n, beta, 0.0f);
      sum();
    };
  }
  return [product, bias, a = RowMajor{a.shape}, b = RowMajor{b.shape}, y = RowMajor{out.shape},
          store = BoxCopy{out.shape, row_major_strides(out.shape), storage_strides(out.shape)},
          from_a = a.data, from_b = b.data, to = out.data]() mutable {
    const auto read = [](RowMajor& operand, const float* from) -> const float* {
      if (!operand.copy) return from;
      (*operand.copy)(from, operand.values.data());
      return operand.values.data();
    };
    product.a = read(a, from_a);
    product.b = read(b, from_b);
    product.y = y.copy ? y.values.data() : to;
    product();
    if (y.copy) store(y.values.data(), to);
    bias();
  };
}

}  // namespace splitcnn::inline v0::cpu
