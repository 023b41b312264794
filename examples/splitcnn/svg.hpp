#pragma once
// Just enough SVG for the report: line and bar charts over the cuts, as text.
#include <optional>
#include <string>
#include <vector>

namespace tool {

struct Series {
  std::string name, colour;
  std::vector<double> values;  ///< one per x; NaN leaves a gap
};

struct Chart {
  std::string x_title, y_title, y_unit;
  std::vector<Series> series;
  std::optional<std::size_t> marked{};  ///< an x to draw a line at
  std::string mark_text{};
  bool bars = false;
  std::vector<std::string> x_labels{};  ///< empty: 0, 1, 2, ...
};
std::string chart_svg(const Chart& chart);

/// Boxes on one line per row, over a common axis from 0: what each device does when.
struct Span {
  std::size_t row = 0;
  double from = 0, to = 0;
  std::string text, colour;
};
std::string timeline_svg(const std::vector<std::string>& rows, const std::vector<Span>& spans, const std::string& unit);

std::string escaped(const std::string& text);

}  // namespace tool
