/// Dividing a graph into units. Blocks are found from the structure alone: a tensor with several readers
/// forks, the first node that every path from there passes joins, and what lies between is one block.
#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "graph/node_kinds.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

namespace {

// Between fork and join of residual, fire, inception and similar blocks lie at most 7 convolutions in a row.
// What is longer (the outer skips of a U-Net, the scales of a detector) is a network in itself: it is divided
// like any other part, and the cuts inside carry several tensors.
constexpr int max_block_depth = 8;
constexpr NodeId max_block_nodes = 256;

struct Region {
  NodeId first = 0, last = 0;
  bool elementwise = false;  ///< x * sigmoid(x) and the like: an activation written in several nodes
};

/// Nodes [first, last) before they get a name.
struct Piece {
  NodeId first = 0, last = 0;
  bool block = false;
};

// ---- blocks

/// The first node that every path from here to the end passes; nodes().size() when only the end is.
class PostDominators {
 public:
  explicit PostDominators(const Graph& graph)
      : graph_{graph}, end_{static_cast<NodeId>(graph.nodes().size())}, up_(end_ + 1, end_) {
    std::vector<char> is_output(graph.tensors().size(), 0);
    for (const TensorId t : graph.outputs()) is_output[t] = 1;
    for (NodeId n = end_; n-- > 0;) {
      NodeId join = none;
      for (const TensorId t : graph.nodes()[n].outputs) {
        if (is_output[t]) join = end_;
        join = meet(join, readers_meet(t));
      }
      up_[n] = join == none ? end_ : join;
    }
  }

  [[nodiscard]] NodeId end() const noexcept { return end_; }
  [[nodiscard]] NodeId join_of(NodeId node) const { return up_[node]; }
  /// Where the readers of a tensor meet.
  [[nodiscard]] NodeId join_of_readers(TensorId t) const {
    const NodeId join = readers_meet(t);
    return join == none ? end_ : join;
  }

 private:
  static constexpr NodeId none = ~NodeId{0};

  NodeId readers_meet(TensorId t) const {
    NodeId join = none;
    for (const NodeId reader : graph_.consumers(t)) join = meet(join, reader);
    return join;
  }

  NodeId meet(NodeId a, NodeId b) const {
    if (a == none) return b;
    if (b == none) return a;
    while (a != b) {
      if (a == end_ || b == end_) return end_;
      (a < b ? a : b) = up_[std::min(a, b)];
    }
    return a;
  }

  const Graph& graph_;
  NodeId end_;
  std::vector<NodeId> up_;
};

/// Most convolutions on a path from the fork (a tensor, or the node `first` itself) to the last node of the
/// region.
int depth(const Graph& graph, const Region& region, const TensorId* fork) {
  std::vector<int> convs(region.last - region.first, -1);
  if (!fork) convs[0] = 0;
  for (NodeId n = region.first + (fork ? 0 : 1); n < region.last; ++n) {
    int& here = convs[n - region.first];
    for (const TensorId t : graph.nodes()[n].inputs) {
      const auto writer = graph.producer(t);
      if (fork && t == *fork) here = std::max(here, 0);
      if (writer && *writer >= region.first && *writer < n)
        here = std::max(here, convs[*writer - region.first]);
    }
    if (here >= 0 && has_weights(graph, graph.nodes()[n])) ++here;
  }
  return convs.back();
}

bool is_elementwise(const Graph& graph, const Region& region) {
  for (NodeId n = region.first; n < region.last; ++n) {
    const Node& node = graph.nodes()[n];
    const bool fits = is_activation(node.op) || node.op == Op::mul || node.op == Op::add ||
                      node.op == Op::div || is_identity(graph, node);
    if (!fits ||
        graph.tensor(node.outputs[0]).shape != graph.tensor(graph.nodes()[region.last - 1].outputs[0]).shape)
      return false;
  }
  return true;
}

/// Disjoint, ascending.
std::vector<Region> find_blocks(const Graph& graph) {
  const PostDominators joins{graph};
  std::vector<Region> found;
  const auto consider = [&](NodeId first, NodeId join, const TensorId* fork) {
    if (join == joins.end() || join + 1 - first > max_block_nodes) return;
    Region region{.first = first, .last = join + 1};
    if (depth(graph, region, fork) <= max_block_depth) found.push_back(region);
  };
  for (TensorId t = 0; t < graph.tensors().size(); ++t) {
    const auto readers = graph.consumers(t);
    if (readers.size() > 1 && !graph.tensor(t).constant)
      consider(readers.front(), joins.join_of_readers(t), &t);
  }
  for (NodeId n = 0; n < joins.end(); ++n) {
    if (graph.nodes()[n].outputs.size() > 1) consider(n, joins.join_of(n), nullptr);
  }
  std::sort(found.begin(), found.end(), [](const Region& a, const Region& b) { return a.first < b.first; });
  std::vector<Region> merged;
  for (const Region& region : found) {
    if (!merged.empty() && region.first < merged.back().last) {
      merged.back().last = std::max(merged.back().last, region.last);
    } else {
      merged.push_back(region);
    }
  }
  for (Region& region : merged) region.elementwise = is_elementwise(graph, region);
  return merged;
}

// ---- pieces

/// Walks the nodes once and keeps together what belongs together.
class Divider {
 public:
  Divider(const Graph& graph, std::vector<Region> blocks) : graph_{graph}, blocks_{std::move(blocks)} {}

