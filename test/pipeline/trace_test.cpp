// What a pipeline writes to its trace: every frame's spans and arrows, nothing that overlaps on one lane, marks where it is loud.
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "pipeline/fake_devices.hpp"
#include "plan/branching.hpp"
#include "splitcnn/error.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using nlohmann::json;

namespace {

constexpr std::array<float, 2> blank{};

std::vector<json> events(const Trace& trace, const std::string& phase) {
  std::vector<json> found;
  const json all = json::parse(trace.json());
  for (const json& e : all["traceEvents"]) {
    if (e["ph"] == phase) found.push_back(e);
  }
  return found;
}

std::set<std::string> lanes(const Trace& trace) {
  std::set<std::string> names;
  for (const json& e : events(trace, "M")) {
    if (e["name"] == "thread_name") names.insert(e["args"]["name"]);
  }
  return names;
}

/// Spans of one lane lie one in the other or apart.
void check_nesting(const Trace& trace) {
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> spans;
  for (const json& e : events(trace, "X")) {
    const double begin = e["ts"], length = e["dur"];
    CHECK(begin >= 0);
    CHECK(length >= 0);
    spans[{e["pid"], e["tid"]}].emplace_back(begin, begin + length);
  }
  constexpr double rounding = 0.002;
  for (auto& [lane, list] : spans) {
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : a.second > b.second; });
    std::vector<double> open;
    for (const auto& [begin, end] : list) {
      while (!open.empty() && open.back() <= begin + rounding) open.pop_back();
      if (!open.empty()) CHECK(end <= open.back() + rounding);
      open.push_back(end);
    }
  }
}

}  // namespace

TEST_CASE("every frame has an arrow from its push through every stage to its pop") {
  const Trace trace;
  constexpr std::uint64_t frames = 40;
  {
    Pipeline pipe{fake_chain({{}, {.batch = 3, .in_flight = 2}}), {.depth = 8, .batch_timeout = Millis{1}, .trace = trace}};
    Source left = pipe.source({.name = "left"}), right = pipe.source({.name = "right"});
    pipe.warm_up();
    CHECK(trace.recorded() == 0);  // warm-up is not traced
    std::jthread pusher{[&] {
      for (std::uint64_t n = 0; n < frames; ++n) (n % 2 ? left : right).push(blank);
      pipe.close();
    }};
    while (pipe.pop()) {
    }
  }
  CHECK(lanes(trace) == std::set<std::string>{"default", "default results", "infer", "infer results", "left", "left results", "right",
                                              "right results", "fake:0", "fake:0 queue", "fake:1", "fake:1 queue"});
  std::map<std::uint64_t, std::string> arrows;
  std::map<std::uint64_t, double> at;
  for (const char* phase : {"s", "t", "f"}) {
    for (const json& e : events(trace, phase)) {
      const std::uint64_t id = e["id"];
      arrows[id] += phase;
      CHECK(e["ts"].get<double>() >= at[id]);
      at[id] = e["ts"];
    }
  }
  CHECK(arrows.size() == frames);
  for (const auto& [id, way] : arrows) CHECK(way == "sttf");
  CHECK(events(trace, "b").size() == 2 * frames);
  CHECK(events(trace, "e").size() == 2 * frames);
  std::size_t fills = 0, in_batches = 0;
  for (const json& e : events(trace, "X")) {
    fills += e["cat"] == "transfer";
    if (e["name"] == "s1") in_batches += e["args"]["frames"].get<std::size_t>();
  }
  CHECK(fills == frames);
  CHECK(in_batches == frames);
  check_nesting(trace);
}

TEST_CASE("stages mark what they do inside; several pipelines share a trace; it can be saved while frames flow") {
  const Trace trace{{.events = 512}};
  const auto work = [](auto, auto) {
    const TraceSpan span{"work"};
  };
  Pipeline a{one({.name = "a", .compute = work}), {.trace = trace}}, b{one({.name = "b", .compute = work}), {.trace = trace}};
  std::atomic<bool> done{false};
  std::jthread reader{[&] {
    while (!done) (void)events(trace, "X");
  }};
  for (int n = 0; n < 1000; ++n) {
    CHECK(a.infer(blank).ok());
    CHECK(b.infer(blank).ok());
  }
  done = true;
  reader.join();
  CHECK(trace.lost() == trace.recorded() - 512);
  std::set<int> pipelines;
  for (const json& e : events(trace, "X")) {
    if (e["name"] == "work") pipelines.insert(e["pid"].get<int>());
  }
  CHECK(pipelines == std::set<int>{1, 2});
  check_nesting(trace);
}

TEST_CASE("drops, failures and changes of health are in the trace") {
  const Trace trace;
  fake_loads() = {};
  fake_loads().adjust = [](FakeOptions& o) {
    if (o.device == "gpu:0") o.fail_every = 1;
  };
  set_log_handler([](LogLevel, std::string_view) {});
  {
    const Plan plan{branching_graph(), std::nullopt, {route({{"gpu:0", 8}}), route({{"cpu", 8}}, 0)}};
    Pipeline pipe{plan, fake_devices(), {.overflow = Overflow::drop_newest, .depth = 2, .failures_to_leave = 1, .trace = trace}};
    std::vector<Result> held;
    for (int n = 0; n < 2; ++n) held.push_back(pipe.infer(std::vector<float>(3 * 8 * 6)));
    CHECK(pipe.push(std::vector<float>(3 * 8 * 6)) == Push::dropped);
  }
  set_log_handler({});
  fake_loads() = {};
  std::set<std::string> marks;
  for (const json& e : events(trace, "i")) marks.insert(e["name"]);
  CHECK(marks == std::set<std::string>{"dropped", "resting"});
}
