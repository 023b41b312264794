#pragma once
/// A segment in INT8 on a DPU. Without a board this is the software DPU: the same arithmetic, bit for bit
/// (docs/arithmetic.md).
///
///     DpuStage head{plan, plan.head()};
///     DpuStage oracle{plan, plan.head(), {.backend = DpuBackend::scalar}};    // slow and obvious, same bytes
///     DpuStage board{plan, plan.head(), {.backend = DpuBackend::vart,
///                                        .worker = {.address = "tcp://board:7700", .key = "board.key", .xmodel = "head.xmodel"}}};
///
/// With the back end `vart` the segment runs in another process, splitcnn-dpu-worker, here or on a board, because the vendor's runtime
/// ends its process on errors. The stage supervises it: a worker that dies, hangs beyond the deadline or sends garbage is ended, its
/// batches are computed again by the fallback, and another one is started, within a budget; it must reproduce a golden frame before it
/// gets traffic. No frame is lost or out of order.
///
/// Every tensor at the segment's edge is int8 with its fix point, channels last, except graph inputs and outputs: those
/// are f32 in the model's own layout, converted on entry (R(x * 2^fix_point)) and exit (x * 2^-fix_point). With an
/// input transform in the plan, the graph input is an 8-bit frame already turned into int8 (see Pipeline::push).
#include <filesystem>
#include <vector>

#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

enum class DpuBackend : std::uint8_t {
  automatic,  ///< oneDNN kernels where the start-up self-test proves them exact on this machine, scalar elsewhere
  scalar,     ///< reference kernels only
  vart,       ///< the vendor's runtime in splitcnn-dpu-worker; see DpuWorkerOptions
};

/// What computes the batches that a worker does not.
enum class DpuFallback : std::uint8_t {
  software,  ///< the software DPU: the same bytes
  none,      ///< nobody: those batches fail (stage_failed), for a route without the DPU (Plan::with_fallback)
};

/// For the back end `vart`.
struct DpuWorkerOptions {
  std::string address = "local";      ///< "local": a process of this machine, shared memory; "tcp://host:port": splitcnn-dpu-worker --listen there
  std::filesystem::path program{};    ///< the worker to start when local; empty: beside this program, beside the library, or on the PATH
  std::filesystem::path key{};        ///< key file of a tcp worker, the same on both sides
  std::filesystem::path xmodel{};     ///< the compiled or exported segment, as the worker's machine names it
  std::string mode = "run";           ///< "run": the DPU; "ref": the vendor's CPU reference, slow
  unsigned subgraph = 0;              ///< which of the file's DPU subgraphs
  Millis deadline{2000};              ///< for one batch; then the worker counts as stuck
  Millis start_deadline{30000};       ///< from starting the worker to the golden frame
  int restarts = 5;                   ///< within restart_window; then the fallback goes on until reset_worker()
  Millis restart_window{60000};
  DpuFallback fallback = DpuFallback::software;
  /// Instead of `xmodel`, for plans with several segments on the DPU (layer switching): each segment takes the file whose manifest
  /// (<file>.json, read here) is for its nodes. Every segment has a worker process of its own.
  std::vector<std::filesystem::path> xmodels{};
};

enum class DpuWorkerState : std::uint8_t { none, serving, recovering, exhausted };
[[nodiscard]] SPLITCNN_API const char* to_string(DpuWorkerState state) noexcept;

/// How a stage's worker fares. Counts are since the stage was made.
struct DpuWorkerStats {
  DpuWorkerState state = DpuWorkerState::none;  ///< none: no worker, the back end is another one
  long pid = 0;                       ///< on its own machine; 0 while there is none
  Clock::time_point serving_since{};  ///< when it last came (back) into service
  std::uint64_t worker_frames = 0, fallback_frames = 0;
  std::uint64_t restarts = 0, deaths = 0, timeouts = 0, garbage = 0;
  std::string backend{};              ///< as the worker names it
  std::string last_error{};           ///< why it was last lost or could not be started; empty: never
};

struct DpuStageOptions {
  DpuBackend backend = DpuBackend::automatic;
  int threads = 1;  ///< threads this stage computes with; never changes the application's own OpenMP settings
  DpuWorkerOptions worker{};
};

class SPLITCNN_API DpuStage : public Stage {
 public:
  /// Throws not_calibrated, unsupported (naming the node and the limit), bad_argument. With a worker also no_device, device_failed, what
  /// the worker says of the model (io, bad_model, unsupported), and mismatch: tensors or the golden frame are not the segment's.
  DpuStage(const Plan& plan, const Segment& segment, const DpuStageOptions& options = {});
  ~DpuStage() override;

  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] const std::string& device() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept override;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept override;
  /// With a worker: what its runner says (6 on a VCK190), and two batches, so that one is converted while the other runs.
  [[nodiscard]] std::size_t preferred_batch() const noexcept override;
  [[nodiscard]] std::size_t max_in_flight() const noexcept override;
  void prepare() override;
  Ticket submit(const Batch& batch) override;
  Status wait(Ticket ticket, Clock::time_point deadline) override;
  std::vector<NodeTime> time_nodes(const Batch& batch) override;

  /// From any thread.
  [[nodiscard]] DpuWorkerStats worker_stats() const;
  /// Gives a worker that was given up its whole budget again. From any thread.
  void reset_worker();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes nodes [first, last) as ONNX in QDQ form (power-of-two scales, int8, zero point 0), with the DPU's own weight bytes, so that other
/// runtimes run and check it. Inputs and outputs are float, in the model's own layout and names. Runtimes round ties to even and the DPU
/// up: results differ by at most one step per layer. Throws unsupported (naming the node), mismatch, io.
SPLITCNN_API void save_qdq(const QuantizedGraph& quant, NodeId first, NodeId last, const std::filesystem::path& path);

/// Writes nodes [first, last) as an xmodel with one DPU subgraph, which the vendor's CPU reference runs (mode "ref") to the same bytes as the
/// software DPU. Whether the vendor's compiler takes it for a board is unverified. XIR makes the file, in splitcnn-dpu-worker (`worker` as in
/// DpuWorkerOptions::program). Beside it go <path>.json, the manifest (graph, calibration, nodes, tensors, checksums), and <path>.golden, a
/// frame with the boundary tensors it must give; a stage that finds the manifest refuses the file for another graph, cut or calibration.
/// Throws unsupported (naming the node), not_built without XIR, no_device without a worker, io.
SPLITCNN_API void save_xmodel(const QuantizedGraph& quant, NodeId first, NodeId last, const std::filesystem::path& path,
                              const std::filesystem::path& worker = {});

/// What an xmodel holds, as one JSON object: subgraphs with device, fingerprint, runners, batch, inputs and outputs with their fix points.
/// Needs no VART. Throws io, bad_model.
SPLITCNN_API std::string describe_xmodel(const std::filesystem::path& path);

}  // namespace splitcnn::inline v0
