// Spans outside a pipeline, the ring, and the file. What a pipeline writes is tested in test/pipeline/trace_test.cpp.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/trace_buffer.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using nlohmann::json;

namespace {

std::size_t count(const json& trace, const std::string& phase) {
  std::size_t n = 0;
  for (const json& e : trace["traceEvents"]) n += e["ph"] == phase;
  return n;
}

}  // namespace

TEST_CASE("an empty trace is valid JSON; sizes are checked") {
  const Trace trace;
  CHECK(json::parse(trace.json())["traceEvents"].empty());
  CHECK(trace.recorded() == 0);
  CHECK_THROWS_AS(Trace{{.events = 0}}, Error);
  CHECK_THROWS_AS(Trace{{.events = std::size_t{1} << 40}}, Error);
  CHECK_THROWS_AS(trace.save("/nonexistent/trace.json"), Error);
}

TEST_CASE("a span is on the track of its thread's scope and nowhere without one") {
  const Trace trace;
  TraceBuffer& buffer = *TraceAccess::buffer(trace);
  const auto track = buffer.add_track(buffer.add_pipeline(), TraceBuffer::TrackKind::device, "dpu \"0\"\n\xff");
  { const TraceSpan nowhere{"nowhere"}; }
  {
    const TraceScope scope{&buffer, track};
    const TraceSpan outer{"outer"};
    const TraceSpan inner{"inner"};
  }
  { const TraceSpan nowhere{"nowhere"}; }
  const json trace_json = json::parse(trace.json());
  REQUIRE(count(trace_json, "X") == 2);
  CHECK(trace.recorded() == 2);
  std::vector<json> spans;
  for (const json& e : trace_json["traceEvents"]) {
    if (e["ph"] == "X") spans.push_back(e);
  }
  CHECK(spans[0]["name"] == "inner");  // ends first
  CHECK(spans[1]["name"] == "outer");
  CHECK(spans[1]["ts"].get<double>() <= spans[0]["ts"].get<double>());
}

TEST_CASE("the ring keeps the newest events and says how many are gone") {
  const Trace trace{{.events = 4}};
  TraceBuffer& buffer = *TraceAccess::buffer(trace);
  const auto track = buffer.add_track(buffer.add_pipeline(), TraceBuffer::TrackKind::source, "camera");
  CHECK(buffer.add_track(1, TraceBuffer::TrackKind::source, "camera") == track);
  for (std::uint64_t n = 0; n < 11; ++n) buffer.add({.track = track, .number = n, .t0 = Clock::now(), .name = "dropped"});
  CHECK(trace.recorded() == 11);
  CHECK(trace.lost() == 7);
  const json file = json::parse(trace.json());
  CHECK(file["otherData"]["lost_events"] == 7);
  std::vector<int> kept;
  for (const json& e : file["traceEvents"]) {
    if (e["ph"] == "i") kept.push_back(e["args"]["frame"].get<int>());
  }
  CHECK(kept == std::vector<int>{7, 8, 9, 10});
}
