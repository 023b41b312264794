#pragma once
/// The network of one device: six graph convolutions each with a linear layer, an LSTM, a linear output. Matrices are row-major with the
/// inputs in the rows, so that y = x W; LSTM gates stand in the order input, forget, output, cell.
///
/// run_net_*() are the same source compiled for three instruction sets (net_eigen.hpp); run_net() takes the best of this machine.
#include <cstddef>

namespace splitcnn::inline v0 {

inline constexpr int net_depth = 6;
inline constexpr int most_hidden = 128;

/// Pointers into the weights, which outlive it.
struct NetWeights {
  int inputs = 0, hidden = 0;
  bool own = true;                       ///< a layer's own row has weights apart and is added to (variant default)
  const float* conv[net_depth] = {};     ///< inputs or hidden x (own ? 2 : 1) * hidden: neighbours, then own
  const float* conv_bias[net_depth] = {};
  const float* linear[net_depth] = {};   ///< hidden x hidden
  const float* linear_bias[net_depth] = {};
  const float* lstm_input = nullptr;     ///< hidden x 4 hidden
  const float* lstm_recurrent = nullptr; ///< hidden x 4 hidden
  const float* lstm_bias = nullptr;      ///< 4 hidden
  const float* out = nullptr;            ///< hidden
  float out_bias = 0;
};

/// One call. Row i of x has the neighbours near[start[i]] ... near[start[i + 1] - 1], whose mean it sees.
struct NetCall {
  int rows = 0;
  const float* x = nullptr;     ///< rows x inputs
  const int* start = nullptr;   ///< rows + 1
  const int* near = nullptr;
  bool backward = false;        ///< the LSTM goes from the last row to the first
  float* scratch = nullptr;     ///< net_scratch() floats
  float* y = nullptr;           ///< rows
};

[[nodiscard]] constexpr std::size_t net_scratch(int rows, int hidden) noexcept {
  return static_cast<std::size_t>(rows + 1) * static_cast<std::size_t>(hidden) * 8;
}

void run_net_baseline(const NetWeights& w, const NetCall& call);
void run_net_avx2(const NetWeights& w, const NetCall& call);
void run_net_avx512(const NetWeights& w, const NetCall& call);

enum class NetIsa { baseline, avx2, avx512 };
[[nodiscard]] NetIsa net_isa() noexcept;
void run_net(const NetWeights& w, const NetCall& call);

}  // namespace splitcnn::inline v0
