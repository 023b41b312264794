// Events of a trace as Chrome's trace-event JSON: complete events (X) for spans, nestable async ones (b, e) for what overlaps,
// flow events (s, t, f) for the arrows of a frame, instants (i) for marks, metadata (M) for names.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "core/trace_buffer.hpp"

namespace splitcnn::inline v0 {

class TraceWriter {
 public:
  explicit TraceWriter(const TraceBuffer& buffer)
      : tracks_{buffer.tracks_}, lost_{buffer.added_}, filled_(tracks_.size()), popped_(tracks_.size()) {
    const std::size_t kept = std::min<std::uint64_t>(buffer.added_, buffer.events_.size());
    lost_ -= kept;
    events_.reserve(kept);
    for (std::uint64_t i = buffer.added_ - kept; i < buffer.added_; ++i) events_.push_back(buffer.events_[i % buffer.events_.size()]);
    for (const TraceEvent& e : events_) origin_ = std::min(origin_, e.t0);
  }

  std::string write() {
    out_ = "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"lost_events\": " + std::to_string(lost_) + "}, \"traceEvents\": [\n";
    names();
    for (const TraceEvent& e : events_) {
      switch (e.kind) {
        case TraceEvent::Kind::fill:
          fill(e);
          break;
        case TraceEvent::Kind::pass:
          queued(e);
          break;
        case TraceEvent::Kind::result:
          result(e);
          break;
        case TraceEvent::Kind::span:
          complete(e, lane(e.track), escaped(e.name), "stage", e.t0, e.t1, "");
          break;
        case TraceEvent::Kind::mark:
          line("\"ph\": \"i\", \"s\": \"t\", \"name\": {}, \"cat\": \"mark\", {}, \"args\": {{\"frame\": {}}}", escaped(e.name),
               at(e.track, lane(e.track), e.t0), e.number);
          break;
      }
    }
    batches();
    if (out_.ends_with(",\n")) out_.resize(out_.size() - 2);
    return std::move(out_) + "\n]}\n";
  }

