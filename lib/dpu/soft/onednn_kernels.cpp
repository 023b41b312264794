#include "dpu/soft/onednn_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/onednn.hpp"
#include "dpu/soft/simd.hpp"

namespace splitcnn::inline v0::soft {

namespace {

using dnnl::memory;
using DataType = memory::data_type;
using Tag = memory::format_tag;

constexpr std::int64_t exact_f32 = std::int64_t{1} << 24;  // integers up to here are floats

/// The finest unit of sum + bias * 2^shift_bias, as an exponent.
int unit_exponent(const ConvSpec& spec) { return std::min(spec.shift_bias(), 0); }

/// Whether one pass of oneDNN in f32 rounds exactly as the DPU does. With u the unit's exponent and everything below 2^(23+u)
/// every sum + bias + 2^(u-1) is a float. Above that the result saturates on both sides when 2^(23+u-shift_cut) >= 128, and f32 rounding,
/// being monotonic, keeps it there. The bias alone must be a float including the half unit.
bool direct_is_exact(const ConvSpec& spec) {
  const bool clamp = spec.nonlinear == Nonlinear::none || spec.nonlinear == Nonlinear::relu || spec.nonlinear == Nonlinear::relu6;
  const int u = unit_exponent(spec);
  if (!clamp || u < -20 || std::abs(spec.shift_cut()) > 60 || spec.shift_bias() > 20) return false;
  double bias = 0;
  for (const std::int8_t b : spec.bias) bias = std::max(bias, std::abs(b * power_of_two(spec.shift_bias())));
  const double limit = power_of_two(23 + u);
  if (bias >= limit) return false;
  return spec.shift_cut() - u <= 16 || static_cast<double>(largest_sum(spec)) + bias < limit;
}

memory::desc nhwc(const Extent& e, DataType type) { return {{e.n, e.c, e.h, e.w}, type, Tag::nhwc}; }

onednn::ConvolutionDesc describe_conv(const ConvSpec& s, DataType source, DataType weights, DataType destination, bool bias) {
  const Window& w = s.window;
  const std::int64_t ig = s.in.c / s.groups, og = s.out.c / s.groups;
  const memory::dims dims = s.groups == 1 ? memory::dims{s.out.c, s.in.c, w.kernel_h, w.kernel_w}
                                          : memory::dims{s.groups, og, ig, w.kernel_h, w.kernel_w};
  return {.source = nhwc(s.in, source),
          .weights = {dims, weights, Tag::any},
          .bias = bias ? memory::desc{{s.out.c}, DataType::f32, Tag::x} : memory::desc{},
          .destination = nhwc(s.out, destination),
          .strides = {w.stride_h, w.stride_w},
          .dilations = {w.dilation_h, w.dilation_w},
          .pad_before = {w.pad_top, w.pad_left},
          .pad_after = {w.pad_bottom, w.pad_right}};
}

/// The strided 1x1 kernel of oneDNN 2.6 for AVX2 gives wrong bytes now and then with two threads (seen by the long sweep: four in 120 runs, always
/// this kernel, not repeatable). The pixels it would read, copied out, make it a plain one.
bool must_thin(const ConvSpec& s) {
  const Window& w = s.window;
  return w.kernel_h == 1 && w.kernel_w == 1 && (w.stride_h > 1 || w.stride_w > 1) && !(w.pad_top || w.pad_left || w.pad_bottom || w.pad_right) &&
         simd_level() < SimdLevel::vnni;
}

/// Of oneDNN 2.6: the gemm convolution gives wrong sums with groups; the 1x1 kernel for AVX512 without VNNI gives wrong bytes for images of exactly
/// five pixels and a hundred channels or more (both found by the long sweep).
bool is_wrong(const ConvSpec& s, const std::string& implementation) {
  if (implementation.find("gemm") != std::string::npos) return s.groups > 1;
  return implementation.find("jit_int8_1x1") != std::string::npos && simd_level() == SimdLevel::avx512 && s.out.h * s.out.w == 5;
}

void thin(const Extent& in, const Extent& out, const Window& w, const std::int8_t* from, std::int8_t* to) {
  for (std::int64_t r = 0; r < out.n * out.h; ++r) {
    const std::int8_t* row = from + (r / out.h * in.h + r % out.h * w.stride_h) * in.w * in.c;
    for (std::int64_t x = 0; x < out.w; ++x, to += in.c) std::copy_n(row + x * w.stride_w * in.c, in.c, to);
  }
}

constexpr std::size_t align(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

const char* to_string(ConvForm form) noexcept {
  switch (form) {
    case ConvForm::direct: return "direct";
    case ConvForm::sums: return "sums";
    case ConvForm::f32: return "f32";
    case ConvForm::plain: return "plain";
  }
  return "unknown";
}

ConvForm plan_conv(const ConvSpec& spec, const Trust& trust) {
  const auto dw = static_cast<std::size_t>(spec.depthwise());
  const bool u8 = spec.source_non_negative;
  const std::int64_t largest = largest_sum(spec);
  // A 32-bit sum that overflows is nobody's arithmetic: the scalar kernel inside PlainConv takes it.
  if (largest < (std::int64_t{1} << 31) && direct_is_exact(spec) && (u8 ? trust.u8_direct : trust.s8_direct)[dw]) return ConvForm::direct;
  if (largest >= exact_f32) return ConvForm::plain;
  if ((u8 ? trust.u8_sums : trust.s8_sums)[dw]) return ConvForm::sums;
  if (trust.f32[dw]) return ConvForm::f32;
  return ConvForm::plain;
}

struct OneDnnConv::Impl {
  ConvForm form;
  Extent in, out;
  Finish finish;
  onednn::Attributes attributes;
  dnnl::convolution_forward primitive;
  memory weights, bias, source, destination, scratchpad;
  std::size_t scratchpad_bytes = 0;
  std::string implementation;
  std::unordered_map<int, memory> arguments;
  dnnl::stream stream{onednn::cpu_engine()};

  bool thins = false;
  Extent whole;    // the input as it comes, when it is thinned
  Window window;

  static ConvSpec thinned(ConvSpec s) {
    s.in.h = s.out.h, s.in.w = s.out.w;
    s.window.stride_h = s.window.stride_w = 1;
    return s;
  }

  Impl(const ConvSpec& spec, ConvForm f, Arena& arena) : Impl{must_thin(spec) ? thinned(spec) : spec, f, spec, arena} {}

  Impl(const ConvSpec& spec, ConvForm f, const ConvSpec& given, Arena& arena)
      : form{f}, in{spec.in}, out{spec.out}, thins{!(spec.in == given.in)}, whole{given.in}, window{given.window} {
    const bool direct = form == ConvForm::direct, floats = form == ConvForm::f32;
    const DataType source_type = floats ? DataType::f32 : spec.source_non_negative ? DataType::u8 : DataType::s8;
    const DataType result_type = direct ? DataType::s8 : floats ? DataType::f32 : DataType::s32;
    if (direct) {
      attributes.set_output_scale(static_cast<float>(power_of_two(-spec.shift_cut())));
      if (spec.nonlinear == Nonlinear::relu6 && spec.fp_out <= 4) {
        attributes.append_eltwise(dnnl::algorithm::eltwise_clip, 0.0f, 96.0f);
      } else if (spec.nonlinear != Nonlinear::none) {
        attributes.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
      }
    } else {
      finish = make_finish(spec);
    }
    const auto desc = onednn::describe(
        describe_conv(spec, source_type, floats ? DataType::f32 : DataType::s8, result_type, direct), attributes);
    implementation = desc.impl_info_str();
    // Reference implementations are slower than our own loops.
    if (is_wrong(spec, implementation) || implementation.find("ref") != std::string::npos) {
      throw dnnl::error{dnnl_unimplemented, "no fast and exact implementation"};
    }
    load_weights(spec, desc, floats, arena);
    if (direct) load_bias(spec, desc);
    primitive = dnnl::convolution_forward{desc};
    source = memory{desc.src_desc(), onednn::cpu_engine(), nullptr};
    destination = memory{desc.dst_desc(), onednn::cpu_engine(), nullptr};
    scratchpad = memory{desc.scratchpad_desc(), onednn::cpu_engine(), nullptr};
    scratchpad_bytes = desc.scratchpad_desc().get_size();
    arguments = {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, destination}, {DNNL_ARG_SCRATCHPAD, scratchpad}};
    if (direct) arguments.insert({DNNL_ARG_BIAS, bias});
    attributes.add_arguments(arguments);
  }

  void load_weights(const ConvSpec& spec, const dnnl::convolution_forward::primitive_desc& desc, bool floats, Arena& arena) {
    const auto wanted = desc.weights_desc();
    // Ours are [out][kernel_h][kernel_w][in]; with groups the first dimension splits.
    const auto ours = memory::desc{wanted.dims(), floats ? DataType::f32 : DataType::s8, spec.groups == 1 ? Tag::ohwi : Tag::gohwi};
    memory from{ours, onednn::cpu_engine()};
    if (floats) {
      std::copy(spec.weights.begin(), spec.weights.end(), static_cast<float*>(from.get_data_handle()));
    } else {
      std::copy(spec.weights.begin(), spec.weights.end(), static_cast<std::int8_t*>(from.get_data_handle()));
    }
    weights = memory{wanted, onednn::cpu_engine(), arena.take(wanted.get_size())};
    dnnl::reorder{from, weights}.execute(stream, from, weights);
    stream.wait();
  }

  void load_bias(const ConvSpec& spec, const dnnl::convolution_forward::primitive_desc& desc) {
    bias = memory{desc.bias_desc(), onednn::cpu_engine()};
    auto* to = static_cast<float*>(bias.get_data_handle());
    const int u = unit_exponent(spec);
    const double half = spec.shift_cut() > u ? power_of_two(u - 1) : 0.0;  // nothing to round: no half
    for (std::size_t c = 0; c < spec.bias.size(); ++c) {
      const double value = spec.bias[c] * power_of_two(spec.shift_bias()) + half;
      to[c] = static_cast<float>(value * static_cast<double>(attributes.bias_factor()));
    }
  }
};

OneDnnConv::OneDnnConv(const ConvSpec& spec, ConvForm form, Arena& arena) : impl_{std::make_unique<Impl>(spec, form, arena)} {}
OneDnnConv::OneDnnConv(OneDnnConv&&) noexcept = default;
OneDnnConv& OneDnnConv::operator=(OneDnnConv&&) noexcept = default;
OneDnnConv::~OneDnnConv() = default;

const std::string& OneDnnConv::implementation() const noexcept { return impl_->implementation; }

std::size_t OneDnnConv::scratch_bytes() const noexcept {
  std::size_t bytes = align(impl_->scratchpad_bytes);
  if (impl_->form != ConvForm::direct) bytes += align(static_cast<std::size_t>(impl_->out.elements()) * 4);
  if (impl_->thins) bytes += align(static_cast<std::size_t>(impl_->in.elements()));
  if (impl_->form == ConvForm::f32) bytes += align(static_cast<std::size_t>(impl_->in.elements()) * 4);
  return bytes;
}

void OneDnnConv::run(const std::int8_t* in, std::int8_t* out, std::byte* scratch) {
  Impl& m = *impl_;
  m.scratchpad.set_data_handle(scratch);
  std::byte* wide = scratch + align(m.scratchpad_bytes);
  scratch = m.form == ConvForm::direct ? wide : wide + align(static_cast<std::size_t>(m.out.elements()) * 4);
  if (m.thins) {
    auto* few = reinterpret_cast<std::int8_t*>(scratch);
    thin(m.whole, m.out, m.window, in, few);
    in = few;
    scratch += align(static_cast<std::size_t>(m.in.elements()));
  }
  auto* source = const_cast<std::int8_t*>(in);  // NOLINT: oneDNN's memory has no const
  if (m.form == ConvForm::f32) {
    auto* floats = reinterpret_cast<float*>(scratch);
    widen(in, m.in.elements(), floats);
    m.source.set_data_handle(floats);
  } else {
    m.source.set_data_handle(source);
  }
  m.destination.set_data_handle(m.form == ConvForm::direct ? static_cast<void*>(out) : static_cast<void*>(wide));
  m.primitive.execute(m.stream, m.arguments);
  m.stream.wait();
  const std::int64_t pixels = m.out.n * m.out.h * m.out.w;
  if (m.form == ConvForm::sums) finish_sums(m.finish, reinterpret_cast<const std::int32_t*>(wide), pixels, out);
  if (m.form == ConvForm::f32) finish_sums(m.finish, reinterpret_cast<const float*>(wide), pixels, out);
}

}  // namespace splitcnn::inline v0::soft