  std::vector<Piece> divide() {
    const auto count = static_cast<NodeId>(graph_.nodes().size());
    std::vector<Piece> pieces;
    for (NodeId n = 0; n < count;) {
      Piece piece{.first = n, .last = n + 1};
      if (const Region* block = block_at(n)) {
        piece = {.first = n, .last = absorb(block->last), .block = true};
      } else if (has_weights(graph_, graph_.nodes()[n])) {
        piece.last = absorb(n + 1);
      }
      pieces.push_back(piece);
      n = piece.last;
    }
    return pieces;
  }

 private:
  const Region* block_at(NodeId n) {
    while (next_ < blocks_.size() && blocks_[next_].first < n) ++next_;
    return next_ < blocks_.size() && blocks_[next_].first == n ? &blocks_[next_] : nullptr;
  }

  /// Where the affine nodes and the activation behind node end - 1 end.
  NodeId absorb(NodeId end) {
    for (; end < graph_.nodes().size(); ++end) {
      const Node& node = graph_.nodes()[end];
      if (const Region* region = block_at(end)) {
        return region->elementwise && feeds(graph_, end - 1, region->first, region->last) ? region->last
                                                                                          : end;
      }
      if (!feeds(graph_, end - 1, end, end + 1)) return end;
      if (is_activation(node.op)) return end + 1;
      if (!is_identity(graph_, node) && !is_channel_affine(graph_, node)) return end;
    }
    return end;
  }

