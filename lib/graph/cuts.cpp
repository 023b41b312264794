#include <algorithm>
#include <optional>

#include "graph/dpu_limits.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

namespace {

/// For every cut position (ascending node numbers): the tensors written or fed before it and read behind it.
class LiveTensors {
 public:
  explicit LiveTensors(const Graph& graph) : graph_{graph} {
    for (const TensorId t : graph.inputs()) keep(t, 0);
  }

  /// `node` must not be smaller than at the last call.
  std::vector<TensorId> at(NodeId node) {
    for (; next_ < node; ++next_) {
      for (const TensorId t : graph_.nodes()[next_].outputs) keep(t, node);
    }
    std::erase_if(live_, [&](TensorId t) { return graph_.consumers(t).back() < node; });
    std::vector<TensorId> sorted = live_;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }

 private:
  void keep(TensorId t, NodeId node) {
    const auto readers = graph_.consumers(t);
    if (!readers.empty() && readers.back() >= node) live_.push_back(t);
  }

  const Graph& graph_;
  NodeId next_ = 0;
  std::vector<TensorId> live_;
};

/// Follows a head that grows node by node: can a DPU still run all of it?
class HeadLegality {
 public:
  explicit HeadLegality(const Graph& graph) : graph_{graph} {}

  void judge(Cut& cut) {
    for (; next_ < cut.node; ++next_) add(dpu_limits(graph_, next_));
    std::erase_if(waiting_, [&](const Waiting& w) { return w.until < cut.node; });
    cut.legal = !illegal_;
    cut.board_legal = cut.legal && !software_only_ && waiting_.empty();
    if (illegal_) {
      cut.reason = *illegal_;
    } else if (software_only_) {
      cut.reason = *software_only_;
    } else if (!waiting_.empty()) {
      cut.reason = waiting_.front().reason;
    }
  }

 private:
  struct Waiting {
    NodeId until;
    std::string reason;
  };

  void add(DpuLimits limits) {
    if (!limits.legal) {
      if (!illegal_) illegal_ = std::move(limits.reason);
    } else if (!limits.board_legal) {
      if (!software_only_) software_only_ = std::move(limits.reason);
    } else if (limits.board_until > next_) {
      waiting_.push_back({limits.board_until, std::move(limits.reason)});
    }
  }

  const Graph& graph_;
  NodeId next_ = 0;
  std::optional<std::string> illegal_, software_only_;
  std::vector<Waiting> waiting_;
};

}  // namespace

std::vector<Cut> cuts(const Graph& graph, Granularity granularity) {
  LiveTensors live{graph};
  HeadLegality head{graph};
  std::vector<Cut> result;
  Cut start{.k = 0, .node = 0, .after = "input", .tensors = live.at(0)};
  head.judge(start);
  result.push_back(std::move(start));
  for (const Unit& unit : units(graph, granularity)) {
    Cut cut{.k = static_cast<int>(result.size()),
            .node = unit.last,
            .after = unit.name,
            .tensors = live.at(unit.last)};
    head.judge(cut);
    result.push_back(std::move(cut));
  }
  return result;
}

}  // namespace splitcnn::inline v0
