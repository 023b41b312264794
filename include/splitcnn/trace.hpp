#pragma once
/// What a pipeline did and when, as a file for ui.perfetto.dev or chrome://tracing.
///
///     Trace trace;
///     Pipeline cam{plan, std::move(devices), {.trace = trace}};
///     ...                                  // frames flow
///     trace.save("run.trace.json");        // any time, also while they do
///
/// One track per source (waiting for a token, filling it: copy or conversion of the camera frame), one for its results (until
/// they are popped), one per device (batches as they run, checks, and inside them what stages mark with TraceSpan), and one
/// for what waits for a device. Arrows link the spans of a frame from push to pop. Drops, failures and changes of a stage's
/// health are marks. The newest events are kept, in memory that is allocated once.
///
/// A pipeline without a trace pays one branch per event. With one it pays some 0.1 us per frame and stage
/// (bench/pipeline_bench measures both).
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

struct TraceOptions {
  std::size_t events = 1u << 17;  ///< kept, 64 bytes each; a frame takes two, and one per stage
};

/// A cheap handle; copies name the same trace, several pipelines may write to one. Safe from any thread.
class SPLITCNN_API Trace {
 public:
  /// Throws bad_argument for 0 or more than 2^26 events.
  explicit Trace(const TraceOptions& options = {});

  /// Chrome's JSON object format, times in microseconds since the first event. Throws io.
  void save(const std::filesystem::path& path) const;
  [[nodiscard]] std::string json() const;

  [[nodiscard]] std::uint64_t recorded() const noexcept;  ///< events in all
  [[nodiscard]] std::uint64_t lost() const noexcept;      ///< of these, overwritten by newer ones

 private:
  friend struct TraceAccess;
  std::shared_ptr<struct TraceBuffer> buffer_;
};

/// A piece of the work inside Stage::submit() or wait(), from construction to destruction:
///
///     Ticket submit(const Batch& batch) override {
///       { TraceSpan upload{"upload"}; copy_to_device(batch); }
///       ...
///
/// Appears on the device's track of the pipeline whose worker thread this is; anywhere else, and without a trace, it costs a branch.
class SPLITCNN_API TraceSpan {
 public:
  /// `name` is kept as a pointer: a string literal.
  explicit TraceSpan(const char* name) noexcept;
  ~TraceSpan();
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  const char* name_;
  std::int64_t begin_ = 0;
};

}  // namespace splitcnn::inline v0
