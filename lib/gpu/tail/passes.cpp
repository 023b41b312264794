// Passes over a finished list of ops.
#include <algorithm>

#include "gpu/tail/builder.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

bool clamps_on_load(const TailOp& op, std::size_t operand) {
  switch (op.kind) {
    case TailKind::depthwise:
    case TailKind::gap_fc:
    case TailKind::max_pool:
    case TailKind::average_pool:
    case TailKind::global_average_pool:
    case TailKind::exit:
      return operand == 0;
    case TailKind::elementwise:
      return operand < 2;
    default:
      return false;
  }
}

/// Calls f(op, operand) for every operand whose memory is that of `root`.
template <class F>
void for_readers(Builder& b, std::uint32_t root, const F& f) {
  for (TailOp& op : b.program.ops) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (op.x[i] != no_tensor && b.root(op.x[i]) == root) f(op, i);
    }
  }
}

std::size_t writer_of(const Builder& b, std::uint32_t root) {
  const auto& ops = b.program.ops;
  const auto found = std::find_if(ops.begin(), ops.end(), [&](const TailOp& op) { return op.y != no_tensor && b.root(op.y) == root; });
  return static_cast<std::size_t>(found - ops.begin());
}

}  // namespace

void sink_clamps(Builder& b) {
  for (const auto& [root, bound] : b.clamps) {
    bool all = b.options.sink_clamps;
    for_readers(b, root, [&](const TailOp& op, std::size_t i) { all = all && clamps_on_load(op, i); });
    if (all) {
      for_readers(b, root, [&, limit = bound](TailOp& op, std::size_t i) {
        float& own = op.load_max[i == 0 ? 0 : 1];  // no op clamps a third operand
        own = std::min(own, limit);
      });
      continue;
    }
    // Somebody reads it who cannot: the layer writes another tensor, and an op of its own clamps into this one.
    const std::size_t writer = writer_of(b, root);
    b.node = b.program.ops[writer].node;
    const std::uint32_t raw = b.make(b.logical(root));
    b.program.ops[writer].y = raw;
    copy_activated(b, raw, root, {Activation::Kind::clip, 0, bound});
    const auto added = b.program.ops.end() - 1;
    std::rotate(b.program.ops.begin() + static_cast<std::ptrdiff_t>(writer) + 1, added, b.program.ops.end());
  }
}

void fuse_gap_fc(Builder& b) {
  auto& ops = b.program.ops;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind != TailKind::global_average_pool || ops[i].act != TailAct::none || ops[i].n != 1) continue;
    std::size_t readers = 0, fc = ops.size();
    for (std::size_t k = 0; k < ops.size(); ++k) {
      for (const std::uint32_t x : ops[k].x) {
        if (x == no_tensor || b.root(x) != b.root(ops[i].y)) continue;
        ++readers;
        if (ops[k].kind == TailKind::fc) fc = k;
      }
    }
    if (readers != 1 || fc == ops.size() || ops[fc].rows != 1 || ops[fc].in != b.at(ops[i].y).padded) continue;
    TailOp fused = ops[fc];
    fused.kind = TailKind::gap_fc;
    fused.x[0] = ops[i].x[0];
    fused.load_max[0] = ops[i].load_max[0];
    fused.n = 1;
    fused.h = ops[i].h;
    fused.w = ops[i].w;
    fused.c = ops[i].c;
    ops[fc] = fused;
    ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(i));
    --i;
  }
}

/// A shortcut convolution: its result is only read as the z of a later convolution, and meanwhile the main path goes on from the same
/// tensor. It moves right behind the writer of that tensor, onto lane 1.
void fork_shortcuts(Builder& b) {
  auto& ops = b.program.ops;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind != TailKind::conv || ops[i].x[1] != no_tensor || ops[i].lane != 0) continue;
    const std::uint32_t from = b.root(ops[i].x[0]), result = b.root(ops[i].y);
    std::size_t readers = 0, join = 0, siblings = 0;
    for (std::size_t k = 0; k < ops.size(); ++k) {
      for (std::size_t o = 0; o < 3; ++o) {
        if (ops[k].x[o] == no_tensor) continue;
        if (b.root(ops[k].x[o]) == result) {
          ++readers;
          join = ops[k].kind == TailKind::conv && o == 1 ? k : 0;
        }
        if (k != i && b.root(ops[k].x[o]) == from) ++siblings;
      }
    }
    // The place right behind the writer must not lie inside another fork, so that at most one op is on lane 1 at a time.
    std::size_t at = 0;
    for (std::size_t k = 0; k < i; ++k) {
      if (ops[k].y != no_tensor && b.root(ops[k].y) == from) at = k + 1;
    }
    if (readers != 1 || join == 0 || siblings == 0 || join < at + 2 || ops[join].lane != 0) continue;
    bool free = at > 0 && ops[at - 1].lane == 0;
    for (std::size_t k = at; k <= join; ++k) free = free && ops[k].lane == 0 && ops[k].wait < 0;
    if (!free || (at == i && join == i + 1)) continue;
    std::rotate(ops.begin() + static_cast<std::ptrdiff_t>(at), ops.begin() + static_cast<std::ptrdiff_t>(i),
                ops.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ops[at].lane = 1;
    ops[at].wait = static_cast<std::int32_t>(at) - 1;
    ops[join].wait = static_cast<std::int32_t>(at);
  }
}

