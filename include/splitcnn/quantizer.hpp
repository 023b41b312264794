#pragma once
/// Post-training quantisation for the DPU: one calibration over the whole graph serves every cut.
///
///     std::vector<Tensor> frames = ...;                      // 32 to 128 typical inputs, float, the model's own layout
///     QuantizedGraph quant = Quantizer{}.calibrate(graph, frames);
///     quant.save("model.splitcnn.json");
///     QuantizedGraph again = QuantizedGraph::load(graph, "model.splitcnn.json");
///
/// Values are int8 * 2^-fix_point: per tensor, symmetric, power-of-two. Fix points minimise the squared error
/// of round-trip quantisation over what calibration saw (not the maximum). Weights and biases round half away
/// from zero, activations half up, as the vendor's quantizer does (Xilinx/Vitis-AI v3.0, vai_q_pytorch,
/// nndct_fix_kernels_cpu.h, methods 3 and 2); then single weights move to their other neighbour where the input's statistics say
/// that the output comes closer to float. Tensors between two convolutions are equalised per channel.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

/// int8 weights ([out][kernel_h][kernel_w][in / groups]) and biases of one convolution.
struct WeightBytes {
  std::vector<std::int8_t> weights, bias;
  friend bool operator==(const WeightBytes&, const WeightBytes&) = default;
};

/// Fix points of a convolution or gemm when the nodes up to `folded_through` (its own id when nothing is folded: the cut
/// falls right behind it) are folded into its weights. Stand-alone channel-wise affine nodes (batch_norm, add or mul
/// with a per-channel constant) have an entry of their own, as 1x1 depthwise convolutions. A convolution beside an equalised
/// tensor has further entries for when that tensor stays inside the segment.
struct WeightQuant {
  NodeId node = 0;
  NodeId folded_through = 0;
  int weight_fix_point = 0;
  int bias_fix_point = 0;
  bool equalised_in = false;   ///< its input carries the scales of channel_scale(input)
  bool equalised_out = false;  ///< so does its output
  std::shared_ptr<const WeightBytes> tuned{};  ///< by fine_tune(); null: the weights are rounded when they are loaded
  friend bool operator==(const WeightQuant& a, const WeightQuant& b);
};

/// Cross-layer equalisation: inside a segment channel c of the tensor is stored times factors[c]; the weights that write it are
/// multiplied and those that read it divided, so that one fix point per tensor suits all channels. Tensors tied by adds and pools share
/// factors. Holds in segments that contain the nodes [first, last); elsewhere the tensor is stored plainly, with
/// QuantizedGraph::fix_point(), so what crosses a cut is always plain.
struct ChannelScale {
  TensorId tensor = 0;
  NodeId first = 0, last = 0;
  int fix_point = 0;           ///< of the scaled tensor
  std::vector<float> factors;  ///< > 0
  friend bool operator==(const ChannelScale&, const ChannelScale&) = default;
};

/// Mean and variance of each channel of a tensor that convolutions read: what rounding their weights looks at.
struct ChannelMoments {
  TensorId tensor = 0;
  std::vector<float> mean, variance;
  friend bool operator==(const ChannelMoments&, const ChannelMoments&) = default;
};

/// A graph with fix points. A value; cheap to copy like Graph.
class SPLITCNN_API QuantizedGraph {
 public:
  /// `fix_points` has one entry per tensor of the graph (ignored for constants), `weights` sorted by (node, folded_through,
  /// equalised_in, equalised_out), `scales` and `moments` by tensor. Throws bad_argument.
  QuantizedGraph(Graph graph, std::vector<int> fix_points, std::vector<WeightQuant> weights, bool synthetic = false,
                 std::vector<ChannelScale> scales = {}, std::vector<ChannelMoments> moments = {});

  /// Reads what save() wrote and checks that it belongs to `graph` (hash). Throws io, bad_file, mismatch.
  static QuantizedGraph load(const Graph& graph, const std::filesystem::path& json);
  /// Writes or updates the "calibration" part of a sidecar file; other parts stay. Throws io, bad_file.
  void save(const std::filesystem::path& json) const;

  [[nodiscard]] const Graph& graph() const noexcept { return graph_; }
  [[nodiscard]] int fix_point(TensorId id) const noexcept { return fix_points_[id]; }
  [[nodiscard]] std::span<const int> fix_points() const noexcept { return fix_points_; }
  /// Throws mismatch naming the node when calibration has no such entry.
  [[nodiscard]] const WeightQuant& weight(NodeId node, NodeId folded_through, bool equalised_in = false,
                                          bool equalised_out = false) const;
  [[nodiscard]] std::span<const WeightQuant> weights() const noexcept { return weights_; }
  /// nullptr for tensors that are not equalised.
  [[nodiscard]] const ChannelScale* channel_scale(TensorId id) const noexcept;
  [[nodiscard]] std::span<const ChannelScale> channel_scales() const noexcept { return scales_; }
  /// nullptr where nothing is known: then weights are rounded one by one.
  [[nodiscard]] const ChannelMoments* moments(TensorId id) const noexcept;
  [[nodiscard]] std::span<const ChannelMoments> moments() const noexcept { return moments_; }
  /// True when calibrated on noise (zoo graphs): good for speed, meaningless for accuracy.
  [[nodiscard]] bool synthetic() const noexcept { return synthetic_; }

 private:
  Graph graph_;
  std::vector<int> fix_points_;
  std::vector<WeightQuant> weights_;
  std::vector<ChannelScale> scales_;
  std::vector<ChannelMoments> moments_;
  bool synthetic_ = false;
};

struct QuantizerOptions {
  std::size_t max_frames = 128;                         ///< frames beyond this are ignored
  std::function<void(std::size_t, std::size_t)> progress{};  ///< (frames done, frames in all); called from the calling thread
};

class SPLITCNN_API Quantizer {
 public:
  explicit Quantizer(QuantizerOptions options = {});

  /// Runs the float graph on every frame and chooses all fix points. A frame is a float tensor in the model's own layout
  /// (graphs with several inputs: inputs in turn, frame after frame). Throws bad_argument (no frames), mismatch (shapes),
  /// bad_model (NaN or infinite activations, naming the node).
  [[nodiscard]] QuantizedGraph calibrate(const Graph& graph, std::span<const Tensor> frames) const;
  /// Calibrates on seeded noise and marks the result synthetic.
  [[nodiscard]] QuantizedGraph calibrate_synthetic(const Graph& graph, std::size_t frames = 4) const;

 private:
  QuantizerOptions options_;
};

struct FineTuneOptions {
  std::size_t max_frames = 128;         ///< frames beyond this are ignored
  std::size_t most_inputs = 4608;       ///< layers with more weights per output are left as they are
  int threads = 1;
  std::function<void(std::size_t, std::size_t)> progress{};  ///< (layers done, layers in all); called from the calling thread
};

/// Chooses weight bytes layer by layer, each looking at what it is really fed: the INT8 outputs of the layers before it, so that it also
/// makes up for their errors where it can. Solves each layer by least squares on the frames and rounds its weights one after the other, what
/// one misses made up for by the next (lib/dpu/soft/successive_rounding.hpp). Serves every cut; only the layer right before a cut
/// inside a group of equalised tensors keeps its plain weights. Takes seconds to minutes. `frames` as for Quantizer::calibrate, usually the
/// same. Throws as that does, and unsupported when no head of the graph fits the DPU.
[[nodiscard]] SPLITCNN_API QuantizedGraph fine_tune(const QuantizedGraph& quant, std::span<const Tensor> frames, const FineTuneOptions& options = {});

}  // namespace splitcnn::inline v0
