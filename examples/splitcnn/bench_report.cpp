// The bench's numbers as one JSON object and as tables.
#include <fmt/core.h>

#include "bench.hpp"
#include "terminal.hpp"

namespace tool {

namespace {

nlohmann::json to_json(const Measurement& m) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageNumbers& s : m.stages) {
    stages.push_back(
        {{"name", s.name}, {"device", s.device}, {"isolated_ms", s.isolated_ms}, {"busy_ms", s.busy_ms}});
  }
  return {{"interval_ms", m.interval_ms},
          {"latency_ms_p50", m.latency_ms_p50},
          {"latency_ms_p99", m.latency_ms_p99},
          {"cut", m.cut ? nlohmann::json(*m.cut) : nlohmann::json{}},
          {"stages", stages},
          {"efficiency", m.efficiency}};
}

nlohmann::json to_json(const std::optional<Measurement>& m) { return m ? to_json(*m) : nlohmann::json{}; }

std::vector<const Measurement*> all(const BenchReport& report) {
  std::vector<const Measurement*> list{&report.main};
  for (const auto* m : {&report.all_dpu, &report.all_gpu, &report.interleave}) {
    if (*m) list.push_back(&**m);
  }
  return list;
}

std::string verdict(const BenchReport& report) {
  const Measurement* best = &report.main;
  for (const Measurement* m : all(report)) {
    if (m->interval_ms < best->interval_ms) best = m;
  }
  if (best == &report.main) return fmt::format("{} gives the most frames per second here.", best->title);
  return fmt::format("{} gives more frames per second here than {} ({:.2f} times).", best->title,
                     report.main.title, report.main.interval_ms / best->interval_ms);
}

}  // namespace

nlohmann::json to_json(const BenchReport& report) {
  nlohmann::json result = to_json(report.main);
  result["baselines"] = {{"all_dpu", to_json(report.all_dpu)},
                         {"all_gpu", to_json(report.all_gpu)},
                         {"interleave", to_json(report.interleave)}};
  return result;
}

std::string to_text(const BenchReport& report) {
  using Align = Table::Align;
  std::string text =
      fmt::format("{}: {} frames per row in {} alternations, medians, all measured on this machine\n\n",
                  report.model, report.frames, report.alternations);
  Table rows{{{"", Align::left},
              {"interval"},
              {"frames/s"},
              {"latency p50"},
              {"p99"},
              {"efficiency"},
              {"against " + report.main.title}}};
  for (const Measurement* m : all(report)) {
    rows.row({m->title, milliseconds(m->interval_ms),
              fmt::format("{:.{}f}", 1000 / m->interval_ms, m->interval_ms > 10 ? 1 : 0),
              milliseconds(m->latency_ms_p50), milliseconds(m->latency_ms_p99),
              fmt::format("{:.2f}", m->efficiency),
              fmt::format("{:.2f} x", report.main.interval_ms / m->interval_ms)});
  }
  text += rows.text() + '\n';
  Table stages{
      {{"stage", Align::left}, {"of", Align::left}, {"on", Align::left}, {"alone"}, {"in the pipeline"}}};
  for (const Measurement* m : all(report)) {
    for (const StageNumbers& s : m->stages) {
      stages.row({s.name, m->title, s.device, milliseconds(s.isolated_ms), milliseconds(s.busy_ms)});
    }
  }
  text += stages.text();
  text +=
      "\ninterval: between results with frames always waiting. latency: push to result, one frame at a "
      "time.\n"
      "efficiency: busiest device's stages measured alone / interval.\n\n";
  if (!report.why.empty()) text += wrapped(report.why);
  return text + wrapped(verdict(report));
}

}  // namespace tool
