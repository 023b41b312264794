// How long does a whole network, or a tail of one, take as one GPU segment, beside the same network in PyTorch on the same GPU, and are its
// results those of the float CPU? JSON lines and one table.
//
//     gpu_bench [NET...] [--results DIR] [--minutes 4] [--python python3]
//
// A NET is a zoo name, an ONNX file, or either with "@UNIT" for the tail behind that unit; without any: every network of the zoo, tails of
// four, and the models in $SPLITCNN_TEST_DATA. Times are from float32 frames in pinned memory to float32 results in host memory, medians of
// runs that alternate with the peer's. Ends with 77 and the reason where no GPU answers: a stand-in's times would say nothing about a GPU.
//
//     gpu_bench --check-peer [NET...]       no GPU: what peers/torch_tail.py computes on the CPU, beside the library
//     gpu_bench --table FILE                only the table, of lines measured before
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <ctime>
#include <deque>
#include <filesystem>
#include <fstream>

#include "case.hpp"
#include "table.hpp"
#include "torch_peer.hpp"

using namespace splitcnn;
using nlohmann::json;

namespace {

constexpr std::size_t batches[] = {1, 2, 4, 8, 16};
constexpr std::size_t compiled_batches[] = {1, 8, 16};
constexpr int rounds = 5;
constexpr double least_compile_s = 25, most_compile_s = 150;  // max-autotune of a network
const std::vector<std::string> tails{"resnet50@layer3.5", "vgg16@features.30", "mobilenet_v2@features.13", "lenet5@pool1"};

struct Options {
  std::vector<std::string> nets;
  std::string results, table, python = "python3", variant = "eager";
  double minutes = 4, round_ms = 60;
  bool check_peer = false, ask = false;
};

double median(std::vector<double> v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

double seconds_until(Clock::time_point t) { return std::chrono::duration<double>(t - Clock::now()).count(); }

/// The first letters and digits of a card's name, as part of a file name.
std::string slug(const std::string& card) {
  std::string s;
  for (const char c : card.substr(0, card.find(','))) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) s += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!s.empty() && s.back() != '-') s += '-';
  }
  return s;
}

std::string today() {
  char text[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof text, "%Y-%m-%d", std::localtime(&now));
  return text;
}

/// The lines measured so far: on stdout as they come, and in a file that begins to exist with the first of them.
class Lines {
 public:
  explicit Lines(std::filesystem::path file) : path_{std::move(file)} {}
  void add(const json& line) {
    lines_.push_back(line);
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
    if (path_.empty()) return;
    if (!file_.is_open()) file_.open(path_, std::ios::app);
    if (!(file_ << line.dump() << std::endl)) throw std::runtime_error{path_.string() + ": cannot be written; see to the folder"};
  }
  [[nodiscard]] const std::vector<json>& all() const { return lines_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  std::vector<json> lines_;
};

/// A case on the GPU, its frames in pinned memory.
class OnGpu {
 public:
  explicit OnGpu(const bench::Case& c)
      : plan_{c.plan("gpu:0")},
        stage_{plan_, plan_.route(0).segments[0], {.backend = GpuBackend::cudnn, .tune = GpuTuning::full, .max_batch = 16}},
        out_{c.room_for_results()} {
    const std::size_t inputs = c.inputs().size() / bench::Case::frames;
    for (std::size_t f = 0; f < bench::Case::frames; ++f) {
      const auto offered = stage_.try_input_buffers(f);
      for (std::size_t i = 0; i < inputs; ++i) {
        const Tensor& from = c.inputs()[f * inputs + i];
        from_.push_back(offered ? (*offered)[i] : plain_.emplace_back(from).view());
        if (offered) std::copy(from.bytes().begin(), from.bytes().end(), from_.back().data);
      }
    }
    for (Tensor& t : out_) to_.push_back(t.view());
    stage_.prepare();
  }

  std::vector<double> run(std::size_t batch, int count) {
    const std::size_t in = from_.size() / bench::Case::frames * batch, out = to_.size() / bench::Case::frames * batch;
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
      const Clock::time_point start = Clock::now();
      const Status status = stage_.wait(stage_.submit({batch, {from_.data(), in}, {to_.data(), out}}), Clock::time_point::max());
      times.push_back(Millis{Clock::now() - start}.count());
      if (!status.ok()) throw Error{status.code, status.message};
    }
    // After errors the stage goes on as a CPU: those would be no times of a GPU.
    if (std::string{stage_.backend()} != "cudnn") throw Error{Errc::device_failed, "the GPU failed and the CPU took over"};
    return times;
  }
  const std::vector<Tensor>& results() const { return out_; }
  const GpuStage& stage() const { return stage_; }

 private:
  Plan plan_;
  GpuStage stage_;
  std::deque<Tensor> plain_;  // where the stage has no pinned memory to offer
  std::vector<Tensor> out_;
  std::vector<TensorView> from_, to_;
};