/// Largest first, each at the lowest place that is free all its life.
void colour_arena(Builder& b) {
  struct Life {
    std::uint32_t root;
    std::size_t first, last;
    std::uint64_t bytes, offset;
  };
  auto& ops = b.program.ops;
  std::vector<Life> lives;
  std::vector<std::size_t> of(b.program.tensors.size(), ~std::size_t{0});
  const auto touch = [&](std::uint32_t tensor, std::size_t at) {
    if (tensor == no_tensor || b.at(tensor).place == Place::weights) return;
    const std::uint32_t root = b.root(tensor);
    if (of[root] == ~std::size_t{0}) {
      of[root] = lives.size();
      const std::uint64_t bytes = static_cast<std::uint64_t>(b.at(root).frame_elements) * 2;
      lives.push_back({root, at, at, (bytes + tail_alignment - 1) / tail_alignment * tail_alignment, 0});
    }
    lives[of[root]].last = std::max(lives[of[root]].last, at);
  };
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (const std::uint32_t x : ops[i].x) touch(x, i);
    touch(ops[i].y, i);
  }
  // What a side lane reads stays until the join: the main lane may be anywhere in between.
  for (std::size_t join = 0; join < ops.size(); ++join) {
    if (ops[join].lane != 0 || ops[join].wait < 0) continue;
    for (const std::uint32_t x : ops[static_cast<std::size_t>(ops[join].wait)].x) touch(x, join);
  }
  // A group runs frame by frame, the arena is coloured op by op: what one frame has left behind must not lie on what the next one reads.
  for (const TailGroup& group : b.program.groups) {
    for (std::uint32_t i = group.first; i < group.last; ++i) {
      for (const std::uint32_t t : {ops[i].x[0], ops[i].x[1], ops[i].y}) {
        if (t == no_tensor || b.at(t).place == Place::weights) continue;
        touch(t, group.last - 1);
        Life& life = lives[of[b.root(t)]];
        life.first = std::min<std::size_t>(life.first, group.first);
      }
    }
  }
  std::vector<Life*> order, placed;
  for (Life& life : lives) order.push_back(&life);
  std::stable_sort(order.begin(), order.end(), [](const Life* l, const Life* r) { return l->bytes > r->bytes; });
  for (Life* life : order) {
    std::uint64_t at = 0;
    for (const Life* other : placed) {  // by offset
      if (other->last < life->first || life->last < other->first) continue;
      if (at + life->bytes <= other->offset) break;
      at = std::max(at, other->offset + other->bytes);
    }
    life->offset = at;
    b.program.arena_bytes = std::max(b.program.arena_bytes, at + life->bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), life, [](const Life* l, const Life* r) { return l->offset < r->offset; }),
                  life);
  }
  for (std::uint32_t t = 0; t < b.program.tensors.size(); ++t) {
    TailTensor& tensor = b.program.tensors[t];
    if (tensor.place == Place::arena && of[b.root(t)] != ~std::size_t{0}) tensor.offset = lives[of[b.root(t)]].offset;
  }
}

void mark_groups(Builder& b) {
  constexpr std::uint64_t most_shared = 48 << 10, most_weights = 512 << 10;
  const auto& ops = b.program.ops;
  const auto fits = [](const TailOp& op) {
    const bool layer = op.kind == TailKind::conv || op.kind == TailKind::fc || op.kind == TailKind::gap_fc ||
                       op.kind == TailKind::max_pool || op.kind == TailKind::average_pool || op.kind == TailKind::global_average_pool;
    return layer && op.lane == 0 && op.wait < 0 && op.groups == 1 && op.n == 1;
  };
  const auto bytes = [&](std::uint32_t t) { return (static_cast<std::uint64_t>(b.at(t).frame_elements) * 2 + 15) / 16 * 16; };
  for (std::size_t first = 0; first < ops.size();) {
    std::uint64_t shared = 0, weights = 0;
    std::size_t last = first;
    std::vector<std::uint32_t> seen;
    for (; last < ops.size() && fits(ops[last]); ++last) {
      std::uint64_t more = 0;
      for (const std::uint32_t t : {ops[last].x[0], ops[last].x[1], ops[last].y}) {
        if (t == no_tensor || std::find(seen.begin(), seen.end(), b.root(t)) != seen.end()) continue;
        seen.push_back(b.root(t));
        more += bytes(t);
      }
      if (shared + more > most_shared || weights + ops[last].weights_bytes > most_weights) break;
      shared += more;
      weights += ops[last].weights_bytes;
    }
    if (last - first >= 2)
      b.program.groups.push_back({static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last), static_cast<std::uint32_t>(shared)});
    first = std::max(last, first + 1);
  }
}

}  // namespace splitcnn::inline v0::gpu
