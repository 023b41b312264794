#include "partition/hooks.hpp"

#include <algorithm>
#include <cmath>

#include "partition/numbers.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

struct Anchor {
  int k = 0;
  double off = 0;  ///< timed as it is, less what the hooks say
};

/// Between two anchors along the line, outside them as at the nearest.
double correction(const std::vector<Anchor>& anchors, int k) {
  if (anchors.empty()) return 0;
  const auto next = std::find_if(anchors.begin(), anchors.end(), [&](const Anchor& a) { return a.k >= k; });
  if (next == anchors.end()) return anchors.back().off;
  if (next == anchors.begin()) return next->off;
  const Anchor& before = *std::prev(next);
  return before.off + (next->off - before.off) * (k - before.k) / (next->k - before.k);
}

/// Per cut: when the nodes before it were done. Nodes fused across a cut count to where the first of them is.
std::vector<double> cumulative(const Partitioner& parts, const std::vector<NodeTime>& times, int last) {
  std::vector<double> done(static_cast<std::size_t>(last) + 1, 0);
  for (int k = 1; k <= last; ++k) {
    const NodeId end = parts.units()[static_cast<std::size_t>(k) - 1].last;
    double ms = 0, before = 0;
    for (const NodeTime& t : times) {
      if (t.node < end) ms += t.ms - before;
      before = t.ms;
    }
    done[static_cast<std::size_t>(k)] = ms;
  }
  return done;
}

std::vector<double> by_node(const std::vector<NodeTime>& times, std::size_t nodes) {
  std::vector<double> ms(nodes, 0);
  double before = 0;
  for (const NodeTime& t : times) ms[t.node] += t.ms - before, before = t.ms;
  return ms;
}

std::vector<double> medians(const std::vector<std::vector<double>>& runs) {
  std::vector<double> result(runs.front().size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    std::vector<double> values;
    for (const auto& run : runs) values.push_back(run[i]);
    result[i] = median_of(std::move(values));
  }
  return result;
}

/// Medians per cut over the runs.
std::vector<double> median_curve(const Partitioner& parts, Stage& stage, int last,
                                 const HookOptions& options) {
  const NoiseBatch noise{stage, 1};
  stage.prepare();
  (void)stage.time_nodes(noise.batch());
  std::vector<std::vector<double>> curves, nodes;
  for (int run = 0; run < std::max(options.runs, 1); ++run) {
    const std::vector<NodeTime> times = stage.time_nodes(noise.batch());
    if (times.empty()) return {};
    curves.push_back(cumulative(parts, times, last));
    if (options.node_ms) nodes.push_back(by_node(times, parts.graph().nodes().size()));
  }
  if (options.node_ms) *options.node_ms = medians(nodes);
  return medians(curves);
}

/// `n` of 1..last, evenly, the last among them.
std::vector<int> spaced(int n, int last) {
  std::vector<int> cuts;
  for (int i = 1; i <= n; ++i) {
    const int k = static_cast<int>(std::lround(static_cast<double>(last) * i / n));
    if (k > 0 && (cuts.empty() || cuts.back() != k)) cuts.push_back(k);
  }
  return cuts;
}

}  // namespace

std::optional<DeviceProfile> hook_curves(const Partitioner& parts, Pieces& pieces,
                                         const HookOptions& options) {
  int last = pieces.units();
  std::unique_ptr<Stage> whole = pieces.load(0, last);
  while (!whole && last > 1) whole = pieces.load(0, --last);
  DeviceProfile d{
      .device = pieces.info().name, .backend = pieces.info().backend, .threads = pieces.info().threads};
  const std::size_t cuts = parts.cuts().size();
  d.prefix_ms.assign(cuts, nan), d.suffix_ms.assign(cuts, nan);
  d.prefix_ms.front() = 0, d.suffix_ms.back() = 0;
  if (!whole) return d;
  const std::vector<double> curve = median_curve(parts, *whole, last, options);
  if (curve.empty()) return std::nullopt;
  whole.reset();

  const bool on_dpu = device_kind(d.device) == DeviceKind::dpu;
  const bool to_the_end = last == pieces.units();
  const auto at = [&](int k) { return curve[static_cast<std::size_t>(k)]; };
  std::vector<Anchor> prefix, suffix;
  std::vector<double> spreads;
  const auto timed = [&](int from, int to) {
    const PieceTime time = pieces.time(from, to);
    if (options.step) options.step();
    if (std::isfinite(time.ms)) spreads.push_back(time.spread), d.batch = std::max(d.batch, time.batch);
    return time;
  };
  for (const int k : spaced(options.anchors, last)) {
    if (options.prefixes || k == last) {
      const PieceTime head = timed(0, k);
      if (std::isfinite(head.ms)) prefix.push_back({k, head.ms - at(k)});
    }
    if (k == last || !to_the_end || !options.suffixes) continue;
    const PieceTime tail = timed(k, last);
    if (std::isfinite(tail.ms)) suffix.push_back({k, tail.ms - (at(last) - at(k))});
  }
  for (int k = 1; k <= last; ++k) {
    const bool legal = !on_dpu || parts.cuts()[static_cast<std::size_t>(k)].legal;
    if (legal) d.prefix_ms[static_cast<std::size_t>(k)] = std::max(at(k) + correction(prefix, k), 0.0);
  }
  for (int k = 1; k < last && to_the_end && !suffix.empty(); ++k) {
    const bool legal = !on_dpu || parts.cuts()[static_cast<std::size_t>(k)].legal;
    if (legal)
      d.suffix_ms[static_cast<std::size_t>(k)] = std::max(at(last) - at(k) + correction(suffix, k), 0.0);
  }
  d.suffix_ms.front() = d.prefix_ms.back();
  d.spread = spreads.empty() ? 0 : median_of(std::move(spreads));
  return d;
}

}  // namespace splitcnn::inline v0
