// Every fast kernel against the scalar one, byte for byte, over random and extreme cases.
#include <omp.h>

#include <map>

#include "core/openmp.hpp"
#include "dpu/random_specs.hpp"
#include "dpu/soft/simd.hpp"
#include "dpu/soft/onednn_kernels.hpp"
#include "dpu/soft/scalar_kernels.hpp"
#include "dpu/soft/self_test.hpp"
#include "dpu/soft/vnni_kernels.hpp"
#include "support/catch.hpp"
#include "support/guarded.hpp"

#include <dnnl.hpp>

using namespace splitcnn;
using namespace splitcnn::soft;
using splitcnn_test::Guarded;
using splitcnn_test::RandomSpecs;
using Bytes = std::vector<std::int8_t>;

namespace {

std::size_t difference(const Bytes& a, const Bytes& b) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < a.size(); ++i) n += a[i] != b[i];
  return n;
}

/// Nothing behind the result may be touched. oneDNN's brgconv reads up to three bytes behind a source whose channels are no multiple of four; the
/// executor's block has room for that behind its last buffer.
constexpr std::size_t room_behind_a_source = 64;

template <class Conv>
Bytes run(Conv&& conv, std::size_t scratch_bytes, const Bytes& in, std::size_t out) {
  const Guarded source{in.size() + room_behind_a_source}, result{out}, scratch{scratch_bytes, 64};
  std::copy(in.begin(), in.end(), source.as<std::int8_t>());
  std::fill_n(result.as<std::int8_t>(), out, std::int8_t{77});
  conv(source.as<std::int8_t>(), result.as<std::int8_t>(), scratch.data());
  return {result.as<std::int8_t>(), result.as<std::int8_t>() + out};
}

std::string describe(const ConvSpec& s) {
  std::ostringstream o;
  const Window& w = s.window;
  o << "in " << s.in.n << 'x' << s.in.h << 'x' << s.in.w << 'x' << s.in.c << " out " << s.out.c << " kernel " << w.kernel_h << 'x' << w.kernel_w
    << " stride " << w.stride_h << ',' << w.stride_w << " dilation " << w.dilation_h << " pad " << w.pad_top << ',' << w.pad_left << ','
    << w.pad_bottom << ',' << w.pad_right << " groups " << s.groups << " shift_cut " << s.shift_cut() << " shift_bias " << s.shift_bias()
    << " nonlinear " << static_cast<int>(s.nonlinear) << " u8 " << s.source_non_negative;
  return o.str();
}

struct Tally {
  std::map<std::string, int> forms;
  int cases = 0, failures = 0;
};

void check_conv(RandomSpecs& random, Tally& tally) {
  const OmpThreads threads{random.chance(50) ? 1 : 2};  // oneDNN chooses by their number
  const ConvSpec spec = random.conv();
  INFO("case " << tally.cases << ", " << omp_get_max_threads() << " threads: " << describe(spec));
  const Bytes in = random.bytes(spec.in.elements(), spec.source_non_negative);
  Bytes expected(static_cast<std::size_t>(spec.out.elements()));
  scalar_conv(spec, in.data(), expected.data());

  const auto verify = [&](const Bytes& got, const std::string& form, const std::string& implementation = {}) {
    ++tally.forms[form];
    if (const std::size_t wrong = difference(got, expected)) {
      ++tally.failures;
      UNSCOPED_INFO(form << ' ' << implementation << ": " << wrong << " of " << expected.size() << " bytes differ: " << describe(spec));
    }
  };
  const Trust& trust = onednn_trust();
  std::vector<ConvForm> forms{plan_conv(spec, trust)};
  if (largest_sum(spec) < 1 << 24 && random.chance(25)) {  // forms the plan would not choose must be right as well
    if (trust.f32[spec.depthwise()]) forms.push_back(ConvForm::f32);
    if ((spec.source_non_negative ? trust.u8_sums : trust.s8_sums)[spec.depthwise()]) forms.push_back(ConvForm::sums);
  }
  Arena arena;
  for (const ConvForm form : forms) {
    if (form == ConvForm::plain) continue;
    try {
      OneDnnConv conv{spec, form, arena};
      INFO(to_string(form) << ' ' << conv.implementation());  // should it touch what it must not
      const auto call = [&](auto* from, auto* to, std::byte* scratch) { conv.run(from, to, scratch); };
      verify(run(call, conv.scratch_bytes(), in, expected.size()), to_string(form), conv.implementation());
    } catch (const dnnl::error&) {
      ++tally.forms["no implementation"];
    }
  }
  if (VnniConv::fits(spec)) {
    const VnniConv conv{spec, arena};
    verify(run([&](auto* from, auto* to, std::byte* scratch) { conv.run(from, to, scratch); }, conv.scratch_bytes(), in, expected.size()), "own");
  }
  if (VnniWinograd::fits(spec)) {
    const VnniWinograd conv{spec, arena};
    verify(run([&](auto* from, auto* to, std::byte* scratch) { conv.run(from, to, scratch); }, conv.scratch_bytes(omp_get_max_threads()), in,
               expected.size()), "own winograd");
  }
  if (VnniDepthwise::fits(spec)) {
    verify(run([&](auto* from, auto* to, std::byte*) { VnniDepthwise{spec, arena}.run(from, to); }, 0, in, expected.size()), "own depthwise");
  }
  verify(run([&](auto* from, auto* to, std::byte*) { PlainConv{spec}.run(from, to); }, 0, in, expected.size()), "plain");
  ++tally.cases;
}

