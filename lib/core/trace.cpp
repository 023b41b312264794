#include "splitcnn/trace.hpp"

#include <algorithm>

#include "core/json_file.hpp"
#include "core/trace_buffer.hpp"

namespace splitcnn::inline v0 {
namespace {

constexpr std::size_t max_events = std::size_t{1} << 26;
constexpr std::size_t max_tracks = 65'000;  // a pipeline whose sources come and go for ever shares the last one

struct Here {
  TraceBuffer* buffer = nullptr;
  std::uint16_t track = 0;
};
thread_local Here here;

}  // namespace

TraceBuffer::TraceBuffer(std::size_t events) : events_(events) {}

std::uint32_t TraceBuffer::add_pipeline() {
  const std::lock_guard lock{mutex_};
  return ++pipelines_;
}

std::uint16_t TraceBuffer::add_track(std::uint32_t pipeline, TrackKind kind, const std::string& name) {
  const std::lock_guard lock{mutex_};
  for (std::size_t t = 0; t < tracks_.size(); ++t) {  // a source that comes again takes its old track
    if (tracks_[t].pipeline == pipeline && tracks_[t].kind == kind && tracks_[t].name == name) return static_cast<std::uint16_t>(t);
  }
  if (tracks_.size() < max_tracks) tracks_.push_back({pipeline, kind, name});
  return static_cast<std::uint16_t>(tracks_.size() - 1);
}

const char* TraceBuffer::keep(const std::string& name) {
  const std::lock_guard lock{mutex_};
  for (const auto& kept : names_) {
    if (*kept == name) return kept->c_str();
  }
  names_.push_back(std::make_unique<std::string>(name));
  return names_.back()->c_str();
}

void TraceBuffer::add(const TraceEvent& event) noexcept {
  const std::lock_guard lock{mutex_};
  events_[added_++ % events_.size()] = event;
}

std::uint64_t TraceBuffer::new_flow() noexcept {
  const std::lock_guard lock{mutex_};
  return ++flows_;
}

std::uint64_t TraceBuffer::recorded() const noexcept {
  const std::lock_guard lock{mutex_};
  return added_;
}

std::uint64_t TraceBuffer::lost() const noexcept {
  const std::lock_guard lock{mutex_};
  return added_ - std::min<std::uint64_t>(added_, events_.size());
}

TraceScope::TraceScope(TraceBuffer* buffer, std::uint16_t track) noexcept { here = {buffer, track}; }
TraceScope::~TraceScope() { here = {}; }

TraceSpan::TraceSpan(const char* name) noexcept : name_{name} {
  if (here.buffer) begin_ = Clock::now().time_since_epoch().count();
}

TraceSpan::~TraceSpan() {
  if (!here.buffer) return;
  here.buffer->add({.kind = TraceEvent::Kind::span,
                    .track = here.track,
                    .t0 = Clock::time_point{Clock::duration{begin_}},
                    .t1 = Clock::now(),
                    .name = name_});
}

Trace::Trace(const TraceOptions& options) {
  if (options.events == 0 || options.events > max_events) {
    throw Error{Errc::bad_argument, "TraceOptions::events: " + std::to_string(options.events) + "; give 1 to " + std::to_string(max_events)};
  }
  buffer_ = std::make_shared<TraceBuffer>(options.events);
}

void Trace::save(const std::filesystem::path& path) const { write_text(path, json()); }
std::string Trace::json() const { return buffer_->json(); }
std::uint64_t Trace::recorded() const noexcept { return buffer_->recorded(); }
std::uint64_t Trace::lost() const noexcept { return buffer_->lost(); }

}  // namespace splitcnn::inline v0
