#include "predictor/measured.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "partition/hooks.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn_training {

namespace sc = splitcnn;

namespace {

/// The never falling values nearest to these (pool adjacent violators).
void make_rising(std::vector<double>& values) {
  struct Pool {
    double sum = 0;
    std::size_t count = 0;
    [[nodiscard]] double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (const double v : values) {
    pools.push_back({v, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      pools[pools.size() - 2].sum += pools.back().sum;
      pools[pools.size() - 2].count += pools.back().count;
      pools.pop_back();
    }
  }
  std::size_t at = 0;
  for (const Pool& p : pools) {
    for (std::size_t i = 0; i < p.count; ++i) values[at++] = p.mean();
  }
}

std::vector<double> by_layer_us(const sc::Layers& layers, const std::vector<double>& node_ms) {
  std::vector<double> us(static_cast<std::size_t>(layers.count), 0);
  for (std::size_t n = 0; n < node_ms.size(); ++n)
    us[static_cast<std::size_t>(layers.layer_of[n])] += std::max(node_ms[n], 0.0) * 1e3;
  return us;
}

sc::DeviceProfile curves_of(const sc::Partitioner& parts, sc::Pieces& pieces,
                            const sc::HookOptions& options) {
  auto curves = sc::hook_curves(parts, pieces, options);
  if (!curves)
    throw sc::Error{sc::Errc::unsupported,
                    pieces.info().name + ": its stages cannot look inside; open it as software or cpu"};
  return std::move(*curves);
}

/// Nothing makes a machine faster than it is, and what else runs on it makes it slower for a second at a
/// time: the lower quartile passes over up to three rounds of four that were disturbed, a median over one.
float lower_quartile(std::vector<double> ms) {
  const auto at = ms.begin() + static_cast<std::ptrdiff_t>(ms.size() / 4);
  std::nth_element(ms.begin(), at, ms.end());
  return static_cast<float>(*at);
}

/// Stages of every cut to be timed, loaded together so that a round can pass over all of them: a disturbance
/// then hits many cuts a little.
class Rounds {
 public:
  Rounds(sc::Pieces& head, sc::Pieces& tail, std::vector<int> cuts)
      : cuts_{std::move(cuts)}, last_{head.units()} {
    for (const int k : cuts_) {
      if (k > 0) add(head.load(0, k));
      if (k < last_) add(tail.load(k, last_));
    }
  }

  DirectTimes run(int rounds) {
    constexpr int runs = 5;
    for (int round = 0; round < 2 * rounds; ++round) {
      for (Timed& t : stages_) {
        sc::run_once(*t.stage, *t.noise);  // the round before left other weights in the caches
        for (int i = 0; i < runs; ++i) t.ms[round % 2].push_back(sc::run_once(*t.stage, *t.noise));
      }
    }
    DirectTimes direct{.cuts = cuts_};
    for (std::size_t h = 0; h < 2; ++h) {
      auto next = stages_.begin();
      const auto time = [&](bool there) { return there ? lower_quartile((next++)->ms[h]) : 0.0f; };
      for (const int k : cuts_) {
        direct.halves[h].head_ms.push_back(time(k > 0));
        direct.halves[h].tail_ms.push_back(time(k < last_));
      }
    }
    return direct;
  }

 private:
  struct Timed {
    std::unique_ptr<sc::Stage> stage;
    std::unique_ptr<sc::NoiseBatch> noise;
    std::array<std::vector<double>, 2> ms{};
  };
  void add(std::unique_ptr<sc::Stage> stage) {
    if (!stage) throw sc::Error{sc::Errc::unsupported, "a cut that was legal cannot be loaded"};
    auto noise = std::make_unique<sc::NoiseBatch>(*stage);
    stage->prepare();
    sc::run_once(*stage, *noise);
    stages_.push_back({std::move(stage), std::move(noise)});
  }

  std::vector<int> cuts_;
  int last_;
  std::vector<Timed> stages_;
};

}  // namespace

sc::BaseModel base_of_int8_core() {
  return {.kind = sc::BaseModel::Kind::cpu,
          .batch = 1,
          .compute_us = 1e-5,
          .alu_us = 0,
          .weight_us = 1e-4,
          .map_us = 2e-4,
          .layer_us = 3};
}

sc::BaseModel base_of_float_core() {
  return {.kind = sc::BaseModel::Kind::cpu,
          .batch = 1,
          .compute_us = 2.5e-5,
          .alu_us = 0,
          .weight_us = 4e-4,
          .map_us = 5e-4,
          .layer_us = 3};
}

std::vector<double> layers_of_curve(std::span<const double> looked_us, std::span<const int> cut_layer,
                                    std::vector<double> curve_ms) {
  // Layers. A cut before a view ends where the one before it does, and the later one counts.
  std::vector<int> ends;
  std::vector<double> sums;
  for (std::size_t k = 1; k < cut_layer.size(); ++k) {
    if (!std::isfinite(curve_ms[k])) continue;
    if (!ends.empty() && ends.back() == cut_layer[k]) ends.pop_back(), sums.pop_back();
    ends.push_back(cut_layer[k]);
    sums.push_back(std::max(curve_ms[k], 0.0) * 1e3);
  }
  make_rising(sums);
  std::vector<double> us(looked_us.size(), 0);
  int from = 0;
  double before = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto first = looked_us.begin() + from + 1, last = looked_us.begin() + ends[i] + 1;
    const double all = std::accumulate(first, last, 0.0);
    for (int l = from + 1; l <= ends[i]; ++l) {
      const double share = all > 0 ? looked_us[static_cast<std::size_t>(l)] / all : 1.0 / (ends[i] - from);
      us[static_cast<std::size_t>(l)] = share * (sums[i] - before);
    }
    from = ends[i], before = sums[i];
  }
  return us;
}

std::vector<int> cuts_to_time(std::span<const double> head_ms, std::span<const double> tail_ms,
                              std::span<const int> legal) {
  constexpr std::size_t around = 9;
  const int last = static_cast<int>(legal.size()) - 1;
  const auto at = [&](int k) {
    return std::max(head_ms[static_cast<std::size_t>(k)], tail_ms[static_cast<std::size_t>(k)]);
  };
  std::vector<int> inside;
  for (int k = 1; k < last; ++k) {
    if (legal[static_cast<std::size_t>(k)] != 0 && std::isfinite(at(k))) inside.push_back(k);
  }
  std::vector<int> chosen{0};
  if (!inside.empty()) {
    const auto best =
        std::min_element(inside.begin(), inside.end(), [&](int a, int b) { return at(a) < at(b); }) -
        inside.begin();
    const auto most = static_cast<std::ptrdiff_t>(std::min(around, inside.size()));
    const auto first =
        std::clamp<std::ptrdiff_t>(best - most / 2, 0, static_cast<std::ptrdiff_t>(inside.size()) - most);
    chosen.insert(chosen.end(), inside.begin() + first, inside.begin() + first + most);
  }
  if (legal[static_cast<std::size_t>(last)] != 0) chosen.push_back(last);
  return chosen;
}

MeasuredNet measure_net(const RandomCnn& net, const sc::Devices& devices, bool direct,
                        const MeasureNetOptions& options) {
  const sc::Partitioner parts{sc::Quantizer{}.calibrate_synthetic(net.graph, 1)};
  sc::Pieces head{parts, devices, devices.list()[0], options.runs, nullptr},
      tail{parts, devices, devices.list()[1], options.runs, nullptr};
  std::vector<double> head_node_ms, tail_node_ms;
  const sc::DeviceProfile d = curves_of(
      parts, head,
      {.anchors = options.anchors, .runs = options.runs, .suffixes = false, .node_ms = &head_node_ms});
  const sc::DeviceProfile g = curves_of(
      parts, tail,
      {.anchors = options.anchors, .runs = options.runs, .prefixes = false, .node_ms = &tail_node_ms});

  MeasuredNet m{.sample = {.family = net.family, .skeleton = net.skeleton},
                .times = {.spread = {static_cast<float>(d.spread), static_cast<float>(g.spread)},
                          .head_ms = {d.prefix_ms.begin(), d.prefix_ms.end()},
                          .tail_ms = {g.suffix_ms.begin(), g.suffix_ms.end()}}};
  Sample& s = m.sample;
  sc::describe(net.graph, base_of_int8_core(), base_of_float_core(), s.layers);
  for (const sc::Cut& cut : parts.cuts()) {
    s.cut_layer.push_back(cut.node == 0 ? 0 : s.layers.layer_of[cut.node - 1]);
    s.link_ms.push_back(0);  // pointers are passed
    s.legal.push_back(cut.legal && std::isfinite(d.prefix_ms[static_cast<std::size_t>(cut.k)]));
  }
  std::vector<double> done_ms;  // the tail's own prefix, from its suffixes
  for (const double ms : g.suffix_ms) done_ms.push_back(g.suffix_ms.front() - ms);
  s.head_us = layers_of_curve(by_layer_us(s.layers, head_node_ms), s.cut_layer, d.prefix_ms);
  s.tail_us = layers_of_curve(by_layer_us(s.layers, tail_node_ms), s.cut_layer, done_ms);
  if (direct)
    m.times.direct = Rounds{head, tail, cuts_to_time(d.prefix_ms, g.suffix_ms, s.legal)}.run(options.rounds);
  return m;
}

}  // namespace splitcnn_training
