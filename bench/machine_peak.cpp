#include "machine_peak.hpp"

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

#if defined(__x86_64__)
/// 16 independent sums, so that neither latency nor loads matter. Returns something the compiler cannot know.
__attribute__((target("avx512f,avx512vnni"), noinline)) int dot_products(std::int64_t rounds) {
  __m512i sums[16];
  for (auto& s : sums) s = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x04030201);
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (auto& s : sums) s = _mm512_dpbusd_epi32(s, a, b);
    asm volatile("" : "+v"(a), "+v"(b));  // else one round would do
  }
  __m512i all = sums[0];
  for (int i = 1; i < 16; ++i) all = _mm512_xor_si512(all, sums[i]);
  return _mm512_reduce_add_epi32(all);
}
#endif

}  // namespace

std::optional<double> vnni_peak() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512vnni")) return {};
  constexpr std::int64_t rounds = 1 << 20;
  volatile int sink = dot_products(rounds);
  double best = 1e9;
  for (int i = 0; i < 10; ++i) {
    const auto start = Clock::now();
    sink = dot_products(rounds);
    best = std::min(best, seconds_since(start));
  }
  (void)sink;
  return static_cast<double>(rounds) * 16 * 128 / best;
#else
  return {};
#endif
}

double read_bandwidth() {
  const std::vector<std::uint64_t> data(std::size_t{32} << 20, 1);  // 256 MiB
  double best = 1e9;
  volatile std::uint64_t sink = 0;
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    std::uint64_t sums[8]{};
    for (std::size_t k = 0; k < data.size(); k += 8) {
      for (std::size_t j = 0; j < 8; ++j) sums[j] += data[k + j];
    }
    sink = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    best = std::min(best, seconds_since(start));
  }
  (void)sink;
  return static_cast<double>(data.size() * sizeof(std::uint64_t)) / best;
}

std::string machine() {
  std::ifstream info{"/proc/cpuinfo"};
  std::string model = "unknown CPU";
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) {
    model += ", AVX512-VNNI";
    if (__builtin_cpu_supports("amx-int8")) model += ", AMX";
  } else if (__builtin_cpu_supports("avx2")) {
    model += ", AVX2";
  }
#endif
  if (const char* isa = std::getenv("ONEDNN_MAX_CPU_ISA")) model += fmt::format(" (ours held to {})", isa);
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores";
}

int pin_to_one_core() {
  cpu_set_t allowed, one;
  CPU_ZERO(&allowed);
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -1;
  for (int core = CPU_SETSIZE - 1; core >= 0; --core) {
    if (!CPU_ISSET(core, &allowed)) continue;
    CPU_SET(core, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0 ? core : -1;
  }
  return -1;
}

}  // namespace bench