void check_others(RandomSpecs& random, Tally& tally) {
  const auto verify = [&](const Bytes& got, const Bytes& expected, const char* form) {
    ++tally.forms[form];
    ++tally.cases;
    if (const std::size_t wrong = difference(got, expected)) {
      ++tally.failures;
      UNSCOPED_INFO(form << ": " << wrong << " of " << expected.size() << " bytes differ");
    }
  };
  const PoolSpec pool = random.pool();
  const Bytes image = random.bytes(pool.in.elements(), false);
  Bytes expected(static_cast<std::size_t>(pool.out.elements())), got(expected.size(), 77);
  scalar_pool(pool, image.data(), expected.data());
  std::vector<std::byte> scratch(pool_scratch_bytes(pool, omp_get_max_threads()));
  plain_pool(pool, image.data(), got.data(), scratch.data());
  verify(got, expected, pool.average ? "average pool" : "max pool");

  const BinarySpec binary = random.binary();
  const Bytes a = random.bytes(binary.elements(), false), b = random.bytes(binary.elements(), false);
  expected.assign(a.size(), 0), got.assign(a.size(), 77);
  scalar_add(binary, a.data(), b.data(), expected.data());
  plain_add(binary, a.data(), b.data(), got.data());
  verify(got, expected, "add");
  scalar_mul(binary, a.data(), b.data(), expected.data());
  plain_mul(binary, a.data(), b.data(), got.data());
  verify(got, expected, "mul");

  const MoveSpec move = random.move(300);
  const Bytes source = random.bytes(300, false);
  expected.assign(static_cast<std::size_t>(move.elements), 0), got.assign(expected.size(), 77);
  scalar_move(move, source.data(), expected.data());
  plain_move(move, source.data(), got.data());
  verify(got, expected, "move");
}

void sweep(int convolutions, int others) {
  const auto seed = splitcnn_test::seed();
  RandomSpecs random{seed};
  Tally tally;
  for (int i = 0; i < convolutions && tally.failures < 20; ++i) check_conv(random, tally);
  for (int i = 0; i < others && tally.failures < 20; ++i) check_others(random, tally);
  std::printf("%s\n%d cases:", onednn_trust().report.c_str(), tally.cases);
  for (const auto& [form, count] : tally.forms) std::printf(" %s %d", form.c_str(), count);
  std::printf("\n");
  CHECK(tally.failures == 0);
}

}  // namespace

TEST_CASE("fast kernels give the scalar kernels' bytes", "[dpu]") { sweep(400, 400); }
TEST_CASE("fast kernels give the scalar kernels' bytes, long sweep", "[dpu][long]") { sweep(60000, 15000); }

TEST_CASE("Winograd is chosen for the weights of networks, not for extreme ones", "[dpu]") {
  ConvSpec spec{.in = {1, 28, 28, 64}, .out = {1, 28, 28, 64}, .nonlinear = Nonlinear::relu, .source_non_negative = true};
  spec.window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  spec.bias.assign(64, 1);
  spec.fp_in = 4, spec.fp_weight = 7, spec.fp_bias = 6, spec.fp_out = 2;
  std::mt19937 random{7};
  std::normal_distribution<float> normal{0, 30};
  for (int i = 0; i < 64 * 9 * 64; ++i) spec.weights.push_back(static_cast<std::int8_t>(std::clamp(normal(random), -127.f, 127.f)));
  if (!VnniWinograd::fits(spec)) return;  // not on this machine
  CHECK(VnniWinograd::pays(spec) == (simd_level() < SimdLevel::amx));
  ConvSpec signed_source = spec, extreme = spec, strided = spec;
  signed_source.source_non_negative = false;
  CHECK_FALSE(VnniWinograd::fits(signed_source));
  strided.window.stride_h = 2, strided.out.h = 14;
  CHECK_FALSE(VnniWinograd::fits(strided));
  extreme.weights.assign(extreme.weights.size(), 127);
  CHECK_FALSE(VnniWinograd::pays(extreme));
}

