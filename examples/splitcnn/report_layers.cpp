// The layer study in the report: which device suits which size.
#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "report_parts.hpp"
#include "svg.hpp"
#include "tool.hpp"

namespace tool {

namespace {

constexpr std::size_t most_lines = 10'000;
constexpr const char* colours[] = {"#0b6e99", "#b4520c", "#5b4b8a", "#3f8f4f",
                                   "#a03050", "#6b7f93", "#8a7a1c", "#1c2630"};

struct Cell {
  int figure = 0, input = 0, channels = 0, filters = 0, kernel = 0;
  double ratio = 0;
};

struct Study {
  std::string a, b;
  std::vector<Cell> cells;
  std::string classes;  // rows of a table
};

Study read_study(const std::filesystem::path& path) {
  std::ifstream file{path};
  if (!file) throw sc::Error{sc::Errc::io, path.string() + ": cannot be read"};
  Study study;
  std::string line;
  for (std::size_t n = 1; std::getline(file, line) && n <= most_lines; ++n) {
    try {
      const auto j = nlohmann::json::parse(line);
      const double ratio = j.at("ratio").is_number() ? j.at("ratio").get<double>() : std::nan("");
      if (j.at("name") == "layer") {
        study.a = j.at("a"), study.b = j.at("b");
        study.cells.push_back(
            {j.at("figure"), j.at("input"), j.at("channels"), j.at("filters"), j.at("kernel"), ratio});
      } else if (j.at("name") == "size_class") {
        study.classes +=
            fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2f}</td><td>{}</td><td>{}</td></tr>",
                        j.at("input").get<int>(), escaped(j.at("channels").dump()),
                        escaped(j.at("filters").dump()), ratio, escaped(j.at("prefers").get<std::string>()),
                        escaped(j.at("paper_prefers").get<std::string>()));
      }
    } catch (const nlohmann::json::exception&) {
      throw sc::Error{
          sc::Errc::bad_file,
          fmt::format("{}: line {} is not of a layer study; write it with `layer_study`", path.string(), n)};
    }
  }
  if (study.cells.empty())
    throw sc::Error{sc::Errc::bad_file, path.string() + ": has no layer; write it with `layer_study`"};
  return study;
}

/// The cells of a figure as one line per `by` over `x`.
std::string chart(const Study& study, int figure, const std::string& title, const char* x_name, int Cell::*x,
                  const char* by_name, int Cell::*by) {
  std::map<int, std::map<int, double>> lines;
  std::map<int, std::size_t> at;
  for (const Cell& c : study.cells) {
    if (c.figure == figure) lines[c.*by][c.*x] = c.ratio, at[c.*x] = 0;
  }
  Chart chart{.x_title = x_name,
              .y_title = fmt::format("time on {} over time on {}, a line per {}", study.a, study.b, by_name),
              .y_unit = ""};
  for (auto& [value, index] : at)
    index = chart.x_labels.size(), chart.x_labels.push_back(std::to_string(value));
  for (const auto& [value, points] : lines) {
    Series s{std::to_string(value), colours[chart.series.size() % std::size(colours)],
             std::vector<double>(at.size(), std::nan(""))};
    for (const auto& [px, ratio] : points) s.values[at[px]] = ratio;
    chart.series.push_back(std::move(s));
  }
  return fmt::format("<h3>{}</h3><div class='scroll'>{}</div>", escaped(title), chart_svg(chart));
}

}  // namespace

std::string layer_charts(const std::filesystem::path& path) {
  const Study study = read_study(path);
  std::string html = fmt::format(
      "<h2>Which layer suits which device</h2><p>One convolution with normalisation, activation and pooling, "
      "<span class='badge measured'>measured</span> ({}). "
      "Below 1 {} is faster.</p>",
      escaped(path.filename().string()), escaped(study.a));
  html += chart(study, 8, "Input size; 64 channels, kernel 3 (the paper's Figure 8)",
                "input height and width", &Cell::input, "number of filters", &Cell::filters);
  html += chart(study, 9, "Kernel of a first layer; input 224, 3 channels (Figure 9)", "kernel",
                &Cell::kernel, "number of filters", &Cell::filters);
  html += chart(study, 10, "Kernel; 64 channels, 128 filters (Figure 10)", "kernel", &Cell::kernel, "input size",
                &Cell::input);
  html += chart(study, 11, "Channels; 256 filters, kernel 3 (Figure 11)", "input channels", &Cell::channels,
                "input size", &Cell::input);
  html += chart(study, 8, "Filters; 64 channels, kernel 3 (Figure 12)", "filters", &Cell::filters, "input size",
                &Cell::input);
  if (study.classes.empty()) return html;
  return html +
         "<h3>Preferred device by size (Table III)</h3><div "
         "class='scroll'><table><tr><th>input</th><th>channels</th><th>filters</th><th>ratio</th>"
         "<th>here</th><th>paper (other devices)</th></tr>" +
         study.classes + "</table></div>";
}

}  // namespace tool
