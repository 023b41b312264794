#include "svg.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace tool {

namespace {

constexpr double width = 720, height = 300, left = 62, right = 14, bottom = 44;
constexpr double letter = 8.2;  ///< about the width of one

/// A round step that gives about five lines.
double step_of(double most) {
  const double raw = most / 5, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double s : {1.0, 2.0, 5.0}) {
    if (s * power >= raw) return s * power;
  }
  return 10 * power;
}

std::string text(double x, double y, const char* anchor, const std::string& what, const char* extra = "") {
  return fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='{}'{}>{}</text>", x, y, anchor, extra, escaped(what));
}

struct Axes {
  double most = 1;
  std::size_t count = 1;
  bool bars = false;
  double top = 34;  ///< of the plot; lower when the legend needs a line of its own

  [[nodiscard]] double x(std::size_t i) const {
    const double room = width - left - right;
    return bars ? left + room * (static_cast<double>(i) + 0.5) / static_cast<double>(count)
                : left + room * static_cast<double>(i) / static_cast<double>(std::max<std::size_t>(count - 1, 1));
  }
  [[nodiscard]] double y(double v) const { return top + (height - top - bottom) * (1 - v / most); }
};

std::string title_of(const Chart& chart) { return chart.y_title + (chart.y_unit.empty() ? "" : ", " + chart.y_unit); }

double legend_width(const Chart& chart) {
  double sum = right;
  for (const Series& s : chart.series) sum += letter * static_cast<double>(s.name.size()) + 32;
  return sum;
}

Axes axes_of(const Chart& chart) {
  Axes a{.bars = chart.bars};
  if (chart.series.size() > 1 && title_of(chart).size() * letter + legend_width(chart) > width) a.top = 56;
  double most = 0;
  for (const Series& s : chart.series) {
    a.count = std::max(a.count, s.values.size());
    for (const double v : s.values) {
      if (std::isfinite(v)) most = std::max(most, v);
    }
  }
  if (most <= 0) most = 1;
  const double step = step_of(most);
  a.most = std::ceil(most / step - 1e-9) * step;
  return a;
}

std::string grid(const Chart& chart, const Axes& a) {
  std::string svg;
  const double step = step_of(a.most);
  for (double v = 0; v <= a.most * 1.0001; v += step) {
    svg += fmt::format("<line class='grid' x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}'/>", left, width - right, a.y(v), a.y(v));
    svg += text(left - 6, a.y(v) + 4, "end", fmt::format("{:g}", v));
  }
  const std::size_t every = std::max<std::size_t>(1, (a.count + 11) / 12);
  for (std::size_t i = 0; i < a.count; i += every) {
    svg += text(a.x(i), height - bottom + 18, "middle", i < chart.x_labels.size() ? chart.x_labels[i] : std::to_string(i));
  }
  svg += text((left + width - right) / 2, height - 6, "middle", chart.x_title);
  return svg + text(4, 14, "start", title_of(chart));
}

std::string line_of(const Series& s, const Axes& a) {
  std::string path, dots;
  bool pen = false;
  for (std::size_t i = 0; i < s.values.size(); ++i) {
    if (!std::isfinite(s.values[i])) {
      pen = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen ? "L" : "M", a.x(i), a.y(s.values[i]));
    dots += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='2.6' fill='{}'><title>{} at {}: {:.4g}</title></circle>", a.x(i), a.y(s.values[i]), s.colour,
                        escaped(s.name), i, s.values[i]);
    pen = true;
  }
  return fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='2'/>{}", path, s.colour, dots);
}

std::string bars_of(const Series& s, const Axes& a) {
  std::string svg;
  const double wide = std::max(2.0, 0.7 * (width - left - right) / static_cast<double>(a.count));
  for (std::size_t i = 0; i < s.values.size(); ++i) {
    if (!std::isfinite(s.values[i])) continue;
    const double y = a.y(s.values[i]);
    svg += fmt::format("<rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}' fill='{}'><title>cut {}: {:.4g}</title></rect>", a.x(i) - wide / 2, y,
                       wide, height - bottom - y, s.colour, i, s.values[i]);
  }
  return svg;
}

std::string legend(const Chart& chart, const Axes& a) {
  const double y = a.top - 20;
  std::string svg;
  double x = width - right;
  for (auto s = chart.series.rbegin(); s != chart.series.rend(); ++s) {
    x -= letter * static_cast<double>(s->name.size());
    svg += text(x, y, "start", s->name);
    svg += fmt::format("<rect x='{:.1f}' y='{:.1f}' width='11' height='11' rx='2' fill='{}'/>", x - 16, y - 9, s->colour);
    x -= 32;
  }
  return svg;
}

}  // namespace

std::string escaped(const std::string& raw) {
  std::string safe;
  for (const char c : raw) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '\'': safe += "&#39;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += c;
    }
  }
  return safe;
}

std::string chart_svg(const Chart& chart) {
  const Axes a = axes_of(chart);
  std::string svg = fmt::format("<svg viewBox='0 0 {} {}' role='img'>", width, height) + grid(chart, a);
  if (chart.marked) {
    const double x = a.x(*chart.marked);
    const bool end = x > width * 0.7;
    svg += fmt::format("<line class='mark' x1='{0:.1f}' x2='{0:.1f}' y1='{1}' y2='{2}'/>", x, a.top, height - bottom);
    svg += text(x + (end ? -5 : 5), a.top + 12, end ? "end" : "start", chart.mark_text, " class='marktext'");
  }
  for (const Series& s : chart.series) svg += chart.bars ? bars_of(s, a) : line_of(s, a);
  return svg + (chart.series.size() > 1 ? legend(chart, a) : "") + "</svg>";
}

std::string timeline_svg(const std::vector<std::string>& rows, const std::vector<Span>& spans, const std::string& unit) {
  constexpr double row_height = 44;
  const double tall = 30 + row_height * static_cast<double>(rows.size());
  double most = 0;
  for (const Span& s : spans) most = std::max(most, s.to);
  if (most <= 0) most = 1;
  const auto x = [&](double t) { return left + (width - left - right) * t / most; };
  std::string svg = fmt::format("<svg viewBox='0 0 {} {}' role='img'>", width, tall);
  for (std::size_t r = 0; r < rows.size(); ++r) svg += text(left - 8, row_height * static_cast<double>(r) + 26, "end", rows[r]);
  const double step = step_of(most);
  for (double t = 0; t <= most * 1.0001; t += step) {
    svg += fmt::format("<line class='grid' x1='{0:.1f}' x2='{0:.1f}' y1='4' y2='{1}'/>", x(t), tall - 22);
    svg += text(x(t), tall - 6, t + step > most ? "end" : "middle", fmt::format("{:g}{}", t, t == 0 ? " " + unit : ""));
  }
  for (const Span& s : spans) {
    const double y = row_height * static_cast<double>(s.row) + 6, wide = x(s.to) - x(s.from);
    svg += fmt::format("<rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='30' rx='3' fill='{}' stroke='#fff'><title>{} {:.3g} to {:.3g}</title></rect>",
                       x(s.from), y, std::max(wide, 1.0), s.colour, escaped(s.text), s.from, s.to);
    if (wide > 9 * static_cast<double>(s.text.size())) svg += text(x(s.from) + wide / 2, y + 20, "middle", s.text, " class='inside'");
  }
  return svg + "</svg>";
}

}  // namespace tool
