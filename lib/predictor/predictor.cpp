// Features, both networks, and what follows for the cuts.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "predictor/predictor_impl.hpp"
#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Columns that are no logarithms: layer types and flags, stride, number of kernels, depth.
constexpr bool is_plain(int column) { return column <= 12 || column == 20 || column == 31 || column == 32 || column == 33 || column == 35 || column >= 38; }

void normalise(const Predictor::Impl& impl, PredictorScratch& s) {
  s.x.resize(s.layers.x.size());
  for (std::size_t i = 0; i < s.x.size(); i += feature_count) {
    for (int f = 0; f < feature_count; ++f) {
      float v = s.layers.x[i + static_cast<std::size_t>(f)];
      if (impl.raw_sizes && !is_plain(f)) v = std::expm1(v);
      s.x[i + static_cast<std::size_t>(f)] = (v - impl.mean[f]) * impl.scale[f];
    }
  }
}

/// Neighbours of each layer: those it reads from, or (backward) those that read it.
void neighbours(const PredictorScratch& s, bool backward, bool self, std::vector<int>& start, std::vector<int>& near, std::vector<int>& fill) {
  const auto rows = static_cast<std::size_t>(s.layers.count);
  start.assign(rows + 1, 0);
  for (const LayerEdge& e : s.layers.edges) ++start[static_cast<std::size_t>(backward ? e.from : e.to) + 1];
  for (std::size_t i = 0; i < rows; ++i) start[i + 1] += start[i] + (self ? 1 : 0);
  near.resize(static_cast<std::size_t>(start.back()));
  fill.assign(start.begin(), start.end() - 1);
  for (std::size_t i = 0; self && i < rows; ++i) near[static_cast<std::size_t>(fill[i]++)] = static_cast<int>(i);
  for (const LayerEdge& e : s.layers.edges) {
    const auto row = static_cast<std::size_t>(backward ? e.from : e.to);
    near[static_cast<std::size_t>(fill[row]++)] = backward ? e.to : e.from;
  }
}

void run(const Predictor::Impl& impl, const NetWeights& net, bool backward, PredictorScratch& s, std::vector<float>& y) {
  neighbours(s, backward, impl.self_loops, s.start, s.near, s.fill);
  const std::size_t scratch = net_scratch(s.layers.count, net.hidden);
  if (s.net.size() < scratch) s.net.resize(scratch);
  y.resize(static_cast<std::size_t>(s.layers.count));
  run_net(net, {.rows = s.layers.count, .x = s.x.data(), .start = s.start.data(), .near = s.near.data(), .backward = backward, .scratch = s.net.data(), .y = y.data()});
}

/// A net of hostile but finite weights may overflow: nothing that is no number leaves here.
double finite(double v, double low, double high) { return v >= low ? std::min(v, high) : low; }

void times_of_layers(const Predictor::Impl& impl, int d, PredictorScratch& s) {
  auto& us = s.layer_us[d];
  const auto rows = static_cast<std::size_t>(s.layers.count);
  us.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const double y = static_cast<double>(s.y[d][i]);
    if (impl.output == NetOutput::log_residual) {
      us[i] = s.layers.base_us[d][i] * std::exp(finite(y, -4, 4));
    } else {  // accumulated so far (head), or still to come (tail); increments may be negative, as the paper's may
      const double scale = impl.devices[static_cast<std::size_t>(d)].scale_us, here = finite(y, -1e6, 1e6);
      const bool first = d == 0 ? i == 0 : i + 1 == rows;
      const double before = first ? 0 : finite(static_cast<double>(s.y[d][d == 0 ? i - 1 : i + 1]), -1e6, 1e6);
      us[i] = (here - before) * scale;
    }
  }
  const DeviceCorrection& correction = impl.devices[static_cast<std::size_t>(d)].correction;
  for (std::size_t i = 0; i < rows && correction.of != DeviceCorrection::Terms{}; ++i)
    us[i] *= correction.factor(DeviceCorrection::terms(s.layers.x.data() + i * feature_count, us[i]));
}