/// What the lines of one network and batch have in common.
json line_of(const bench::Case& c, const OnGpu& ours, std::size_t batch, const std::string& card) {
  return {{"bench", "gpu_bench"},
          {"net", c.name()},
          {"batch", batch},
          {"backend", ours.stage().backend()},
          {"pieces", ours.stage().pieces()},
          {"transfer", ours.stage().transfer()},
          {"card", card},
          {"origin", "measured"}};
}

class Bench {
 public:
  Bench(const Options& options, std::string card, std::filesystem::path file)
      : options_{options}, card_{std::move(card)}, end_{Clock::now() + std::chrono::milliseconds{static_cast<long>(options.minutes * 6e4)}}, lines_{std::move(file)}, peer_{options.python, "cuda"} {
    if (!peer_.missing().empty()) fmt::print(stderr, "gpu_bench: no peer: {}\n", peer_.missing());
  }

  int run(const std::vector<std::string>& nets) {
    std::vector<std::unique_ptr<bench::Case>> cases;
    for (const std::string& net : nets) {
      if (seconds_until(end_) <= 0) {
        not_timed(net, "no time left; give more --minutes");
        continue;
      }
      try {
        cases.push_back(std::make_unique<bench::Case>(net));
        time(*cases.back(), {"eager", "graph"}, std::begin(batches), std::end(batches));
      } catch (const std::exception& e) {
        not_timed(net, e.what());
      }
    }
    compile(cases);
    fmt::print("\n{}", bench::table(lines_.all()));
    for (const std::string& s : failures_) fmt::print("not timed: {}\n", s);
    if (!lines_.path().empty() && !lines_.all().empty()) fmt::print("written: {}\n", lines_.path().string());
    return failures_.empty() && !lines_.all().empty() ? 0 : 1;
  }

 private:
  void not_timed(const std::string& net, const std::string& why) {
    failures_.push_back(net + ": " + why);
    fmt::print(stderr, "gpu_bench: {}\n", failures_.back());
  }

  /// The slow variant after everything else, the smallest batch of every network first, while there is time.
  void compile(const std::vector<std::unique_ptr<bench::Case>>& cases) {
    if (!peer_.missing().empty()) return;
    for (const std::size_t& batch : compiled_batches) {
      for (const auto& c : cases) {
        if (seconds_until(end_) < least_compile_s) {
          fmt::print(stderr, "gpu_bench: no time left for torch compile from {} at batch {} on; give more --minutes\n", c->name(), batch);
          return;
        }
        try {
          time(*c, {"compile"}, &batch, &batch + 1);
        } catch (const std::exception& e) {
          not_timed(c->name(), e.what());
        }
      }
    }
  }

  void time(const bench::Case& c, const std::vector<std::string>& variants, const std::size_t* first, const std::size_t* last) {
    OnGpu ours{c};
    std::string missing = peer_.open(c);
    for (const std::size_t* batch = first; batch != last; ++batch) {
      if (seconds_until(end_) <= 0) throw std::runtime_error{fmt::format("no time left for batch {} and more; give more --minutes", *batch)};
      if (!missing.empty()) lines_.add(alone(c, ours, *batch, missing));
      for (const std::string& v : missing.empty() ? variants : std::vector<std::string>{}) lines_.add(beside(c, ours, *batch, v));
    }
  }

  int count(double ms) const { return std::clamp(static_cast<int>(options_.round_ms / ms), 8, 200); }

  json alone(const bench::Case& c, OnGpu& ours, std::size_t batch, const std::string& missing) {
    (void)ours.run(batch, 20);
    const int n = count(median(ours.run(batch, 5)));
    std::vector<double> ms;
    for (int r = 0; r < rounds; ++r) {
      const auto more = ours.run(batch, n);
      ms.insert(ms.end(), more.begin(), more.end());
    }
    json line = line_of(c, ours, batch, card_);
    line.update(result(c, ours, batch, ms));
    line.update({{"peer", nullptr}, {"peer_ms", nullptr}, {"ratio", nullptr}, {"peer_missing", missing}});
    return line;
  }

  json beside(const bench::Case& c, OnGpu& ours, std::size_t batch, const std::string& variant) {
    const double limit = variant == "compile" ? std::min(most_compile_s, seconds_until(end_)) : 60;
    const std::string peer = "torch " + variant;
    std::string missing = peer_.prepare(variant, batch, limit);
    if (missing.empty()) {
      const bench::Difference theirs = c.compare(peer_.results(c, batch), batch);
      (void)ours.run(batch, 20);
      const int n = count(median(ours.run(batch, 5)));
      const std::vector<double> tried = peer_.run(5);
      const int m = tried.empty() ? 1 : count(median(tried));
      std::vector<double> ms, peer_ms;
      for (int r = 0; r < rounds; ++r) {
        for (const double t : ours.run(batch, n)) ms.push_back(t);
        for (const double t : peer_.run(m)) peer_ms.push_back(t);
      }
      if (!peer_ms.empty()) {
        json line = line_of(c, ours, batch, card_);
        line.update(result(c, ours, batch, ms));
        line.update({{"peer", peer}, {"peer_ms", median(peer_ms)}, {"peer_runs", peer_ms.size()}, {"ratio", median(peer_ms) / median(ms)},
                     {"peer_version", peer_.version()}, {"peer_rel_l2", theirs.rel_l2}, {"peer_top1_equal", theirs.top1_equal}});
        return line;
      }
      missing = "the peer failed while it was timed";
    }
    json line = alone(c, ours, batch, missing);
    line["peer"] = peer;
    return line;
  }

