// Which of two devices suits a layer of which size? The study of Aghapour et al. (DSD 2022, Tables II and
// III, Figures 8 to 12) on any two devices here: one convolution with its normalisation, activation and 2x2
// pooling; input shape, channels, filters and kernel are swept. JSON lines: a cell per size with the ratio of
// both times, then the classes of Table III with the device preferred here and there. `splitcnn report
// --layers FILE` draws them.
//
//     layer_study --devices dpu:0=software,cpu > layers.jsonl
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;
using nlohmann::json;

namespace {

struct Size {
  int input = 0, channels = 0, filters = 0, kernel = 0;
  auto operator<=>(const Size&) const = default;
  [[nodiscard]] double gmac() const { return 1e-9 * input * input * channels * filters * kernel * kernel; }
};

struct Options {
  std::string devices = "dpu:0=software,cpu";
  int runs = 5;
  double most_gmac = 2;
};

Graph layer(const Size& s) {
  std::mt19937_64 random{1};
  std::normal_distribution<float> normal;
  const auto values = [&](std::int64_t n, float scale, float offset) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (float& x : v) x = offset + scale * normal(random);
    return v;
  };
  const std::int64_t f = s.filters, c = s.channels, k = s.kernel, taps = c * k * k;
  GraphBuilder b{fmt::format("layer {} {} {} {}", s.input, c, f, k)};
  const TensorId x = b.input("x", {1, c, s.input, s.input});
  const TensorId w =
      b.constant("w", {f, c, k, k}, values(f * taps, 1 / std::sqrt(static_cast<float>(taps)), 0));
  const int pad = s.kernel / 2;
  const Window same{.kernel_h = s.kernel,
                    .kernel_w = s.kernel,
                    .pad_top = pad,
                    .pad_left = pad,
                    .pad_bottom = pad,
                    .pad_right = pad};
  const TensorId conv = b.add({.op = Op::conv, .inputs = {x, w}, .window = same});
  const auto per_channel = [&](const char* name, float scale, float offset) {
    return b.constant(name, {f}, values(f, scale, offset));
  };
  const TensorId norm =
      b.add({.op = Op::batch_norm,
             .inputs = {conv, per_channel("scale", 0.1f, 1), per_channel("shift", 0.1f, 0),
                        per_channel("mean", 0.1f, 0),
                        b.constant("variance", {f}, std::vector<float>(static_cast<std::size_t>(f), 1.f))},
             .alpha = 1e-5f});
  const TensorId active = b.add({.op = Op::relu, .inputs = {norm}});
  b.output(b.add({.op = Op::max_pool,
                  .inputs = {active},
                  .window = {.kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2}}));
  return std::move(b).build();
}

class Study {
 public:
  explicit Study(const Options& options) : options_{options} {}

  /// ms on the first and on the second device; NaN where one cannot run it.
  std::pair<double, double> times(const Size& size) {
    const auto known = cells_.find(size);
    if (known != cells_.end()) return known->second;
    const Partitioner parts{Quantizer{}.calibrate_synthetic(layer(size), 1)};
    const Profile profile =
        measure(parts, Devices::open(options_.devices), {.runs = options_.runs, .contention_cuts = 0});
    std::pair<double, double> ms{std::nan(""), std::nan("")};
    for (std::size_t d = 0; d < profile.devices.size(); ++d) {
      if (names_.size() <= d) names_.push_back(profile.devices[d].device);
      (profile.devices[d].device == names_.front() ? ms.first : ms.second) =
          profile.devices[d].prefix_ms.back();
    }
    return cells_[size] = ms;
  }

  void cell(int figure, const Size& size) {
    if (size.gmac() > options_.most_gmac) return;
    const auto [a, b] = times(size);
    fmt::print("{}\n", json{{"name", "layer"},
                            {"figure", figure},
                            {"input", size.input},
                            {"channels", size.channels},
                            {"filters", size.filters},
                            {"kernel", size.kernel},
                            {"a", name(0)},
                            {"b", name(1)},
                            {"a_ms", a},
                            {"b_ms", b},
                            {"ratio", a / b},
                            {"prefers", preferred(a / b)},
                            {"origin", "measured"}}
                           .dump());
    std::fflush(stdout);
  }

  /// A class of Table III: the geometric mean over its layers.
  void size_class(int input, std::vector<int> channels, std::vector<int> filters, const char* paper) {
    double sum = 0;
    int n = 0;
    for (const int c : channels) {
      for (const int f : filters) {
        const Size size{input, c, f, 3};
        if (size.gmac() > options_.most_gmac) continue;
        const auto [a, b] = times(size);
        sum += std::log(a / b), ++n;
      }
    }
    const double ratio = std::exp(sum / n);
    fmt::print("{}\n", json{{"name", "size_class"},
                            {"input", input},
                            {"channels", channels},
                            {"filters", filters},
                            {"layers", n},
                            {"ratio", ratio},
                            {"prefers", preferred(ratio)},
                            {"paper_prefers", paper},
                            {"paper_devices", "ARM CPU and Mali GPU of a Khadas VIM3"}}
                           .dump());
  }

 private:
  [[nodiscard]] std::string name(std::size_t i) const { return i < names_.size() ? names_[i] : ""; }
  [[nodiscard]] std::string preferred(double ratio) const {
    return std::isnan(ratio) ? "" : ratio < 1 ? name(0) : name(1);
  }

  Options options_;
  std::map<Size, std::pair<double, double>> cells_;
  std::vector<std::string> names_;
};

void run(const Options& options) {
  constexpr int inputs[] = {7, 14, 28, 56, 112, 224}, filters[] = {16, 32, 64, 128, 256, 512, 1024},
                channels[] = {1, 2, 32, 64, 128, 256, 512, 1024};
  Study study{options};
  for (const int i : inputs) {
    for (const int f : filters) study.cell(8, {i, 64, f, 3});  // and Figure 12, the other way round
  }
  for (const int f : {16, 32, 64, 128}) {
    for (const int k : {3, 5, 7}) study.cell(9, {224, 3, f, k});
  }
  for (const int i : inputs) {
    for (const int k : {1, 3, 5, 7}) study.cell(10, {i, 64, 128, k});
    for (const int c : channels) study.cell(11, {i, c, 256, 3});
  }
  study.size_class(224, {3}, {32, 64, 96}, "GPU");
  study.size_class(112, {32}, {32}, "CPU");
  study.size_class(112, {64, 128}, {64}, "GPU");
  study.size_class(56, {32}, {32, 64}, "CPU");
  study.size_class(56, {64}, {128, 256}, "GPU");
  study.size_class(56, {128, 256}, {128}, "CPU");
  study.size_class(56, {128, 256}, {256}, "GPU");
  study.size_class(28, {96, 128, 256, 512}, {96, 128, 256, 512}, "CPU");
  study.size_class(14, {384, 512, 1024}, {384, 512, 1024}, "CPU");
  study.size_class(7, {384, 512, 1024}, {512, 1024}, "CPU");
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Which of two devices suits a layer of which size"};
  app.add_option("--devices", options.devices, "two devices, as in splitcnn profile")->capture_default_str();
  app.add_option("--runs", options.runs, "timed runs per layer and device; the median counts")
      ->capture_default_str();
  app.add_option("--most-gmac", options.most_gmac, "leave out larger layers")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  run(options);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "layer_study: {}\n", e.what());
  return 1;
}
