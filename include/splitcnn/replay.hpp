#pragma once
/// Recording what a pipeline's stages were given and gave back, and running it again: after a field failure,
/// on another machine, on other devices.
///
///     Recorder recorder{"bad.rec", plan};
///     Pipeline cam{plan, std::move(devices), {.wrap = recorder.wrap()}};
///     ...                                            // frames flow; the first 100 are recorded
///     recorder.finish();
///
///     const Replay replay = replay_recording("bad.rec", graph, quant, Devices::open("dpu:0=software,cpu"));
///     if (replay.first) fmt::print("{}\n", replay.first->sentence());
///
/// The schedule is kept: the same batches, filled the same way, in the order they were submitted. On the
/// software back ends the same bytes come out; on others `first` names the tensor where the difference
/// begins, before it has spread.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "splitcnn/device.hpp"
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

struct RecordOptions {
  std::size_t frames = 100;              ///< per stage, those of Pipeline::warm_up() included; what comes later is not recorded
  std::uint64_t max_bytes = 1ull << 30;  ///< of the file; recording ends before it would be larger
};

/// Owns the file. Thread-safe; the pipeline may outlive it (its stages then record no more).
class SPLITCNN_API Recorder {
 public:
  /// Creates the file. Throws io, bad_argument (0 frames).
  Recorder(const std::filesystem::path& path, const Plan& plan, const RecordOptions& options = {});
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// For PipelineOptions::wrap of one pipeline of this plan. Stages that run while being recorded copy their
  /// tensors into the file on their worker thread: that costs speed, not order.
  [[nodiscard]] std::function<std::unique_ptr<Stage>(std::unique_ptr<Stage>)> wrap();
  /// Ends the recording. Throws io when anything could not be written.
  void finish();
  [[nodiscard]] std::uint64_t batches() const noexcept;  ///< recorded so far, all stages

 private:
  std::shared_ptr<struct Recording> recording_;
};

/// Where a replay first went another way.
struct ReplayDifference {
  std::string stage, device, tensor;
  std::size_t batch = 0;    ///< of all recorded ones, from 0
  std::size_t frame = 0;    ///< in the batch
  std::size_t element = 0;  ///< in the tensor, row-major
  double recorded = 0, replayed = 0;
  std::size_t elements = 0;  ///< of that tensor that differ
  double largest = 0;        ///< largest absolute difference in it
  [[nodiscard]] SPLITCNN_API std::string sentence() const;
};

struct Replay {
  std::size_t batches = 0, frames = 0, tensors = 0;  ///< compared
  std::size_t different = 0;                         ///< tensors with a different byte
  std::size_t failed = 0;                            ///< batches that failed when recorded: run, not compared
  std::size_t failed_now = 0;                        ///< batches that were good when recorded and failed now
  std::size_t skipped = 0;  ///< batches of stages that are not the plan's (own stages)
  std::optional<ReplayDifference> first;
};

/// Runs every recorded batch on `devices` with its recorded inputs and compares the outputs. `graph` and
/// `quant` must be those of the recording. Throws io, bad_file, mismatch (another graph, calibration, or a
/// device whose segments have other edges), no_device.
[[nodiscard]] SPLITCNN_API Replay replay_recording(const std::filesystem::path& path, const Graph& graph,
                                                   std::optional<QuantizedGraph> quant,
                                                   const Devices& devices);

}  // namespace splitcnn::inline v0
