// The tables of the two papers beside ours, one JSON line per cell. Every cell says whether ours is modelled or measured.
//
//     paper_tables --json                 both papers
//     paper_tables --json --modelled      without the part that measures this machine (minutes)
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "device_models/table1_fit.hpp"
#include "layer_switching.hpp"
#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;

namespace {

bool as_json = false;

struct Cell {
  const char* table;
  std::string model;
  const char* config;
  const char* set;
  std::string cell;
  double paper, ours;
  const char* origin;
};

void print(const Cell& c) {
  const double error = 100 * (c.ours / c.paper - 1);
  if (as_json) {
    fmt::print("{}\n", nlohmann::json{{"table", c.table}, {"model", c.model}, {"config", c.config}, {"set", c.set}, {"cell", c.cell},
                                      {"paper", c.paper}, {"ours", c.ours}, {"error_pct", error}, {"origin", c.origin}}.dump());
  } else {
    fmt::print("{:<14} {:<14} {:<9} {:<7} {:<24} paper {:8.3f}  ours {:8.3f}  {:+6.1f} %  {}\n", c.table, c.model, c.config, c.set, c.cell,
               c.paper, c.ours, error, c.origin);
  }
}

/// The library's own answer by its public interface; what the fit computes must be the same.
SpeedUp by_library(const PaperRow& row, const Models& m) {
  const Partitioner parts{Graph::zoo(row.net.name), Granularity::paper};
  const Profile p = model(parts, m.dpu, m.gpu, m.link);
  const int last = static_cast<int>(parts.cuts().size()) - 1;
  const auto period = [&](int k) {
    const auto bytes = static_cast<std::size_t>(row.net.crossing[static_cast<std::size_t>(k)]);
    return std::max(p.segment_ms("dpu:0", 0, k) + p.transfer_ms("dpu:0", "gpu:0", bytes), p.segment_ms("gpu:0", k, last));
  };
  int best = 1;
  for (int k = 2; k < last; ++k) {
    if (period(k) < period(best)) best = k;
  }
  return {p.segment_ms("dpu:0", 0, last) / period(best), p.devices[1].suffix_ms[0] / period(best), best, 0};
}

class Summary {
 public:
  void add(double error) { sum_ += std::abs(error), worst_ = std::max(worst_, std::abs(error)), ++count_; }
  void print(const char* table, const char* config, const char* set, const char* what) const {
    const double mean = sum_ / count_;
    if (as_json) {
      fmt::print("{}\n", nlohmann::json{{"table", table}, {"config", config}, {"set", set}, {"summary", what}, {"cells", count_},
                                        {"mean_abs_error_pct", mean}, {"max_abs_error_pct", worst_}, {"origin", "modelled"}}.dump());
    } else {
      fmt::print("{:<14} {:<9} {:<7} {}: mean {:.2f} %, max {:.2f} % over {} speed-ups (modelled)\n", table, config, set, what, mean, worst_,
                 count_);
    }
  }

