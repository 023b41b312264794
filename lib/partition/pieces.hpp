#pragma once
/// Times pieces of a graph on one device, as real stages on seeded noise: loaded, run and freed one at a
/// time.
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

class MeasuredSoFar;

/// A batch of the stage's preferred size. Noise looks like activations: small floats, full-range int8.
class NoiseBatch {
 public:
  explicit NoiseBatch(const Stage& stage, std::size_t frames = 0);  ///< 0: preferred_batch()
  [[nodiscard]] Batch batch() const noexcept { return {frames_, in_views_, out_views_}; }
  [[nodiscard]] std::size_t frames() const noexcept { return frames_; }

 private:
  std::size_t frames_ = 1;
  std::vector<Tensor> in_, out_;
  std::vector<TensorView> in_views_, out_views_;
};

/// ms per frame of one run. Throws the stage's error.
double run_once(Stage& stage, const NoiseBatch& noise);

/// Run-to-run spread: half the interquartile range over the median.
double spread_of(std::vector<double> values);
double median_of(std::vector<double> values);  ///< values is not empty

struct PieceTime {
  double ms =
      std::numeric_limits<double>::quiet_NaN();  ///< per frame, median; NaN where the device cannot run it
  double spread = 0;
  std::size_t batch = 1;
};

class Pieces {
 public:
  /// `so_far` may be null. The references must outlive this.
  Pieces(const Partitioner& parts, const Devices& devices, const DeviceInfo& info, int runs,
         MeasuredSoFar* so_far);

  [[nodiscard]] int units() const { return static_cast<int>(parts_.units().size()); }
  [[nodiscard]] const DeviceInfo& info() const noexcept { return info_; }
  /// Units [first, last) on the device, the rest on its neighbours.
  PieceTime time(int first, int last);
  /// Times a piece that looks wrong once more; the faster of both counts, as nothing makes a machine faster
  /// than it is.
  PieceTime again(int first, int last);
  /// The same piece, loaded but not prepared; null where the device cannot run it.
  [[nodiscard]] std::unique_ptr<Stage> load(int first, int last) const;

 private:
  [[nodiscard]] std::string key_of(int first, int last) const;
  [[nodiscard]] Plan plan_of(int first, int last) const;
  PieceTime measure(int first, int last) const;

  const Partitioner& parts_;
  const Devices& devices_;
  const DeviceInfo& info_;
  int runs_;
  MeasuredSoFar* so_far_;
  // The neighbour decides what crosses: a DPU hands int8 to a float device and the other way round. It is not
  // run.
  std::string dpu_neighbour_, float_neighbour_ = "host";
};

}  // namespace splitcnn::inline v0