TEST_CASE("oneDNN keeps to its memory when two threads share a convolution", "[dpu]") {
  // Two implementations of oneDNN 2.6 wrote further (core/onednn.hpp): at the end of a buffer that is somebody else's memory, inside it now and then a
  // wrong byte.
  ConvSpec brgconv{.in = {1, 5, 13, 27}, .out = {1, 1, 3, 3}, .nonlinear = Nonlinear::relu, .source_non_negative = true};
  brgconv.window = {.kernel_h = 3, .kernel_w = 3, .stride_h = 3, .stride_w = 3, .dilation_h = 3, .dilation_w = 3, .pad_top = 2, .pad_left = 2, .pad_bottom = 2, .pad_right = 0};
  const ConvSpec amx{.in = {1, 8, 6, 168}, .out = {1, 8, 6, 60}, .nonlinear = Nonlinear::relu, .source_non_negative = true};
  RandomSpecs random{splitcnn_test::seed()};
  for (ConvSpec spec : {brgconv, amx}) {
    spec.weights = random.bytes(spec.out.c * spec.window.kernel_h * spec.window.kernel_w * spec.in.c, false);
    spec.bias = random.bytes(spec.out.c, false);
    spec.fp_in = 4, spec.fp_weight = 6, spec.fp_bias = 5, spec.fp_out = 3;
    const Bytes in = random.bytes(spec.in.elements(), true);
    Bytes expected(static_cast<std::size_t>(spec.out.elements()));
    scalar_conv(spec, in.data(), expected.data());
    const OmpThreads threads{2};
    const ConvForm form = plan_conv(spec, onednn_trust());
    if (form == ConvForm::plain) continue;  // oneDNN is not used for it here
    Arena arena;
    OneDnnConv conv{spec, form, arena};
    const auto call = [&](auto* from, auto* to, std::byte* scratch) { conv.run(from, to, scratch); };
    for (int n = 0; n < 50; ++n) CHECK(run(call, conv.scratch_bytes(), in, expected.size()) == expected);
  }
}

TEST_CASE("1x1 convolutions of few pixels are right, or oneDNN is not asked", "[dpu]") {
  // jit_int8_1x1:avx512_core of oneDNN 2.6 gave wrong bytes for five pixels and more than 96 channels.
  RandomSpecs random{splitcnn_test::seed()};
  const OmpThreads one{1};
  for (int pixels = 1; pixels <= 12; ++pixels) {
    ConvSpec spec{.in = {1, 1, pixels, 70}, .out = {1, 1, pixels, 130}, .nonlinear = Nonlinear::relu, .source_non_negative = true};
    spec.weights = random.bytes(70 * 130, false);
    spec.bias = random.bytes(130, false);
    spec.fp_in = 4, spec.fp_weight = 6, spec.fp_bias = 5, spec.fp_out = 0;
    const Bytes in = random.bytes(spec.in.elements(), true);
    Bytes expected(static_cast<std::size_t>(spec.out.elements()));
    scalar_conv(spec, in.data(), expected.data());
    const ConvForm form = plan_conv(spec, onednn_trust());
    if (form == ConvForm::plain) continue;
    try {
      Arena arena;
      OneDnnConv conv{spec, form, arena};
      INFO(pixels << " pixels, " << conv.implementation());
      CHECK(run([&](auto* from, auto* to, std::byte* scratch) { conv.run(from, to, scratch); }, conv.scratch_bytes(), in, expected.size()) == expected);
    } catch (const dnnl::error&) {
      continue;  // refused
    }
  }
}

TEST_CASE("oneDNN is trusted for what it was measured to do exactly", "[dpu]") {
  const Trust& trust = onednn_trust();
  INFO(trust.report);
  CHECK(trust.u8_direct[0]);
  CHECK(trust.u8_direct[1]);
  CHECK(trust.f32[0]);
  CHECK(trust.f32[1]);
  CHECK(trust.winograd);
}