  const Graph& graph_;
  std::vector<Region> blocks_;
  std::size_t next_ = 0;
};

/// Expand - depthwise - linear projection is a block even where no skip closes it. `at` is the expansion or,
/// where the block does not expand, the depthwise convolution; the answer is how many pieces the block has, 0
/// when it is none.
std::size_t inverted_residual(const Graph& graph, const std::vector<Piece>& pieces, std::size_t at) {
  const auto follows = [&](std::size_t i) {
    return i < pieces.size() && feeds(graph, pieces[i - 1].last - 1, pieces[i].first, pieces[i].last);
  };
  const auto activated = [&](const Piece& p) {
    const Op op = graph.nodes()[p.last - 1].op;
    return p.last - p.first > 1 && (is_activation(op) || op == Op::mul);
  };
  const auto first = [&](std::size_t i) -> const Node& { return graph.nodes()[pieces[i].first]; };
  std::size_t i = at;
  if (!pieces[i].block && is_pointwise(graph, first(i)) && activated(pieces[i])) {
    if (!follows(++i)) return 0;
  }
  if (pieces[i].block || !is_depthwise(graph, first(i))) return 0;
  if (!follows(++i)) return 0;
  const bool squeeze_excite = pieces[i].block && graph.nodes()[pieces[i].last - 1].op == Op::mul;
  if (squeeze_excite && !follows(++i)) return 0;
  return !pieces[i].block && is_pointwise(graph, first(i)) && !activated(pieces[i]) ? i + 1 - at : 0;
}

std::vector<Piece> join_inverted_residuals(const Graph& graph, const std::vector<Piece>& pieces) {
  std::vector<Piece> joined;
  for (std::size_t i = 0; i < pieces.size();) {
    const std::size_t count = std::max<std::size_t>(1, inverted_residual(graph, pieces, i));
    Piece piece = pieces[i];
    if (count > 1) piece = {.first = piece.first, .last = pieces[i + count - 1].last, .block = true};
    joined.push_back(piece);
    i += count;
  }
  return joined;
}

std::vector<Piece> block_pieces(const Graph& graph) {
  return join_inverted_residuals(graph, Divider{graph, find_blocks(graph)}.divide());
}

std::vector<Piece> with_identities_attached(const Graph& graph, const std::vector<Piece>& pieces) {
  std::vector<Piece> attached;
  for (const Piece& piece : pieces) {
    const bool identity = piece.last - piece.first == 1 && is_identity(graph, graph.nodes()[piece.first]);
    if (identity && !attached.empty()) {
      attached.back().last = piece.last;
    } else {
      attached.push_back(piece);
    }
  }
  return attached;
}

std::vector<Piece> single_nodes(const Graph& graph) {
  std::vector<Piece> pieces;
  for (NodeId n = 0; n < graph.nodes().size(); ++n) pieces.push_back({n, n + 1, false});
  return pieces;
}

std::vector<Piece> modules(const Graph& graph) {
  std::vector<Piece> pieces;
  for (NodeId n = 0; n < graph.nodes().size(); ++n) {
    const bool same = n > 0 && graph.nodes()[n].module == graph.nodes()[n - 1].module;
    if (same) {
      pieces.back() = {pieces.back().first, n + 1, true};
    } else {
      pieces.push_back({n, n + 1, false});
    }
  }
  return pieces;
}

/// torchvision's child modules, guessed: blocks whole, every other node a module of its own.
std::vector<Piece> guessed_modules(const Graph& graph) {
  std::vector<Piece> pieces;
  for (const Piece& piece : block_pieces(graph)) {
    if (piece.block) {
      pieces.push_back(piece);
    } else {
      for (NodeId n = piece.first; n < piece.last; ++n) pieces.push_back({n, n + 1, false});
    }
  }
  return pieces;
}

std::vector<Piece> divide(const Graph& graph, Granularity granularity) {
  switch (granularity) {
    case Granularity::block:
      return with_identities_attached(graph, block_pieces(graph));
    case Granularity::fused:
      return Divider{graph, {}}.divide();
    case Granularity::op:
      return single_nodes(graph);
    case Granularity::paper:
      break;
  }
  const auto nodes = graph.nodes();
  const bool known = std::none_of(nodes.begin(), nodes.end(), [](const Node& n) { return n.module.empty(); });
  return known ? modules(graph) : guessed_modules(graph);
}

// ---- names

/// What the names of the nodes have in common, up to a '.' or '/': "layer1.0" of "layer1.0.conv1" and
/// "layer1.0.relu". Empty when that is nothing, or does not tell the piece from its neighbours.
std::string common_name(const Graph& graph, const Piece& piece) {
  const auto nodes = graph.nodes();
  std::string_view prefix = nodes[piece.first].name;
  for (NodeId n = piece.first; n < piece.last; ++n) {
    const std::string& name = nodes[n].name;
    const auto differ = std::mismatch(prefix.begin(), prefix.end(), name.begin(), name.end()).first;
    prefix = prefix.substr(0, static_cast<std::size_t>(differ - prefix.begin()));
  }
  const std::size_t separator = prefix.find_last_of("./");
  if (separator == std::string_view::npos) return {};
  prefix = prefix.substr(0, separator + 1);
  if (piece.first > 0 && nodes[piece.first - 1].name.starts_with(prefix)) return {};
  if (piece.last < nodes.size() && nodes[piece.last].name.starts_with(prefix)) return {};
  const std::size_t begin = prefix.find_first_not_of("./");
  return begin == std::string_view::npos ? std::string{}
                                         : std::string{prefix.substr(begin, separator - begin)};
}

/// The torchvision module, where the piece is exactly one.
bool is_module(const Graph& graph, const Piece& piece) {
  const auto nodes = graph.nodes();
  const std::string& module = nodes[piece.first].module;
  if (module.empty()) return false;
  if (piece.first > 0 && nodes[piece.first - 1].module == module) return false;
  if (piece.last < nodes.size() && nodes[piece.last].module == module) return false;
  const auto inside = nodes.subspan(piece.first, piece.last - piece.first);
  return std::all_of(inside.begin(), inside.end(), [&](const Node& n) { return n.module == module; });
}

std::string piece_name(const Graph& graph, Piece piece) {
  while (piece.last - piece.first > 1 && is_identity(graph, graph.nodes()[piece.last - 1])) --piece.last;
  const Node& first = graph.nodes()[piece.first];
  if (is_module(graph, piece)) return first.module;
  if (!piece.block) return first.name;
  std::string name = common_name(graph, piece);
  return name.empty() ? fmt::format("{}..{}", first.name, graph.nodes()[piece.last - 1].name) : name;
}

}  // namespace

std::vector<Unit> units(const Graph& graph, Granularity granularity) {
  std::vector<Unit> result;
  std::unordered_set<std::string> taken;
  for (const Piece& piece : divide(graph, granularity)) {
    Unit unit{.name = piece_name(graph, piece), .first = piece.first, .last = piece.last};
    if (!taken.insert(unit.name).second) {
      unit.name = fmt::format("{}..{}", graph.nodes()[piece.first].name, graph.nodes()[piece.last - 1].name);
      taken.insert(unit.name);
    }
    result.push_back(std::move(unit));
  }
  return result;
}

}  // namespace splitcnn::inline v0
