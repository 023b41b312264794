// splitcnn calibrate --report: what INT8 does to every layer and at every cut.
#include "calibrate_report.hpp"

#include <fmt/core.h>

#include <cmath>

#include "terminal.hpp"

namespace tool {

namespace {

constexpr std::size_t most_frames = 32;  // that the report runs

std::string decibels(double db) { return std::isnan(db) ? "-" : std::isinf(db) ? "exact" : fmt::format("{:.1f}", db); }
std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.2f}", 100 * share); }

nlohmann::json report_json(const sc::Partitioner& parts, const sc::Quality& quality, const std::vector<double>& agreement) {
  nlohmann::json layers = nlohmann::json::array(), cuts = nlohmann::json::array();
  for (const sc::LayerQuality& l : quality.layers) {
    layers.push_back({{"name", l.node},
                      {"tensor", l.tensor},
                      {"fix_point", l.fix_point},
                      {"weight_fix_point", l.weight_fix_point ? nlohmann::json(*l.weight_fix_point) : nlohmann::json(nullptr)},
                      {"equalised", l.equalised},
                      {"saturated_pct", 100 * l.saturated},
                      {"sqnr_db", json_number(l.sqnr_db)}});
  }
  for (const sc::Cut& cut : parts.cuts()) {
    const auto k = static_cast<std::size_t>(cut.k);
    if (cut.k == 0 || !cut.legal) continue;
    cuts.push_back({{"k", cut.k}, {"after", cut.after}, {"sqnr_db", json_number(quality.cut_sqnr_db[k])}, {"agreement_pct", 100 * agreement[k]}});
  }
  return {{"frames", quality.frames}, {"layers", layers}, {"cuts", cuts}};
}

void print_tables(const sc::Partitioner& parts, const sc::Quality& quality, const std::vector<double>& agreement) {
  using Align = Table::Align;
  Table layers{{{"layer", Align::left}, {"fix point"}, {"weights"}, {"saturated %"}, {"SQNR dB"}}};
  for (const sc::LayerQuality& l : quality.layers) {
    layers.row({l.node, fmt::format("{}{}", l.equalised ? "*" : "", l.fix_point), l.weight_fix_point ? std::to_string(*l.weight_fix_point) : "-",
                percent(l.saturated), decibels(l.sqnr_db)});
  }
  Table cuts{{{"cut"}, {"after", Align::left}, {"SQNR dB"}, {"agreement %"}}, 1};
  for (const sc::Cut& cut : parts.cuts()) {
    const auto k = static_cast<std::size_t>(cut.k);
    if (cut.k > 0 && cut.legal) cuts.row({std::to_string(cut.k), cut.after, decibels(quality.cut_sqnr_db[k]), percent(agreement[k])});
  }
  fmt::print("\nINT8 beside float on {} of the calibration frames. A fix point f means bytes times 2^-f; * stored with a scale per channel.\n\n{}\n{}",
             quality.frames, layers.text(), cuts.text());
  fmt::print("\n{}", wrapped("SQNR: power of the float values over that of the error, of what the layer writes or what crosses the cut. "
                             "Agreement: frames with the same top class as in float, the DPU in front of the cut."));
}

}  // namespace

void report_calibration(const sc::QuantizedGraph& quant, std::span<const sc::Tensor> frames, sc::Granularity granularity, bool json) {
  const std::span<const sc::Tensor> some = frames.first(std::min(frames.size(), most_frames * quant.graph().inputs().size()));
  const sc::Partitioner parts{quant, granularity};
  sc::Quality quality;
  {
    ProgressBar bar{"comparing"};
    quality = sc::measure_quality(quant, some, {.granularity = granularity, .max_frames = most_frames, .progress = bar.callback()});
  }
  ProgressBar bar{"agreement"};
  const std::vector<double> agreement = sc::measure_agreement(parts, sc::Devices::open("dpu:0=software,cpu"), some, bar.callback());
  if (json) {
    fmt::print("{}\n", report_json(parts, quality, agreement).dump());
  } else {
    print_tables(parts, quality, agreement);
  }
}

}  // namespace tool
