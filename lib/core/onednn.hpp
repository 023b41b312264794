#pragma once
/// oneDNN 2.6 to 3.x behind one set of calls: the two differ in how primitives are described and where output scales go. The only
/// place that looks at the version.
#include <omp.h>

#include <dnnl.hpp>
#include <string_view>
#include <unordered_map>

namespace splitcnn::inline v0::onednn {

/// Cheap to copy, safe to share between threads.
inline dnnl::engine cpu_engine() {
  static const dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  return engine;
}

/// A direct convolution, forward inference. Dilation 1 means dense (oneDNN itself counts from 0). A zero `bias` descriptor: none.
struct ConvolutionDesc {
  dnnl::memory::desc source, weights, bias, destination;
  dnnl::memory::dims strides, dilations, pad_before, pad_after;
};

/// What can be attached to a convolution: an output scale (a power of two is exact in every version), one eltwise post-op, and a
/// scratchpad that the caller provides (so that the thread that runs need not be the one that created).
class Attributes {
 public:
  Attributes() { attr_.set_scratchpad_mode(dnnl::scratchpad_mode::user); }

  void append_eltwise(dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
    ops_.append_eltwise(algorithm, alpha, beta);
#else
    ops_.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
  }
  void append_sum(float scale = 1.0f) { ops_.append_sum(scale); }

  /// result = scale * sum, where sum already holds bias / bias_factor(): see below.
  void set_output_scale(float scale) {
#if DNNL_VERSION_MAJOR >= 3
    attr_.set_scales_mask(DNNL_ARG_WEIGHTS, 0);
    scale_ = dnnl::memory{{{1}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::x}, cpu_engine()};
    *static_cast<float*>(scale_.get_data_handle()) = scale;
    factor_ = scale;
#else
    attr_.set_output_scales(0, {scale});
#endif
  }
  /// oneDNN 3 adds the bias behind the scale, oneDNN 2 before it: the bias in units of the sum times this is what to pass.
  [[nodiscard]] float bias_factor() const noexcept { return factor_; }

  [[nodiscard]] dnnl::primitive_attr get() const {
    dnnl::primitive_attr attr = attr_;
    attr.set_post_ops(ops_);
    return attr;
  }
  /// Adds what execution needs.
  void add_arguments(std::unordered_map<int, dnnl::memory>& arguments) const {
#if DNNL_VERSION_MAJOR >= 3
    if (scale_) arguments.insert({DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scale_});
#else
    (void)arguments;
#endif
  }

 private:
  dnnl::primitive_attr attr_;
  dnnl::post_ops ops_;
  dnnl::memory scale_;
  float factor_ = 1;
};

/// Two implementations of oneDNN 2.6 write behind their result and read behind their source (found with forbidden pages there,
/// test/support/guarded.hpp): brgconv when several threads share the work (1x5x13x27, 3 filters, 3x3, stride 3, dilation 3, two threads), jit_1x1 with AMX (1x8x6x168,
/// 60 filters: 944 bytes).
inline bool keeps_to_its_memory(std::string_view implementation) {
  const auto has = [&](std::string_view part) { return implementation.find(part) != std::string_view::npos; };
  return !(has("brgconv") && omp_get_max_threads() > 1) && !has("jit_1x1:avx512_core_amx");
}

/// The next implementation takes over.
inline dnnl::convolution_forward::primitive_desc without_overrun(dnnl::convolution_forward::primitive_desc desc) {
  while (!keeps_to_its_memory(desc.impl_info_str())) {
    if (!desc.next_impl()) throw dnnl::error{dnnl_unimplemented, "no implementation that keeps to its memory"};
  }
  return desc;
}

/// For the calling thread's number of OpenMP threads: run it with the same. Throws dnnl::error when there is no implementation.
inline dnnl::convolution_forward::primitive_desc describe(const ConvolutionDesc& d, const Attributes& attributes) {
  dnnl::memory::dims dilations = d.dilations;
  for (auto& v : dilations) --v;
  constexpr auto kind = dnnl::prop_kind::forward_inference;
  constexpr auto how = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return without_overrun({cpu_engine(), kind, how, d.source, d.weights, d.bias, d.destination, d.strides, dilations, d.pad_before,
                          d.pad_after, attributes.get()});
#else
  const bool has_bias = d.bias.dims().size() == 1;
  const auto desc = has_bias ? dnnl::convolution_forward::desc{kind, how, d.source, d.weights, d.bias, d.destination, d.strides,
                                                               dilations, d.pad_before, d.pad_after}
                             : dnnl::convolution_forward::desc{kind, how, d.source, d.weights, d.destination, d.strides, dilations,
                                                               d.pad_before, d.pad_after};
  return without_overrun({desc, attributes.get(), cpu_engine()});
#endif
}

/// Rows times a matrix, forward inference. Throws dnnl::error when there is no implementation.
inline dnnl::inner_product_forward::primitive_desc describe_inner_product(const dnnl::memory::desc& source,
                                                                          const dnnl::memory::desc& weights,
                                                                          const dnnl::memory::desc& bias,
                                                                          const dnnl::memory::desc& destination,
                                                                          const Attributes& attributes) {
  constexpr auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), kind, source, weights, bias, destination, attributes.get()};
#else
  return {{kind, source, weights, bias, destination}, attributes.get(), cpu_engine()};
#endif
}

}  // namespace splitcnn::inline v0::onednn
