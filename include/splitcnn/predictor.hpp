#pragma once
/// Predicts where to cut a network for a pair of devices that need not be here: graph convolutions and an LSTM over the network's layers
/// (after arXiv 2605.00174, section 4), a few hundred kilobytes of weights, some hundred microseconds on one core.
///
///     const Predictor predictor = Predictor::load("vck190-rtx2080.safetensors");
///     const Partitioner parts{Graph::load("net.onnx")};
///     const Forecast f = predictor.forecast(parts);
///     fmt::print("cut {} of {}: {:.2f} ms, 90 % sure of {:.2f} to {:.2f}\n", f.k, parts.units().size(), f.interval_ms, f.low_ms, f.high_ms);
///     Plan plan = parts.search(predictor.profile(parts));      // or choose(), switch_layers(), mix(): any of them works on predictions
///
/// What is predicted is marked Origin::predicted. info() says what the weights were trained on; weights trained on modelled times predict a
/// model, not a machine. docs/predictor.md has the accuracy of the shipped weights and how to train others.
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/partitioner.hpp"
#include "splitcnn/profile.hpp"

namespace splitcnn::inline v0 {

/// What a weight file says of itself.
struct PredictorInfo {
  std::string head, tail;          ///< devices as plans call them: "dpu:0", "gpu:0"
  std::string head_name, tail_name;
  std::string variant;             ///< "default", or "paper": its features, normalisation and accumulated output
  std::string truth;               ///< "modelled" or "measured": what it was trained on
  std::string training_hash;       ///< of the training data
  double confidence = 0.9;         ///< of Forecast::low_ms and high_ms
  int hidden = 0;
  std::size_t adapted_by = 0;      ///< networks given to adapt()
};

/// Where to cut, and how sure that is. Times are ms per frame.
struct Forecast {
  int k = 0;                       ///< the legal cut of the least interval
  double interval_ms = 0;          ///< its predicted interval
  double low_ms = 0, high_ms = 0;  ///< holds the true interval of cut k with PredictorInfo::confidence (split-conformal)
  std::vector<int> contenders;     ///< k and at most two more cuts whose intervals overlap k's, best first: worth measuring
  std::vector<double> head_ms;     ///< per cut: the first device with the link it waits for; 0 for cut 0
  std::vector<double> tail_ms;     ///< per cut: the second device; 0 for the last cut
  std::vector<double> chance;      ///< per cut, of the partition model; empty where the file has none
};

/// A network and what its pieces take on the two devices: measure()'s, or a few pieces by other means (NaN: unknown).
struct MeasuredNetwork {
  Partitioner parts;
  Profile profile;
};

/// Immutable; const calls from any thread. Copies share the weights.
class SPLITCNN_API Predictor {
 public:
  /// Reads a safetensors file of at most 16 MiB and checks all of it. Throws io; bad_file naming what is wrong.
  static Predictor load(const std::filesystem::path& path);
  /// The same from memory; `name` stands in the errors.
  static Predictor parse(std::span<const std::byte> file, const std::string& name = "weights");

  [[nodiscard]] const PredictorInfo& info() const noexcept;

  /// Predicts for the partitioner's cuts, whether it is calibrated or not. Throws unsupported for a graph of more than 100,000 nodes.
  [[nodiscard]] Forecast forecast(const Partitioner& parts) const;
  /// The same into vectors that are kept: allocates nothing for a graph no larger than one this thread has seen.
  void forecast(const Partitioner& parts, Forecast& out) const;

  /// Predicted times of both devices and the link, as measure() would bring them home.
  [[nodiscard]] Profile profile(const Partitioner& parts) const;

  struct Impl;

 private:
  friend SPLITCNN_API Predictor adapt(const Predictor& predictor, std::span<const MeasuredNetwork> nets);
  explicit Predictor(std::shared_ptr<const Impl> impl) noexcept;
  std::shared_ptr<const Impl> impl_;
};

/// The predictor for devices that resemble those of its weights, from 10 to 30 networks measured there: per device a factor on the times of all layers, further
/// ones for depthwise and grouped convolutions, dense layers and layers without weights, and one that grows with a layer's time (least squares
/// on the logarithms of all known prefix and suffix times, with a pull towards no correction beyond the first). The links stay. The interval of a
/// forecast is as wide as these networks ask for, and no narrower than before; they are not independent of the fit, so it may be narrow. Adapting
/// again starts from the weights. Throws bad_argument without networks, or for a profile that is of another network or lacks one of the devices.
[[nodiscard]] SPLITCNN_API Predictor adapt(const Predictor& predictor, std::span<const MeasuredNetwork> nets);

/// "avx512", "avx2" or "baseline": the code path of this machine.
[[nodiscard]] SPLITCNN_API const char* predictor_isa() noexcept;

class Devices;

struct PredictOptions {
  /// Where open devices of the predictor's names are given and the contenders' intervals overlap, at most three cuts are measured and the fastest is
  /// taken: first the forecast's, then each time the one that is best by the curves as the measurements correct them.
  const Devices* devices = nullptr;
  int runs = 7;                    ///< timed runs per stage of a cut
};

/// What Partitioner::predict() returns; converts to its plan.
struct Prediction {
  Plan plan;                       ///< expected() is predicted, or measured where devices were given and asked
  Forecast forecast;
  std::vector<Candidate> runners_up;  ///< the other contenders, as predicted
  std::vector<Candidate> measured;    ///< cuts that were measured, best first; need not be contenders
  operator const Plan&() const& noexcept { return plan; }
  operator Plan() && noexcept { return std::move(plan); }
};

}  // namespace splitcnn::inline v0
