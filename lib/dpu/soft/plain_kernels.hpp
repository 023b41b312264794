#pragma once
/// Fast kernels in plain C++: loops the compiler turns into vector code, compiled for several instruction sets and chosen at run
/// time. Same bytes as the scalar kernels.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dpu/soft/kernels.hpp"

namespace splitcnn::inline v0::soft {

/// What turns the wide sums of a convolution into bytes.
struct Finish {
  std::vector<double> bias;  ///< [channels], bias * 2^shift_bias
  double scale = 1;          ///< 2^-shift_cut
  int fp_out = 0;
  Nonlinear nonlinear = Nonlinear::none;
};
Finish make_finish(const ConvSpec& spec);
/// `pixels` rows of finish.bias.size() sums, exact integers in either type.
void finish_sums(const Finish& finish, const std::int32_t* sums, std::int64_t pixels, std::int8_t* out);
void finish_sums(const Finish& finish, const float* sums, std::int64_t pixels, std::int8_t* out);
void widen(const std::int8_t* in, std::int64_t count, float* out);

/// A convolution without oneDNN: any window, any groups, exact as long as the sums fit 32 bits.
class PlainConv {
 public:
  explicit PlainConv(const ConvSpec& spec);
  void run(const std::int8_t* in, std::int8_t* out) const;

 private:
  void pixel(const std::int8_t* in, std::int64_t n, std::int64_t y, std::int64_t x, std::int32_t* sums) const;

  ConvSpec spec_;                     // without its weights
  Finish finish_;
  std::vector<std::int8_t> weights_;  // [kernel_h][kernel_w][in.c / groups][out.c]
  bool fits_ = true;
};

void plain_add(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out);
void plain_mul(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out);
/// `scratch`: pool_scratch_bytes() for at least the thread count it runs with.
void plain_pool(const PoolSpec& spec, const std::int8_t* in, std::int8_t* out, std::byte* scratch);
std::size_t pool_scratch_bytes(const PoolSpec& spec, int threads);
void plain_move(const MoveSpec& spec, const std::int8_t* in, std::int8_t* out);
/// `in` and `out` may be the same.
void requantise(const std::int8_t* in, std::int8_t* out, std::int64_t count, int fp_in, int fp_out, Nonlinear nonlinear);

/// Largest |sum(x * w)| any channel can reach, for |x| <= 128 (127 when the source is not negative).
std::int64_t largest_sum(const ConvSpec& spec);

}  // namespace splitcnn::inline v0::soft
