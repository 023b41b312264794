#pragma once
/// Behind a Trace: fixed-size events in a ring, and the tracks they belong to.
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "splitcnn/stage.hpp"
#include "splitcnn/trace.hpp"

namespace splitcnn::inline v0 {

struct TraceEvent {
  enum class Kind : std::uint8_t {
    fill,    ///< source: t0 asked for a token, t1 got it, t2 pushed
    pass,    ///< device: t0 queued, t1 submitted, t2 done; `number` is the batch
    result,  ///< source: t0 ready, t1 popped
    span,    ///< device: t0 to t1
    mark,    ///< any: at t0
  };
  Kind kind = Kind::mark;
  bool failed = false;
  std::uint16_t track = 0;
  std::uint64_t flow = 0;      ///< the frame, over all sources; 0: none
  std::uint64_t number = 0;    ///< the frame's id in its source; of a pass, the batch
  Clock::time_point t0, t1, t2;
  const char* name = nullptr;  ///< of a span or mark (static), or of the stage (kept by the buffer)
};

struct TraceBuffer {
  enum class TrackKind : std::uint8_t { source, device };

  explicit TraceBuffer(std::size_t events);

  // Set-up: any thread, may throw.
  std::uint32_t add_pipeline();
  std::uint16_t add_track(std::uint32_t pipeline, TrackKind kind, const std::string& name);
  const char* keep(const std::string& name);  ///< the same text, for as long as the buffer lives

  // Hot path: any thread.
  void add(const TraceEvent& event) noexcept;
  std::uint64_t new_flow() noexcept;

  [[nodiscard]] std::string json() const;
  [[nodiscard]] std::uint64_t recorded() const noexcept;
  [[nodiscard]] std::uint64_t lost() const noexcept;

 private:
  struct Track {
    std::uint32_t pipeline = 0;
    TrackKind kind{};
    std::string name;
  };
  friend class TraceWriter;

  mutable std::mutex mutex_;
  std::vector<TraceEvent> events_;
  std::uint64_t added_ = 0, flows_ = 0;
  std::uint32_t pipelines_ = 0;
  std::vector<Track> tracks_;
  std::vector<std::unique_ptr<std::string>> names_;
};

struct TraceAccess {
  static std::shared_ptr<TraceBuffer> buffer(const Trace& trace) { return trace.buffer_; }
};

/// Where the TraceSpans of this thread go, while it lives.
class TraceScope {
 public:
  TraceScope(TraceBuffer* buffer, std::uint16_t track) noexcept;
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;
};

}  // namespace splitcnn::inline v0