  static json result(const bench::Case& c, const OnGpu& ours, std::size_t batch, const std::vector<double>& ms) {
    const bench::Difference d = c.compare(ours.results(), batch);
    return {{"ours_ms", median(ms)}, {"ours_runs", ms.size()}, {"rel_l2", d.rel_l2}, {"top1_equal", d.top1_equal}};
  }

  const Options& options_;
  std::string card_;
  Clock::time_point end_;
  Lines lines_;
  bench::TorchPeer peer_;
  std::vector<std::string> failures_;
};

/// The order in which time is spent.
std::vector<std::string> all_nets() {
  std::vector<std::string> nets{"resnet50", "mobilenet_v2", "resnet18", "vgg16", "lenet5"};
  nets.insert(nets.end(), tails.begin(), tails.end());
  if (const char* data = std::getenv("SPLITCNN_TEST_DATA")) {
    std::error_code none;
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator{std::filesystem::path{data} / "models", none}) {
      if (entry.path().extension() == ".onnx") files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    nets.insert(nets.end(), files.begin(), files.end());
  }
  for (const std::string& net : Graph::zoo_names()) {
    if (std::find(nets.begin(), nets.end(), net) == nets.end()) nets.push_back(net);
  }
  return nets;
}

/// Is the peer's translation of a network that network? In float32, so only rounding differs.
int check_peer(const Options& options, const std::vector<std::string>& nets) {
  constexpr std::size_t batch = 2;
  bench::TorchPeer peer{options.python, "cpu"};
  if (!peer.missing().empty()) {
    fmt::print(stderr, "gpu_bench: no peer: {}\n", peer.missing());
    return 77;
  }
  int wrong = 0;
  for (const std::string& net : nets) {
    const bench::Case c{net};
    json line{{"bench", "gpu_bench --check-peer"}, {"net", c.name()}, {"peer", "torch " + options.variant}, {"peer_version", peer.version()}};
    std::string missing = peer.open(c);
    if (missing.empty()) missing = peer.prepare(options.variant, batch, 300);
    if (missing.empty()) {
      const bench::Difference d = c.compare(peer.results(c, batch), batch);
      line.update({{"peer_rel_l2", d.rel_l2}, {"peer_top1_equal", d.top1_equal}});
      if (!(d.rel_l2 <= 1e-4) || !d.top1_equal) ++wrong;
    } else {
      line["peer_missing"] = missing;
      ++wrong;
    }
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }
  return wrong == 0 ? 0 : 1;
}

int run(const Options& options) {
  if (!options.table.empty()) {
    std::ifstream file{options.table};
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    if (lines.empty()) throw std::runtime_error{options.table + ": has no lines; name a file that gpu_bench wrote"};
    fmt::print("{}", bench::table(lines));
    return 0;
  }
  const std::vector<std::string> nets = options.nets.empty() ? all_nets() : options.nets;
  if (options.check_peer) return check_peer(options, nets);
  std::string card;
  if (!GpuStage::available(&card)) {
    fmt::print(stderr, "gpu_bench: {}; nothing was timed\n", card);
    return 77;
  }
  if (options.ask) {
    fmt::print("{}\n", card);
    return 0;
  }
  std::filesystem::path file;
  if (!options.results.empty()) file = std::filesystem::path{options.results} / fmt::format("gpu-{}-{}.jsonl", slug(card), today());
  return Bench{options, card, file}.run(nets);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Networks on the GPU, beside PyTorch."};
  app.add_option("nets", options.nets, "zoo names or ONNX files, with @UNIT for a tail");
  app.add_option("--results", options.results, "folder for gpu-<device>-<date>.jsonl");
  app.add_option("--minutes", options.minutes, "for everything; what does not fit is not timed, and said")->check(CLI::Range(0.01, 1000.0));
  app.add_option("--round-ms", options.round_ms, "each side's turn; there are five")->check(CLI::Range(1.0, 10000.0));
  app.add_option("--python", options.python, "the Python that has torch; \"\" for no peer");
  app.add_flag("--check-peer", options.check_peer, "the peer on the CPU beside the library; needs no GPU");
  app.add_flag("--ask", options.ask, "only says which GPU answers");
  app.add_option("--variant", options.variant, "of --check-peer: eager or compile");
  app.add_option("--table", options.table, "prints the table of these lines");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "gpu_bench: {}\n", e.what());
    return 1;
  }
}
