#pragma once
// What the tool prints for people: aligned tables and a progress bar.
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace tool {

/// Columns as wide as their longest cell, at most 100 characters in all; the column named `elastic` gives
/// way.
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::right;
  };

  explicit Table(std::vector<Column> columns, std::size_t elastic = 0)
      : columns_{std::move(columns)}, elastic_{elastic} {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::size_t elastic_;
  std::vector<std::vector<std::string>> rows_;
};

/// One line on stderr, only when that is a terminal. Gone when done.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void step(std::size_t done, std::size_t all);
  /// For the library's progress options; valid as long as the bar.
  [[nodiscard]] std::function<void(std::size_t, std::size_t)> callback() {
    return [this](std::size_t done, std::size_t all) { step(done, all); };
  }

 private:
  std::string what_;
  bool terminal_;
  std::size_t drawn_ = ~std::size_t{0};
};

/// A remark on stderr, so that stdout stays clean for machines.
void note(const std::string& text);

/// Breaks a paragraph at spaces into lines of at most 100 characters.
std::string wrapped(const std::string& text);

std::string milliseconds(double ms);       ///< "12.34 ms", "-" when there is none
std::string kibibytes(std::size_t bytes);  ///< "196.0 KiB"

}  // namespace tool
