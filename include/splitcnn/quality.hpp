#pragma once
/// What INT8 does to a calibrated graph, layer by layer and cut by cut, measured on frames with the software DPU.
///
///     const Quality q = measure_quality(quant, frames);
///     for (const LayerQuality& l : q.layers) fmt::print("{}: {:.1f} dB, {:.2f} % saturated\n", l.node, l.sqnr_db, 100 * l.saturated);
///
/// SQNR is the signal-to-quantisation-noise ratio, 10 log10(sum x^2 / sum (x - q)^2) in dB, over all values x of the float network and q of
/// the INT8 one: infinite where they are equal. What it does to the network's answers is measure_agreement() (profile.hpp).
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// What one layer writes, with every layer before it in INT8, too.
struct LayerQuality {
  std::string node;                        ///< the layer
  std::string tensor;                      ///< what it writes
  int fix_point = 0;                       ///< of that tensor
  std::optional<int> weight_fix_point{};   ///< of layers that have weights
  bool equalised = false;                  ///< the tensor is stored with a scale per channel (ChannelScale)
  double saturated = 0;                    ///< share of its values that are -128 or 127
  double sqnr_db = 0;
};

struct Quality {
  std::vector<LayerQuality> layers;        ///< of the head up to the last legal cut, in the order they run
  std::vector<double> cut_sqnr_db;         ///< per cut, of what crosses it; NaN where it is not legal, and for cut 0, where no DPU has run
  std::size_t frames = 0;                  ///< that were looked at
};

struct QualityOptions {
  Granularity granularity = Granularity::block;  ///< of the cuts
  std::size_t max_frames = 32;                   ///< frames beyond this are ignored
  int threads = 1;
  std::function<void(std::size_t, std::size_t)> progress{};  ///< (cuts done, cuts in all); called from the calling thread
};

/// `frames` as for Quantizer::calibrate. Runs every head in INT8 and in float on every frame: seconds to minutes. Throws bad_argument (no
/// frames), mismatch (shapes), unsupported when no head of the graph fits the DPU.
[[nodiscard]] SPLITCNN_API Quality measure_quality(const QuantizedGraph& quant, std::span<const Tensor> frames, const QualityOptions& options = {});

}  // namespace splitcnn::inline v0
