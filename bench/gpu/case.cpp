#include "case.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <thread>

namespace bench {

using namespace splitcnn;

namespace {

/// Scores that differ by less, of the largest, FP16 need not tell apart.
constexpr double least_gap = 4e-3;

NodeId node_behind(const Graph& graph, const std::string& cut) {
  std::string known;
  for (const Cut& c : cuts(graph)) {
    if (c.after == cut || std::to_string(c.k) == cut) return c.node;
    known += (known.empty() ? "" : ", ") + c.after;
  }
  throw Error{Errc::bad_argument, graph.name() + ": has no cut after '" + cut + "'; there are " + known};
}

Graph open(const std::string& name) {
  const std::size_t at = name.rfind('@');
  const std::string whole = name.substr(0, at);
  const Graph graph = whole.ends_with(".onnx") ? Graph::load(whole) : Graph::zoo(whole);
  if (at == std::string::npos) return graph;
  return graph.extract(node_behind(graph, name.substr(at + 1)), static_cast<NodeId>(graph.nodes().size()));
}

/// A file by its stem.
std::string short_name(const std::string& name) {
  const std::size_t at = name.rfind('@');
  const std::string whole = name.substr(0, at), behind = at == std::string::npos ? "" : name.substr(at);
  return (whole.ends_with(".onnx") ? std::filesystem::path{whole}.stem().string() : whole) + behind;
}

bool same_top(std::span<const float> a, std::span<const float> b) {
  const auto chosen = static_cast<std::size_t>(std::max_element(a.begin(), a.end()) - a.begin());
  double best = -HUGE_VAL, largest = 0;
  for (const float v : b) {
    best = std::max(best, static_cast<double>(v));
    largest = std::max(largest, std::fabs(static_cast<double>(v)));
  }
  return best - static_cast<double>(b[chosen]) <= least_gap * largest;
}

}  // namespace

Case::Case(const std::string& name) : name_{short_name(name)}, graph_{open(name)} {
  const Plan whole = plan("cpu");
  CpuStage cpu{whole, whole.route(0).segments[0], {.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))}};
  cpu.prepare();
  std::mt19937 random{1};
  std::normal_distribution<float> values{0, 1};
  for (std::size_t f = 0; f < frames; ++f) {
    std::vector<TensorView> from, to;
    for (const TensorSpec& spec : cpu.inputs()) {
      for (float& v : in_.emplace_back(spec).as<float>()) v = values(random);
    }
    for (const TensorSpec& spec : cpu.outputs()) expected_.emplace_back(spec);
    for (auto t = in_.end() - static_cast<std::ptrdiff_t>(cpu.inputs().size()); t != in_.end(); ++t) from.push_back(t->view());
    for (auto t = expected_.end() - static_cast<std::ptrdiff_t>(cpu.outputs().size()); t != expected_.end(); ++t) to.push_back(t->view());
    const Status status = cpu.wait(cpu.submit({1, from, to}), Clock::time_point::max());
    if (!status.ok()) throw Error{status.code, status.message};
  }
}

Plan Case::plan(const char* device) const {
  const auto n = static_cast<NodeId>(graph_.nodes().size());
  return {graph_, {}, {{.segments = {{.device = device, .first = 0, .last = n, .first_unit = 0, .last_unit = 1}}}}};
}

std::vector<Tensor> Case::room_for_results() const {
  std::vector<Tensor> room;
  for (const Tensor& t : expected_) room.emplace_back(t.spec());
  return room;
}

Difference Case::compare(const std::vector<Tensor>& results, std::size_t count) const {
  const std::size_t outputs = expected_.size() / frames;
  double wrong = 0, size = 1e-300;
  Difference d;
  for (std::size_t t = 0; t < count * outputs; ++t) {
    const auto a = results[t].as<float>(), b = expected_[t].as<float>();
    for (std::size_t i = 0; i < b.size(); ++i) {
      wrong += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
      size += std::pow(static_cast<double>(b[i]), 2);
    }
    if (t % outputs == 0) d.top1_equal = d.top1_equal && same_top(a, b);
  }
  d.rel_l2 = std::sqrt(wrong / size);
  d.top1_equal = d.top1_equal && std::isfinite(d.rel_l2);
  return d;
}

}  // namespace bench