PredictorScratch& scratch() {
  thread_local PredictorScratch s;  // working memory only; nothing is kept from call to call
  return s;
}

/// Times of nodes [0, node) of device d in us per run; the cut may fall inside a layer.
class NodeSums {
 public:
  NodeSums(const PredictorScratch& s, int d) : s_{s}, d_{d} { us_ = s.layer_us[d].empty() ? 0 : s.layer_us[d][0]; }
  double up_to(NodeId node) {  // ascending calls
    for (; next_ < node; ++next_) us_ += s_.layer_us[d_][static_cast<std::size_t>(s_.layers.layer_of[next_])] * s_.layers.node_share[d_][next_];
    return us_;
  }

 private:
  const PredictorScratch& s_;
  int d_;
  NodeId next_ = 0;
  double us_ = 0;
};

double crossing_bytes(const Graph& graph, const Cut& cut) {
  double bytes = 0;
  for (const TensorId t : cut.tensors) bytes += static_cast<double>(graph.tensor(t).shape.elements());
  return bytes;
}

double bytes_per_element(std::string_view head, std::string_view tail) {
  if (head.starts_with("dpu") || tail.starts_with("dpu")) return 1;
  return head.starts_with("gpu") || tail.starts_with("gpu") ? 2 : 4;
}

void stage_times(const Predictor::Impl& impl, const Partitioner& parts, const PredictorScratch& s, Forecast& out) {
  const auto cuts = parts.cuts();
  const auto nodes = static_cast<NodeId>(parts.graph().nodes().size());
  NodeSums head{s, 0}, tail{s, 1}, all{s, 1};
  const double tail_all = all.up_to(nodes), element = bytes_per_element(impl.info.head, impl.info.tail);
  out.head_ms.assign(cuts.size(), 0);
  out.tail_ms.assign(cuts.size(), 0);
  for (std::size_t k = 0; k < cuts.size(); ++k) {
    const NodeId node = cuts[k].node;
    const double link_ms = node == 0 || node == nodes ? 0 : impl.link.fixed_ms + element * crossing_bytes(parts.graph(), cuts[k]) * impl.link.ms_per_byte;
    const double d = impl.devices[0].fixed_ms + head.up_to(node) / 1e3 / impl.devices[0].base.batch;
    const double g = impl.devices[1].fixed_ms + (tail_all - tail.up_to(node)) / 1e3 / impl.devices[1].base.batch;
    if (node > 0) out.head_ms[k] = impl.link.blocks_sender ? d + link_ms : std::max(d, link_ms);
    if (node < nodes) out.tail_ms[k] = g;
  }
}

void choose(const Predictor::Impl& impl, const Partitioner& parts, Forecast& out) {
  const bool dpu = impl.info.head.starts_with("dpu");
  const auto cuts = parts.cuts();
  const auto interval = [&](int k) { return std::max(out.head_ms[static_cast<std::size_t>(k)], out.tail_ms[static_cast<std::size_t>(k)]); };
  const auto possible = [&](int k) { return k == 0 || !dpu || cuts[static_cast<std::size_t>(k)].legal; };
  out.k = 0;
  for (int k = 1; k < static_cast<int>(cuts.size()); ++k) {
    if (possible(k) && interval(k) < interval(out.k)) out.k = k;
  }
  const double factor = impl.interval_factor;
  out.interval_ms = interval(out.k);
  out.low_ms = out.interval_ms / factor;
  out.high_ms = out.interval_ms * factor;
  out.contenders.assign(1, out.k);
  for (int round = 0; round < 2; ++round) {
    int next = -1;
    for (int k = 0; k < static_cast<int>(cuts.size()); ++k) {
      const bool taken = std::find(out.contenders.begin(), out.contenders.end(), k) != out.contenders.end();
      if (taken || !possible(k) || interval(k) / factor > out.high_ms) continue;
      if (next < 0 || interval(k) < interval(next)) next = k;
    }
    if (next >= 0) out.contenders.push_back(next);
  }
}

