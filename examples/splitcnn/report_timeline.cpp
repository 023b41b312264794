// The timeline of the report from a trace of a real run.
#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "report_parts.hpp"
#include "svg.hpp"
#include "tool.hpp"

namespace tool {

namespace {

constexpr std::uintmax_t most_bytes = 256u << 20;

struct Run {
  int lane = 0;
  double from = 0, to = 0;  // ms
};

struct TraceRuns {
  std::map<int, std::string> lanes;  // of devices that ran something
  std::vector<Run> runs;             // by time
};

nlohmann::json parsed(const std::filesystem::path& path) {
  std::ifstream stream{path, std::ios::binary};
  std::error_code error;
  if (!stream || std::filesystem::file_size(path, error) > most_bytes || error) {
    throw sc::Error{sc::Errc::io,
                    fmt::format("{}: cannot be read, or is larger than {} MiB; trace fewer frames",
                                path.string(), most_bytes >> 20)};
  }
  return nlohmann::json::parse(stream, nullptr, false);  // a discarded value is no object
}

TraceRuns read_runs(const std::filesystem::path& path) {
  const nlohmann::json file = parsed(path);
  const auto bad = [&](const char* what) -> sc::Error {
    return {sc::Errc::bad_file,
            path.string() + ": " + what + "; write one with `splitcnn run MODEL --trace FILE`"};
  };
  const auto events = file.is_object() ? file.find("traceEvents") : file.end();
  if (!file.is_object() || events == file.end() || !events->is_array()) throw bad("is not a trace");
  TraceRuns trace;
  std::map<int, std::string> names;
  try {
    for (const nlohmann::json& e : *events) {
      const std::string phase = e.value("ph", "");
      if (phase == "M" && e.value("name", "") == "thread_name") names[e.at("tid")] = e.at("args").at("name");
      if (phase != "X" || e.value("cat", "") != "run") continue;
      const double from = e.at("ts").get<double>() / 1e3;
      trace.runs.push_back({e.at("tid"), from, from + e.at("dur").get<double>() / 1e3});
    }
  } catch (const nlohmann::json::exception&) {
    throw bad("has an event without its fields");
  }
  if (trace.runs.empty()) throw bad("has no run of any device");
  std::sort(trace.runs.begin(), trace.runs.end(), [](const Run& a, const Run& b) { return a.from < b.from; });
  for (const Run& run : trace.runs)
    trace.lanes[run.lane] = names.contains(run.lane) ? names[run.lane] : fmt::format("lane {}", run.lane);
  return trace;
}

}  // namespace

std::string measured_timeline(const std::filesystem::path& path) {
  const TraceRuns trace = read_runs(path);
  std::vector<std::string> rows;
  std::map<int, std::size_t> row_of;
  for (const auto& [lane, name] : trace.lanes) row_of[lane] = rows.size(), rows.push_back(name);

  const std::size_t shown = std::min<std::size_t>(trace.runs.size(), 6 * rows.size()),
                    first = (trace.runs.size() - shown) / 2;
  std::vector<Span> spans;
  const double from = trace.runs[first].from, to = trace.runs[first + shown - 1].to;
  std::map<int, std::size_t> batch;
  for (const Run& run : trace.runs) {
    const std::size_t n = batch[run.lane]++, row = row_of[run.lane];
    if (run.to <= from || run.from >= to) continue;
    spans.push_back({row, std::max(run.from, from) - from, std::min(run.to, to) - from, std::to_string(n),
                     colour_of(rows[row])});
  }
  return fmt::format(
      "<h2>Both devices at work</h2><p>From a <span class='badge measured'>measured</span> trace ({}): "
      "batches in the middle of it, numbered per device.</p>"
      "<div class='scroll'>{}</div>",
      escaped(path.filename().string()), timeline_svg(rows, spans, "ms"));
}

}  // namespace tool
