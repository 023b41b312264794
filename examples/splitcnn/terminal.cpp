#include "terminal.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

namespace tool {

namespace {

constexpr std::size_t screen = 100;

std::string fitted(const std::string& cell, std::size_t width, Table::Align align) {
  const std::string text = cell.size() <= width ? cell
                           : width > 3          ? cell.substr(0, width - 3) + "..."
                                                : cell.substr(0, width);
  return align == Table::Align::left ? fmt::format("{:<{}}", text, width)
                                     : fmt::format("{:>{}}", text, width);
}

std::string without_trailing_spaces(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> width(columns_.size());
  std::size_t total = 2 * (columns_.size() - 1);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    width[c] = columns_[c].title.size();
    for (const auto& row : rows_) width[c] = std::max(width[c], row[c].size());
    total += width[c];
  }
  if (total > screen) {
    const std::size_t least = std::max<std::size_t>(columns_[elastic_].title.size(), 8);
    const std::size_t over = total - screen;
    width[elastic_] =
        width[elastic_] > least + over ? width[elastic_] - over : std::min(width[elastic_], least);
  }
  std::string result, line;
  for (std::size_t c = 0; c < columns_.size(); ++c)
    line += (c ? "  " : "") + fitted(columns_[c].title, width[c], columns_[c].align);
  result += without_trailing_spaces(line);
  for (const auto& row : rows_) {
    line.clear();
    for (std::size_t c = 0; c < columns_.size(); ++c)
      line += (c ? "  " : "") + fitted(row[c], width[c], columns_[c].align);
    result += without_trailing_spaces(line);
  }
  return result;
}

ProgressBar::ProgressBar(std::string what) : what_{std::move(what)}, terminal_{isatty(STDERR_FILENO) == 1} {}

ProgressBar::~ProgressBar() {
  if (terminal_ && drawn_ != ~std::size_t{0}) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::step(std::size_t done, std::size_t all) {
  if (!terminal_ || all == 0) return;
  constexpr std::size_t cells = 40;
  const std::size_t percent = std::min<std::size_t>(100, 100 * done / all);
  if (percent == drawn_) return;
  drawn_ = percent;
  const std::size_t full = percent * cells / 100;
  fmt::print(stderr, "\r\033[K{} [{}{}] {:3} %", what_, std::string(full, '#'),
             std::string(cells - full, '.'), percent);
  std::fflush(stderr);
}

void note(const std::string& text) { fmt::print(stderr, "{}", wrapped(text)); }

std::string wrapped(const std::string& text) {
  std::istringstream words{text};
  std::string result, line;
  for (std::string word; words >> word;) {
    if (!line.empty() && line.size() + 1 + word.size() > screen) {
      result += line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return result + line + '\n';
}

std::string milliseconds(double ms) {
  if (!std::isfinite(ms)) return "-";
  return ms > 0 && ms < 1 ? fmt::format("{:.3f} ms", ms) : fmt::format("{:.2f} ms", ms);
}

std::string kibibytes(std::size_t bytes) {
  return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
}

}  // namespace tool
