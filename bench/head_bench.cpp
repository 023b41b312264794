// How fast is the software DPU on a whole network, beside ONNX Runtime on the same core? One JSON line per network.
//
//     head_bench --nets resnet50,mobilenet_v2,squeezenet1_1 --threads 1 --json [--layers]
//
// Same 8-bit N,H,W,C frame in, float results out, batch 1; what comes before and after the network is inside both times. Ours computes the
// model as given. The peer is the fastest valid INT8 variant that peers/ort_head.py makes; every variant is tried and printed. Rounds alternate;
// the ratio is that of the medians, its interval the smallest and largest ratio of one round.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "head_under_test.hpp"
#include "machine_peak.hpp"
#include "peer_process.hpp"

namespace {

using nlohmann::json;
using splitcnn::Graph;

struct Options {
  std::vector<std::string> nets{"resnet50", "mobilenet_v2", "squeezenet1_1"};
  int threads = 1, rounds = 7, runs = 50;
  bool as_json = false, layers = false, exact = true;
  std::string python = "python3", script = SPLITCNN_PEERS "/ort_head.py";
};

double median(std::vector<double> v) {
  if (v.empty()) return 0;
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

/// One variant of the peer while it alternates with ours.
struct Contender {
  std::size_t variant = 0;
  std::vector<double> all, rounds;  // every run; the median of each round
};

class Peer {
 public:
  Peer(const Options& options, const Graph& graph, const std::filesystem::path& folder) : runs_{options.runs} {
    const auto model = folder / "float.onnx";
    try {
      graph.save(model);
      process_ = std::make_unique<bench::PeerProcess>(std::vector<std::string>{options.python, options.script, model.string(), folder.string(),
                                                                               std::to_string(options.threads)});
      ready_ = process_->receive();
    } catch (const std::exception& e) {
      ready_ = {{"missing", e.what()}};
    }
  }

  [[nodiscard]] std::string missing() const { return ready_.value("missing", ""); }
  [[nodiscard]] std::string version() const { return ready_.value("version", ""); }
  json& variants() { return ready_["variants"]; }

  std::vector<double> run(std::size_t variant, int count) {
    process_->send("run " + std::to_string(variant) + ' ' + std::to_string(count));
    return process_->receive().value("ms", std::vector<double>{});
  }

  /// A short try of each; those worth alternating with: the fastest float one, and of the valid INT8 ones all near the fastest. A signed
  /// one is for information.
  std::vector<Contender> scout() {
    double best[2] = {1e9, 1e9};
    const auto kind = [&](const json& v) { return v["name"] == "f32" ? 0 : v["valid"].get<bool>() && v["name"].get<std::string>().starts_with("u8") ? 1 : -1; };
    for (std::size_t i = 0; i < variants().size(); ++i) {
      json& v = variants()[i];
      (void)run(i, 3);
      v["scout_ms"] = median(run(i, std::max(runs_ / 5, 5)));
      if (const int k = kind(v); k >= 0) best[k] = std::min(best[k], v["scout_ms"].get<double>());
    }
    std::vector<Contender> list;
    for (std::size_t i = 0; i < variants().size(); ++i) {
      const int k = kind(variants()[i]);
      if (k >= 0 && variants()[i]["scout_ms"] <= best[k] * (k == 1 ? 1.04 : 1.0)) list.push_back({i, {}, {}});
    }
    return list;
  }

 private:
  int runs_;
  std::unique_ptr<bench::PeerProcess> process_;
  json ready_;
};

/// Median of the rounds' ratios' bounds and of all runs.
json ratio_of(const std::vector<double>& ours, const std::vector<double>& our_rounds, const Contender& peer) {
  double low = 1e9, high = 0;
  for (std::size_t r = 0; r < our_rounds.size(); ++r) {
    low = std::min(low, peer.rounds[r] / our_rounds[r]);
    high = std::max(high, peer.rounds[r] / our_rounds[r]);
  }
  return {{"ratio", median(peer.all) / median(ours)}, {"interval", {low, high}}};
}

void alternate(const Options& options, bench::HeadUnderTest& head, Peer& peer, json& line) {
  std::vector<Contender> contenders;
  if (peer.missing().empty()) contenders = peer.scout();
  std::vector<double> all, rounds;
  for (int r = 0; r < options.rounds; ++r) {
    std::vector<double> ms = head.run(options.runs);
    rounds.push_back(median(ms));
    all.insert(all.end(), ms.begin(), ms.end());
    for (Contender& c : contenders) {
      ms = peer.run(c.variant, c.variant == 0 ? std::max(options.runs / 5, 3) : options.runs);
      c.rounds.push_back(median(ms));
      c.all.insert(c.all.end(), ms.begin(), ms.end());
    }
  }
  line["ours_ms"] = median(all);
  std::sort(all.begin(), all.end());
  line["ours_p99_ms"] = all[all.size() * 99 / 100];
  for (const char* field : {"peer", "peer_ms", "ratio", "ratio_interval", "ratio_f32"}) line[field] = nullptr;
  line["peer_variants"] = peer.missing().empty() ? peer.variants() : json(nullptr);
  if (!peer.missing().empty()) {
    line["peer_missing"] = peer.missing();
    return;
  }
  line["peer_version"] = "onnxruntime " + peer.version();
  for (const Contender& c : contenders) {
    const double ms = median(c.all);
    line["peer_variants"][c.variant]["ms"] = ms;
    const json ratio = ratio_of(all, rounds, c);
    if (c.variant == 0) {
      line["f32_ms"] = ms;
      line["ratio_f32"] = ratio["ratio"];
      line["ratio_f32_interval"] = ratio["interval"];
    } else if (line["peer_ms"].is_null() || ms < line["peer_ms"].get<double>()) {
      line["peer"] = peer.variants()[c.variant]["name"];
      line["peer_ms"] = ms;
      line["ratio"] = ratio["ratio"];
      line["ratio_interval"] = ratio["interval"];
    }
  }
}

/// Convolutions against the peak of the same core, measured beside them.
void roofline(const Options& options, bench::HeadUnderTest& head, json& line) {
  const auto peak = bench::vnni_peak();
  const double bandwidth = bench::read_bandwidth();
  const auto layers = head.time_layers(std::max(options.runs, 20));
  double macs = 0, seconds = 0, total = 0;
  line["layers"] = json::array();
  if (options.layers) std::fprintf(stderr, "%-44s %-28s %8s %9s %8s %8s\n", "layer", "kernel", "us", "GOPS", "of peak", "of roof");
  for (const bench::LayerTime& l : layers) {
    const double ops = 2.0 * static_cast<double>(l.macs), rate = ops / l.seconds;
    const double roof = peak ? std::max(ops / *peak, static_cast<double>(l.bytes) / bandwidth) / l.seconds : 0;
    total += l.seconds;
    if (l.macs > 0) macs += static_cast<double>(l.macs), seconds += l.seconds;
    if (options.layers) {
      std::fprintf(stderr, "%-44.44s %-28.28s %8.1f", l.name.c_str(), l.kernel.c_str(), l.seconds * 1e6);
      if (l.macs > 0) std::fprintf(stderr, " %9.1f %7.1f%% %7.1f%%", rate * 1e-9, peak ? 100 * rate / *peak : 0, 100 * roof);
      std::fprintf(stderr, "\n");
    }
    line["layers"].push_back({{"name", l.name}, {"kernel", l.kernel}, {"us", l.seconds * 1e6}, {"macs", l.macs}, {"bytes", l.bytes}, {"of_roof", roof}});
  }
  if (!options.layers) line.erase("layers");
  line["conv_ms"] = seconds * 1e3;
  line["other_ms"] = (total - seconds) * 1e3;
  line["conv_gops"] = 2 * macs / seconds * 1e-9;
  line["peak_gops"] = peak ? json(*peak * 1e-9) : json(nullptr);
  line["peak_fraction"] = peak ? json(2 * macs / seconds / *peak) : json(nullptr);
  line["read_gb_per_s"] = bandwidth * 1e-9;
}

json measure(const Options& options, const std::string& net, const std::filesystem::path& folder) {
  json line{{"name", "head_bench"}, {"net", net}};
  bench::HeadUnderTest head{net, options.threads};
  line["ops"] = 2.0 * static_cast<double>(head.macs()) * 1e-9;
  line["tail_ops"] = head.tail();
  line.update(head.costs());
  line["exact"] = options.exact ? json(head.exact()) : json(nullptr);
  Peer peer{options, head.graph(), folder};
  alternate(options, head, peer, line);
  roofline(options, head, line);
  line["threads"] = options.threads;
  line["runs"] = options.runs;
  line["rounds"] = options.rounds;
  return line;
}

void print(const json& line) {
  const auto number = [&](const char* key) { return line[key].is_number() ? line[key].get<double>() : 0.0; };
  std::printf("%s: %.2f ms (convs %.2f, %.0f %% of VNNI peak), ", line["net"].get<std::string>().c_str(), number("ours_ms"), number("conv_ms"),
              100 * number("peak_fraction"));
  if (line["peer"].is_string()) {
    std::printf("ONNX Runtime %s %.2f ms: %.2fx [%.2f, %.2f]; f32 %.2f ms: %.2fx", line["peer"].get<std::string>().c_str(), number("peer_ms"),
                number("ratio"), line["ratio_interval"][0].get<double>(), line["ratio_interval"][1].get<double>(), number("f32_ms"), number("ratio_f32"));
  } else {
    std::printf("no peer (%s)", line.value("peer_missing", "no valid INT8 variant").c_str());
  }
  std::printf("; load %.2f s, memory %.2fx, exact: %s\n", number("load_ms") / 1e3, number("memory_ratio"), line["exact"].dump().c_str());
}

/// A folder that goes away with the bench.
struct TemporaryFolder {
  std::filesystem::path path = [] {
    std::string name = (std::filesystem::temp_directory_path() / "head_bench.XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error{"no temporary folder; set TMPDIR"};
    return std::filesystem::path{name};
  }();
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"The software DPU on whole networks, beside ONNX Runtime."};
  app.add_option("--nets", options.nets, "zoo names or ONNX files")->delimiter(',');
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 64));
  app.add_option("--rounds", options.rounds, "alternations")->check(CLI::Range(1, 1000));
  app.add_option("--runs", options.runs, "per round")->check(CLI::Range(1, 100000));
  app.add_option("--python", options.python, "the Python that has onnxruntime and onnx");
  app.add_flag("--json", options.as_json, "JSON lines");
  app.add_flag("--layers", options.layers, "every layer beside the roofline");
  app.add_flag("--exact,!--no-exact", options.exact, "compare with the scalar kernels first (slow)");
  CLI11_PARSE(app, argc, argv);
  const int core = options.threads == 1 ? bench::pin_to_one_core() : -1;
  try {
    for (std::string net : options.nets) {
      if (net == "squeezenet") net = "squeezenet1_1";
      const TemporaryFolder folder;
      json line = measure(options, net, folder.path);
      line["machine"] = bench::machine();
      line["pinned_core"] = core;
      if (options.as_json) {
        std::printf("%s\n", line.dump().c_str());
      } else {
        print(line);
      }
      std::fflush(stdout);
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "head_bench: %s\n", e.what());
    return 1;
  }
}