 private:
  double sum_ = 0, worst_ = 0;
  int count_ = 0;
};

void print_row(const PaperRow& row, const PaperCell& paper, const SpeedUp& s, const char* config, const char* set, const char* suffix,
               Summary& summary) {
  const auto cell = [&](const char* name, double theirs, double ours) {
    print({"split.table1", row.net.name, config, set, std::string{name} + suffix, theirs, ours, "modelled"});
  };
  cell("speedup_dpu", paper.over_dpu, s.over_dpu);
  cell("speedup_gpu", paper.over_gpu, s.over_gpu);
  cell("index", paper.index, s.k + 1);
  summary.add(100 * (s.over_dpu / paper.over_dpu - 1));
  summary.add(100 * (s.over_gpu / paper.over_gpu - 1));
  if (as_json) {
    fmt::print("{}\n", nlohmann::json{{"table", "split.table1"}, {"model", row.net.name}, {"config", config}, {"set", set},
                                      {"regret_of_paper_index_pct", 100 * s.regret}, {"origin", "modelled"}}.dump());
  }
}

void split_table(const FitData& data, const char* set, const Models& models) {
  for (const bool direct : {true, false}) {
    const char* config = direct ? "direct" : "indirect";
    const Models m = direct ? models : indirect(models);
    Summary summary;
    for (const PaperRow& row : data.table1) {
      const PaperCell& paper = direct ? row.direct : row.indirect;
      const SpeedUp s = best_split(row.net, m, paper.index), again = by_library(row, m);
      if (std::abs(s.over_dpu - again.over_dpu) > 1e-9 || std::abs(s.over_gpu - again.over_gpu) > 1e-9 || s.k != again.k) {
        throw Error{Errc::mismatch, row.net.name + ": the fit's sums and the library's differ; mend one of them"};
      }
      print_row(row, paper, s, config, set, "", summary);
    }
    summary.print("split.table1", config, set, direct ? "as fitted" : "never fitted");
  }
}

/// Every network predicted by a fit that has not seen it.
void leave_one_out(const FitData& data) {
  Summary summary;
  for (const PaperRow& row : data.table1) {
    const Models m = fit_table1(data, row.net.name);
    print_row(row, row.direct, best_split(row.net, m, row.direct.index), "direct", "table1", "_left_out", summary);
  }
  summary.print("split.table1", "direct", "table1", "each network left out of its fit");
}

void throughputs(const FitData& data) {
  for (const auto& [kind, list] : {std::pair{"fitted", &data.fitted}, std::pair{"held_out", &data.held_out}}) {
    for (const Throughput& t : *list) {
      print({"vitis_ai_2.5", t.published, kind, "zoo", "batch_ms", 6e3 / t.fps, dpu_batch_ms(t.net, models_zoo().dpu), "modelled"});
    }
  }
}

/// Table I of the layer-switching paper through our search; the times are the paper's measurements, the sums ours.
void switching_motivation() {
  const AlexnetResult r = alexnet_by_paper_times();
  print({"switch.table1", "alexnet", "no overhead", "-", "latency_ms", 86.50, r.latency_ms, "modelled"});
  print({"switch.table1", "alexnet", "no overhead", "-", "gain_over_cpu_pct", 12.96, r.gain_over_cpu_pct, "modelled"});
  print({"switch.table1", "alexnet", "no overhead", "-", "gain_over_gpu_pct", 5.51, r.gain_over_gpu_pct, "modelled"});
}

void switching_measured(int runs) {
  double over_first = 0, over_second = 0, over_best = 0;
  const std::vector<std::string> models{"alexnet", "googlenet", "mobilenet_v1", "resnet50", "squeezenet1_1"};
  for (const std::string& name : models) {
    const SwitchedLatency l = measure_switched(name, runs);
    const auto change = [&](double alone) { return 100 * (l.switched_ms / alone - 1); };
    over_first += change(l.first_ms), over_second += change(l.second_ms), over_best += change(std::min(l.first_ms, l.second_ms));
    if (as_json) {
      fmt::print("{}\n", nlohmann::json{{"table", "switch.fig13"}, {"model", name}, {"order", l.order}, {"first", l.first}, {"first_ms", l.first_ms},
                                        {"second", l.second}, {"second_ms", l.second_ms}, {"switched_ms", l.switched_ms},
                                        {"predicted_ms", l.predicted_ms}, {"origin", "measured"}}.dump());
    } else {
      fmt::print("switch.fig13 {:<14} {} {:.2f} ms, {} {:.2f} ms, switched {:.2f} ms ({}) measured\n", name, l.first, l.first_ms, l.second,
                 l.second_ms, l.switched_ms, l.order);
    }
  }
  const double n = static_cast<double>(models.size());
  print({"switch.fig13", "mean of 5", "measured", "-", "change_over_first_pct", -14.40, over_first / n, "measured"});
  print({"switch.fig13", "mean of 5", "measured", "-", "change_over_second_pct", -9.58, over_second / n, "measured"});
  print({"switch.fig13", "mean of 5", "measured", "-", "change_over_best_pct", -4.72, over_best / n, "measured"});
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app{"The papers' tables beside ours; every cell modelled or measured."};
  bool modelled_only = false;
  int runs = 7;
  std::string folder = SPLITCNN_DEVICE_MODEL_DATA;
  app.add_flag("--json", as_json, "one JSON object per line");
  app.add_flag("--modelled", modelled_only, "leave out what measures this machine");
  app.add_option("--runs", runs, "timed runs per piece")->check(CLI::Range(1, 1000));
  app.add_option("--data", folder, "folder with table1.json and zoo_throughput.json");
  CLI11_PARSE(app, argc, argv);
  const FitData data = FitData::load(folder);
  split_table(data, "table1", models_table1());
  leave_one_out(data);
  split_table(data, "zoo", models_zoo());
  throughputs(data);
  switching_motivation();
  if (!modelled_only) switching_measured(runs);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "paper_tables: {}\n", e.what());
  return 1;
}
