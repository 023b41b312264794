#pragma once
/// One op on one frame. Internal to the host executor.
#include "gpu/tail/host_executor.hpp"

namespace splitcnn::inline v0::gpu {

/// Where the operands of one frame are.
struct HostFrame {
  const std::uint16_t* x[3] = {};
  std::uint16_t* y = nullptr;
  const TailTensor* xt[3] = {};
  const TailTensor* yt = nullptr;
  const std::byte* in = nullptr;   // entry
  std::byte* out = nullptr;        // exit
  const std::byte* weights = nullptr;
  const float* packed = nullptr;   // conv
  float *floats_x = nullptr, *floats_z = nullptr, *sums = nullptr, *row = nullptr;
};

float host_activate(const TailOp& op, float v) noexcept;

void host_conv(const TailOp& op, const HostFrame& f) noexcept;
void host_depthwise(const TailOp& op, const HostFrame& f) noexcept;
void host_fc(const TailOp& op, const HostFrame& f) noexcept;       // and gap_fc
void host_pool(const TailOp& op, const HostFrame& f) noexcept;     // max, average, global
void host_entry(const TailOp& op, const TailIo& io, const HostFrame& f) noexcept;
void host_exit(const TailOp& op, const TailIo& io, const HostFrame& f) noexcept;
void host_elementwise(const TailOp& op, const HostFrame& f) noexcept;
void host_move(const TailOp& op, const HostFrame& f) noexcept;
void host_reshape(const TailOp& op, const HostFrame& f) noexcept;
void host_fill(const TailOp& op, const HostFrame& f) noexcept;
void host_mean(const TailOp& op, const HostFrame& f) noexcept;
void host_softmax(const TailOp& op, const HostFrame& f) noexcept;
void host_lrn(const TailOp& op, const HostFrame& f) noexcept;
void host_resample(const TailOp& op, const HostFrame& f) noexcept;
void host_product(const TailOp& op, const HostFrame& f) noexcept;

/// [tap][c padded][k padded] in f32 from a convolution's FP16 weights; empty for grouped ones.
std::vector<float> host_pack(const TailOp& op, const std::byte* weights);

}  // namespace splitcnn::inline v0::gpu