 private:
  static std::string escaped(const char* text) {
    return nlohmann::json(text ? text : "").dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  static std::string escaped(const std::string& text) { return escaped(text.c_str()); }

  /// A source has its pushes and its results on two lanes, a device its runs and what waits for it.
  static unsigned lane(std::size_t track) { return static_cast<unsigned>(2 * track + 1); }
  static unsigned second_lane(std::size_t track) { return static_cast<unsigned>(2 * track + 2); }

  [[nodiscard]] double us(Clock::time_point t) const { return std::chrono::duration<double, std::micro>{t - origin_}.count(); }
  [[nodiscard]] std::string at(std::size_t track, unsigned tid, Clock::time_point t) const {
    return fmt::format("\"pid\": {}, \"tid\": {}, \"ts\": {:.3f}", tracks_[track].pipeline, tid, us(t));
  }

  template <class... Args>
  void line(const char* format, const Args&... args) {
    out_ += '{';
    out_ += fmt::vformat(format, fmt::make_format_args(args...));
    out_ += "},\n";
  }

  void complete(const TraceEvent& e, unsigned tid, const std::string& name, const char* category, Clock::time_point from, Clock::time_point to,
                const std::string& args) {
    line("\"ph\": \"X\", \"name\": {}, \"cat\": \"{}\", {}, \"dur\": {:.3f}, \"args\": {{{}}}", name, category, at(e.track, tid, from),
         us(to) - us(from), args);
  }

  /// A point of a frame's arrow, bound to the span around it.
  void flow(const TraceEvent& e, unsigned tid, char phase, Clock::time_point t) {
    if (e.flow == 0) return;
    line("\"ph\": \"{}\", \"bp\": \"e\", \"name\": \"frame\", \"cat\": \"frame\", \"id\": {}, {}", phase, e.flow, at(e.track, tid, t));
  }

  void names() {
    for (std::size_t t = 0; t < tracks_.size(); ++t) {
      const TraceBuffer::Track& track = tracks_[t];
      const bool source = track.kind == TraceBuffer::TrackKind::source;
      line("\"ph\": \"M\", \"name\": \"process_name\", \"pid\": {}, \"args\": {{\"name\": \"pipeline {}\"}}", track.pipeline, track.pipeline);
      const std::pair<unsigned, std::string> lanes[] = {{lane(t), track.name}, {second_lane(t), track.name + (source ? " results" : " queue")}};
      for (const auto& [tid, name] : lanes) {
        line("\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": {}, \"tid\": {}, \"args\": {{\"name\": {}}}", track.pipeline, tid, escaped(name));
        // Sources above devices, results below them: the way of a frame is downwards.
        const unsigned order = (source ? (tid == lane(t) ? 0 : 200'000) : 100'000) + tid;
        line("\"ph\": \"M\", \"name\": \"thread_sort_index\", \"pid\": {}, \"tid\": {}, \"args\": {{\"sort_index\": {}}}", track.pipeline, tid,
             order);
      }
    }
  }

  void fill(const TraceEvent& e) {
    // Threads that share a source overlap, spans of one lane must not.
    Clock::time_point& free = filled_[e.track];
    const Clock::time_point asked = std::max(e.t0, free), granted = std::max(e.t1, free);
    free = std::max(free, e.t2);
    const std::string frame = fmt::format("\"frame\": {}", e.number);
    if (granted - asked > std::chrono::microseconds{1}) complete(e, lane(e.track), "\"wait for a token\"", "queue", asked, granted, frame);
    complete(e, lane(e.track), fmt::format("\"frame {}\"", e.number), "transfer", granted, std::max(granted, e.t2), frame);
    flow(e, lane(e.track), 's', granted);
  }

  void queued(const TraceEvent& e) {
    if (e.flow == 0) return;  // a check
    const std::string name = fmt::format("\"name\": {}, \"cat\": \"queue\", \"id\": {}", escaped("waits for " + tracks_[e.track].name), e.flow);
    line("\"ph\": \"b\", {}, {}", name, at(e.track, second_lane(e.track), e.t0));
    line("\"ph\": \"e\", {}, {}", name, at(e.track, second_lane(e.track), e.t1));
  }

  void result(const TraceEvent& e) {
    Clock::time_point& free = popped_[e.track];
    const Clock::time_point ready = std::min(std::max(e.t0, free), e.t1);  // results are popped one after another
    free = std::max(free, e.t1);
    complete(e, second_lane(e.track), fmt::format("\"{} {}\"", e.failed ? "failed" : "result", e.number), "queue", ready, e.t1,
             fmt::format("\"frame\": {}", e.number));
    flow(e, second_lane(e.track), 'f', ready);
  }

  /// Frames of one batch are one span. A device runs its batches one after another, however many it was given.
  void batches() {
    std::map<std::pair<std::uint16_t, std::uint64_t>, std::vector<const TraceEvent*>> found;
    for (const TraceEvent& e : events_) {
      if (e.kind == TraceEvent::Kind::pass) found[{e.track, e.number}].push_back(&e);
    }
    std::vector<const std::vector<const TraceEvent*>*> order;
    for (const auto& [_, frames] : found) order.push_back(&frames);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->front()->t2 < b->front()->t2; });
    std::vector<Clock::time_point> free_at(tracks_.size(), origin_);
    for (const auto* frames : order) {
      const TraceEvent& e = *frames->front();
      const Clock::time_point begin = std::min(std::max(e.t1, free_at[e.track]), e.t2);
      free_at[e.track] = e.t2;
      const std::string name = e.flow == 0 ? fmt::format("check {}", e.name) : e.name;
      complete(e, lane(e.track), escaped(name), e.flow == 0 ? "check" : "run", begin, e.t2,
               fmt::format("\"frames\": {}, \"failed\": {}", e.flow == 0 ? 0 : frames->size(), e.failed));
      for (const TraceEvent* f : *frames) flow(*f, lane(e.track), 't', begin);
    }
  }

  std::vector<TraceEvent> events_;
  std::vector<TraceBuffer::Track> tracks_;
  std::uint64_t lost_;
  std::vector<Clock::time_point> filled_, popped_;  ///< by track: until when the lane is taken
  Clock::time_point origin_ = Clock::time_point::max();
  std::string out_;
};

std::string TraceBuffer::json() const {
  std::unique_lock lock{mutex_};
  TraceWriter writer{*this};
  lock.unlock();
  return writer.write();
}

}  // namespace splitcnn::inline v0
