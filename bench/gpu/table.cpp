#include "table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace bench {

using nlohmann::json;

namespace {

constexpr const char* peers[] = {"torch eager", "torch graph", "torch compile"};

std::string text(const json& line, const char* key) { return line.contains(key) && line[key].is_string() ? line[key].get<std::string>() : ""; }
double number(const json& line, const char* key) { return line.contains(key) && line[key].is_number() ? line[key].get<double>() : -1; }

struct Row {
  std::string net;
  int batch = 0;
  std::vector<double> ours;
  std::map<std::string, std::string> cells;
  double rel_l2 = 0;
  bool top1_equal = true;
};

/// The same thing was timed beside every peer.
double middle(std::vector<double> v) {
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), at, v.end());
  return *at;
}

}  // namespace

std::string table(const std::vector<json>& lines) {
  std::vector<Row> rows;
  std::vector<std::string> reasons;
  std::size_t width = 3;
  for (const json& line : lines) {
    const std::string net = text(line, "net");
    const int batch = static_cast<int>(number(line, "batch"));
    width = std::max(width, net.size());
    auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.net == net && r.batch == batch; });
    if (row == rows.end()) row = rows.insert(rows.end(), {.net = net, .batch = batch, .ours = {}, .cells = {}});
    row->ours.push_back(number(line, "ours_ms"));
    // JSON has no NaN: what is not a number is wrong beyond all bounds.
    row->rel_l2 = std::max(row->rel_l2, number(line, "rel_l2") < 0 ? HUGE_VAL : number(line, "rel_l2"));
    row->top1_equal = row->top1_equal && line.value("top1_equal", false);
    if (number(line, "peer_ms") > 0) {
      row->cells[text(line, "peer")] = fmt::format("{:.3f} {:5.2f}x", number(line, "peer_ms"), number(line, "ratio"));
    } else if (const std::string why = text(line, "peer_missing"); !why.empty()) {
      const std::string reason = text(line, "peer").empty() ? "no peer: " + why : fmt::format("{} of {}, batch {}: {}", text(line, "peer"), net, batch, why);
      if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end()) reasons.push_back(reason);
    }
  }
  std::string all = lines.empty() ? "" : text(lines[0], "card") + ", ms host memory to host memory; ratio above 1: the library is faster\n";
  all += fmt::format("{:<{}} {:>5} {:>9}", "net", width, "batch", "ours");
  for (const char* p : peers) all += fmt::format(" {:>16}", p);
  all += fmt::format(" {:>9}  top-1\n", "rel-L2");
  for (const Row& r : rows) {
    all += fmt::format("{:<{}} {:>5} {:>9.3f}", r.net, width, r.batch, middle(r.ours));
    for (const char* p : peers) all += fmt::format(" {:>16}", r.cells.contains(p) ? r.cells.at(p) : "-");
    all += fmt::format(" {:>9.1e}  {}\n", r.rel_l2, r.top1_equal ? "equal" : "DIFFERENT");
  }
  for (const std::string& r : reasons) all += r + "\n";
  return all;
}

}  // namespace bench
