#include "core/half.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace splitcnn;

namespace {

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

/// By the definition: the half whose value is nearest in long double, the even one of two; found by bisection
/// over the positive halves, which are ordered like their bits.
std::uint16_t slow_to_half(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const long double x = std::fabs(static_cast<long double>(value));
  const auto value_of =
      [](unsigned h) {  // the value 0x7c00 would have if it were not infinity, for rounding to it
        const int exponent = static_cast<int>(h >> 10);
        const long double fraction = h & 0x3ff;
        return exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      };
  if (x >= value_of(0x7c00)) return sign | 0x7c00;
  unsigned low = 0, high = 0x7c00;  // value_of(low) <= x < value_of(high)
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (value_of(middle) <= x ? low : high) = middle;
  }
  const long double below = x - value_of(low), above = value_of(high) - x;
  const bool up = above < below || (above == below && (high & 1) == 0);
  return static_cast<std::uint16_t>(sign | (up ? high : low));
}

std::vector<float> interesting_floats(unsigned long long seed) {
  std::vector<float> values;
  std::mt19937_64 random{seed};
  for (int i = 0; i < 1'000'000; ++i)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  // Near every half and every midpoint between two halves.
  for (unsigned h = 0; h < 0x7c00; ++h) {
    const float a = from_half(static_cast<std::uint16_t>(h));
    const float b = h + 1 == 0x7c00 ? 65536.0f : from_half(static_cast<std::uint16_t>(h + 1));
    for (const float x : {a, (a + b) / 2}) {
      for (const float y : {std::nextafter(x, 0.0f), x, std::nextafter(x, 1e6f)}) {
        values.push_back(y);
        values.push_back(-y);
      }
    }
  }
  const float inf = std::numeric_limits<float>::infinity();
  for (const float x : {0.0f, -0.0f, inf, -inf, std::numeric_limits<float>::denorm_min(),
                        std::numeric_limits<float>::max()}) {
    values.push_back(x);
  }
  for (const std::uint32_t nan : {0x7f800001u, 0x7fc00000u, 0xff812345u, 0xffffffffu, 0x7fbfffffu}) {
    values.push_back(std::bit_cast<float>(nan));
  }
  return values;
}

}  // namespace

TEST_CASE("every half survives the way to float and back", "[half]") {
  for (unsigned h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<std::uint16_t>(h);
    const bool nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0;
    const std::uint16_t expected = nan ? static_cast<std::uint16_t>(h | 0x200) : half;  // NaN becomes quiet
    if (to_half(from_half(half)) != expected) FAIL("half " << h);
  }
}

TEST_CASE("to_half rounds to the nearest, ties to even", "[half]") {
  std::size_t wrong = 0;
  for (const float x : interesting_floats(splitcnn_test::seed())) {
    if (std::isnan(x)) {
      wrong += (to_half(x) & 0x7c00) != 0x7c00 || (to_half(x) & 0x3ff) == 0;
    } else if (to_half(x) != slow_to_half(x)) {
      ++wrong;
      UNSCOPED_INFO("float " << bits(x));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("array forms give what the scalar forms give", "[half]") {
  const std::vector<float> floats = interesting_floats(splitcnn_test::seed() + 1);
  for (const std::size_t n :
       {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8}, std::size_t{9}, floats.size()}) {
    std::vector<std::uint16_t> halves(n);
    to_half(floats.data(), halves.data(), n);
    std::vector<float> rounded(floats.begin(), floats.begin() + static_cast<std::ptrdiff_t>(n));
    round_to_half(rounded.data(), n);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
      wrong += halves[i] != to_half(floats[i]);
      wrong += bits(rounded[i]) != bits(from_half(to_half(floats[i])));
    }
    CHECK(wrong == 0);
  }
  std::vector<std::uint16_t> all(0x10000);
  for (unsigned h = 0; h < 0x10000; ++h) all[h] = static_cast<std::uint16_t>(h);
  std::vector<float> back(all.size());
  from_half(all.data(), back.data(), all.size());
  std::size_t wrong = 0;
  for (unsigned h = 0; h < 0x10000; ++h) wrong += bits(back[h]) != bits(from_half(all[h]));
  CHECK(wrong == 0);
}

#if defined(__x86_64__)
namespace {

__attribute__((target("avx,f16c"))) std::size_t differing_from_hardware(const std::vector<float>& floats) {
  std::size_t wrong = 0;
  for (const float x : floats)
    wrong += to_half(x) != static_cast<std::uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
  for (unsigned h = 0; h < 0x10000; ++h) {
    wrong +=
        bits(from_half(static_cast<std::uint16_t>(h))) != bits(_cvtsh_ss(static_cast<unsigned short>(h)));
  }
  return wrong;
}

}  // namespace

TEST_CASE("the portable code equals F16C bit for bit", "[half]") {
  if (!__builtin_cpu_supports("avx2")) SPLITCNN_SKIP("f16c", "this CPU has no AVX2 and so perhaps no F16C");
  CHECK(differing_from_hardware(interesting_floats(splitcnn_test::seed() + 2)) == 0);
}
#endif
