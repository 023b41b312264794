#include "dpu/soft/self_test.hpp"

#include <dnnl.hpp>
#include <exception>

#include "core/log.hpp"
#include "core/openmp.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "dpu/soft/vnni_kernels.hpp"

namespace splitcnn::inline v0::soft {

namespace {

/// Small deterministic noise; the standard distributions differ between libraries.
class Noise {
 public:
  std::uint32_t next() noexcept {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  std::int8_t byte() noexcept { return static_cast<std::int8_t>(next() & 0xff); }

 private:
  std::uint64_t state_ = 42;
};

/// Two windows that take different code paths inside oneDNN, in ordinary and extreme values.
ConvSpec make_spec(int kernel, bool depthwise, bool non_negative, Nonlinear nonlinear, bool extreme, Noise& noise) {
  ConvSpec s;
  s.name = "self test";
  s.in = {1, 6, 6, 32};
  s.window.kernel_h = s.window.kernel_w = kernel;
  const int pad = kernel / 2;
  s.window.pad_top = s.window.pad_left = s.window.pad_bottom = s.window.pad_right = pad;
  s.out = {1, 6, 6, depthwise ? 32 : 48};
  s.groups = depthwise ? 32 : 1;
  s.source_non_negative = non_negative;
  s.nonlinear = nonlinear;
  s.fp_in = 5, s.fp_weight = 7, s.fp_bias = extreme ? 13 : 6, s.fp_out = extreme ? 0 : depthwise ? 5 : 2;
  const auto inputs = static_cast<std::size_t>(depthwise ? 1 : 32);
  s.weights.resize(static_cast<std::size_t>(s.out.c) * static_cast<std::size_t>(kernel * kernel) * inputs);
  for (auto& w : s.weights) w = extreme ? (noise.next() & 7 ? std::int8_t{-128} : std::int8_t{127}) : noise.byte();
  s.bias.resize(static_cast<std::size_t>(s.out.c));
  for (auto& b : s.bias) b = noise.byte();
  return s;
}

/// `make(spec, arena)` gives what runs it: with scratch_bytes() and run().
template <class Make>
bool agrees(const ConvSpec& spec, const Make& make, bool extreme, Noise& noise) {
  std::vector<std::int8_t> in(static_cast<std::size_t>(spec.in.elements()));
  for (auto& x : in) {
    x = extreme ? (noise.next() & 7 ? std::int8_t{-128} : std::int8_t{127}) : noise.byte();
    if (spec.source_non_negative) x = static_cast<std::int8_t>(x == -128 ? 127 : std::abs(x));
  }
  std::vector<std::int8_t> expected(static_cast<std::size_t>(spec.out.elements())), got(expected.size());
  scalar_conv(spec, in.data(), expected.data());
  Arena arena;
  auto conv = make(spec, arena);
  conv.run(in.data(), got.data(), arena.take(conv.scratch_bytes()));
  return got == expected;
}

/// One kind of primitive over both windows and both kinds of data.
bool trusted(ConvForm form, bool depthwise, bool non_negative) noexcept {
  try {
    Noise noise;
    const auto make = [form](const ConvSpec& spec, Arena& arena) { return OneDnnConv{spec, form, arena}; };
    for (const int kernel : {3, 1}) {
      if (depthwise && kernel == 1) continue;
      for (const bool extreme : {false, true}) {
        const Nonlinear nonlinear = form == ConvForm::direct ? (extreme ? Nonlinear::none : Nonlinear::relu) : Nonlinear::leaky_relu;
        if (!agrees(make_spec(kernel, depthwise, non_negative, nonlinear, extreme, noise), make, extreme, noise)) return false;
      }
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// Ordinary weights; extreme ones, whose sums no byte holds. True where this machine cannot run it.
bool winograd_is_exact() noexcept {
  try {
    Noise noise;
    const OmpThreads one{1};  // scratch_bytes() is for one
    const auto make = [](const ConvSpec& spec, Arena& arena) { return VnniWinograd{spec, arena}; };
    for (const bool extreme : {false, true}) {
      ConvSpec spec = make_spec(3, false, true, extreme ? Nonlinear::none : Nonlinear::relu, extreme, noise);
      spec.in.h = spec.out.h = 7;  // pairs of rows and one alone
      if (VnniWinograd::fits(spec) && !agrees(spec, make, extreme, noise)) return false;
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

bool has_vnni() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
    case dnnl::cpu_isa::avx:
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx512_core: return false;
    default: return true;
  }
}

}  // namespace

Trust self_test() {
  Trust t;
  std::string failed;
  for (const std::size_t dw : {0u, 1u}) {
    const bool depthwise = dw == 1;
    t.u8_direct[dw] = trusted(ConvForm::direct, depthwise, true);
    t.s8_direct[dw] = trusted(ConvForm::direct, depthwise, false);
    t.u8_sums[dw] = trusted(ConvForm::sums, depthwise, true);
    t.s8_sums[dw] = trusted(ConvForm::sums, depthwise, false);
    t.f32[dw] = trusted(ConvForm::f32, depthwise, false);
    const auto note = [&](bool ok, const char* kind) {
      if (!ok) failed += (failed.empty() ? "" : ", ") + std::string{depthwise ? "depthwise " : "convolution "} + kind;
    };
    note(t.u8_direct[dw], "u8");
    note(t.s8_direct[dw], "s8");
    note(t.u8_sums[dw], "u8 sums");
    note(t.s8_sums[dw], "s8 sums");
    note(t.f32[dw], "f32");
  }
  t.report = failed.empty() ? "oneDNN is exact in every form" : "oneDNN is not exact here, exact kernels take over: " + failed;
  t.winograd = winograd_is_exact();
  if (!t.winograd) t.report += "; our own Winograd convolution is not exact here and stays unused";
  return t;
}

const Trust& onednn_trust() {
  static const Trust trust = [] {
    Trust t = self_test();
    const bool expected = !has_vnni() && t.u8_direct[0] && t.u8_direct[1] && t.f32[0] && t.winograd;
    const bool all = t.u8_direct[0] && t.u8_direct[1] && t.s8_direct[0] && t.s8_direct[1] && t.winograd;
    log(all ? LogLevel::debug : expected ? LogLevel::info : LogLevel::warning,
        "software DPU self-test: " + t.report + (expected && !all ? " (signed int8 needs VNNI)" : ""));
    return t;
  }();
  return trust;
}

}  // namespace splitcnn::inline v0::soft