void chances(const Predictor::Impl& impl, const Partitioner& parts, const PredictorScratch& s, Forecast& out) {
  out.chance.clear();
  if (!impl.partition) return;
  const bool dpu = impl.info.head.starts_with("dpu");
  double sum = 0, most = -1e30;
  for (const Cut& cut : parts.cuts()) {
    const int layer = cut.node == 0 ? 0 : s.layers.layer_of[cut.node - 1];
    const double logit = finite(static_cast<double>(s.y[2][static_cast<std::size_t>(layer)]), -1e6, 1e6);
    out.chance.push_back(cut.k == 0 || !dpu || cut.legal ? logit : -1e30);
    most = std::max(most, out.chance.back());
  }
  for (double& c : out.chance) sum += c = std::exp(c - most);
  for (double& c : out.chance) c /= sum;
}

}  // namespace

void predict_layers(const Predictor::Impl& impl, const Graph& graph, PredictorScratch& s) {
  if (graph.nodes().size() > 100'000) {
    throw Error{Errc::unsupported, fmt::format("'{}': {} nodes are too many to predict; at most 100,000", graph.name(), graph.nodes().size())};
  }
  describe(graph, impl.devices[0].base, impl.devices[1].base, s.layers);
  normalise(impl, s);
  for (int d = 0; d < 2; ++d) {
    run(impl, impl.devices[static_cast<std::size_t>(d)].net, d == 1, s, s.y[d]);
    times_of_layers(impl, d, s);
  }
  if (impl.partition) run(impl, *impl.partition, false, s, s.y[2]);
}

void Predictor::forecast(const Partitioner& parts, Forecast& out) const {
  PredictorScratch& s = scratch();
  predict_layers(*impl_, parts.graph(), s);
  stage_times(*impl_, parts, s, out);
  choose(*impl_, parts, out);
  chances(*impl_, parts, s, out);
}

Forecast Predictor::forecast(const Partitioner& parts) const {
  Forecast out;
  forecast(parts, out);
  return out;
}

Profile Predictor::profile(const Partitioner& parts) const {
  PredictorScratch& s = scratch();
  predict_layers(*impl_, parts.graph(), s);
  const auto nodes = static_cast<NodeId>(parts.graph().nodes().size());
  Profile p;
  p.graph_hash = parts.graph().hash();
  p.granularity = parts.granularity();
  p.origin = Origin::predicted;
  p.machine = impl_->info.head_name + " + " + impl_->info.tail_name;
  for (int d = 0; d < 2; ++d) {
    const PredictedDevice& from = impl_->devices[static_cast<std::size_t>(d)];
    const double batch = from.base.batch;
    DeviceProfile device{.device = from.device, .backend = "predicted: " + from.name, .threads = 1, .batch = static_cast<std::size_t>(batch)};
    device.fixed_ms = from.fixed_ms;
    NodeSums sums{s, d}, whole{s, d};
    const double all = whole.up_to(nodes);
    for (const Cut& cut : parts.cuts()) {
      const double before = sums.up_to(cut.node);
      device.prefix_ms.push_back(cut.node == 0 ? 0 : from.fixed_ms + std::max(before, 0.0) / 1e3 / batch);
      device.suffix_ms.push_back(cut.node == nodes ? 0 : from.fixed_ms + std::max(all - before, 0.0) / 1e3 / batch);
    }
    p.devices.push_back(std::move(device));
  }
  Link back = impl_->link;
  std::swap(back.from, back.to);  // not trained on: guessed to be like the way there
  p.links = {impl_->link, std::move(back)};
  return p;
}

const char* predictor_isa() noexcept {
  switch (net_isa()) {
    case NetIsa::avx512: return "avx512";
    case NetIsa::avx2: return "avx2";
    case NetIsa::baseline: break;
  }
  return "baseline";
}

}  // namespace splitcnn::inline v0
