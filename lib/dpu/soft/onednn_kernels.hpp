#pragma once
/// Convolutions through oneDNN that give the DPU's bytes exactly, or are refused.
///
/// oneDNN computes saturate(rne(f32(sum) + bias) * 2^-shift_cut)). With a bias that carries half of the finest unit the value never
/// lies on a tie, so round-to-nearest-even equals half up; as long as f32 holds every value that does not saturate. plan_conv()
/// proves that for one convolution from its weights and shifts, or chooses another form:
///   direct  int8 in, int8 out, everything inside oneDNN
///   sums    int8 in, the sums out (exact below 2^24), our own last step: leaky_relu, hard_sigmoid, hard_swish, large shifts
///   f32     as `sums`, computed in float on integers (exact below 2^24): signed sources on machines without VNNI
///   plain   our own loops
#include <cstddef>
#include <memory>
#include <string>

#include "core/arena.hpp"
#include "dpu/soft/plain_kernels.hpp"

namespace splitcnn::inline v0::soft {

enum class ConvForm { direct, sums, f32, plain };
const char* to_string(ConvForm form) noexcept;

/// Which oneDNN paths gave the right bytes on this machine (see self_test.hpp). Index: depthwise.
struct Trust {
  std::array<bool, 2> u8_direct{}, s8_direct{}, u8_sums{}, s8_sums{}, f32{};
  bool winograd = false;  ///< our own VnniWinograd; true where no machine code of it can run
  std::string report;  ///< one line for doctor and logs
};

ConvForm plan_conv(const ConvSpec& spec, const Trust& trust);

/// A loaded convolution in one of the three oneDNN forms; its weights lie in the arena, which must outlive it. Throws dnnl::error when oneDNN has no (fast) implementation.
class OneDnnConv {
 public:
  OneDnnConv(const ConvSpec& spec, ConvForm form, Arena& arena);
  OneDnnConv(OneDnnConv&&) noexcept;
  OneDnnConv& operator=(OneDnnConv&&) noexcept;
  ~OneDnnConv();

  /// Bytes run() needs at `scratch`, aligned to 64. May be shared by everything that runs on one thread.
  [[nodiscard]] std::size_t scratch_bytes() const noexcept;
  void run(const std::int8_t* in, std::int8_t* out, std::byte* scratch);
  /// oneDNN's name of what it runs.
  [[nodiscard]] const std::string& implementation() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0::soft
