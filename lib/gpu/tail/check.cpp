// The hash of a program, and whether it stays inside its memory.
#include <fmt/core.h>

#include <algorithm>

#include "gpu/tail/builder.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

class Fnv {
 public:
  template <class... T>
  void operator()(const T&... values) {
    (add(&values, sizeof(T)), ...);
  }
  void add(const void* data, std::size_t n) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < n; ++i) hash_ = (hash_ ^ p[i]) * 0x100000001b3ull;
  }
  [[nodiscard]] std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

/// Lowest and highest element a walk reaches.
std::pair<std::int64_t, std::int64_t> reach(const TailWalk& walk) {
  std::int64_t low = walk.offset, high = walk.offset;
  for (int d = 0; d < walk.rank; ++d) {
    const std::int64_t far = std::int64_t{walk.dims[d] - 1} * walk.strides[d];
    (far < 0 ? low : high) += far;
  }
  return {low, high};
}

class Checker {
 public:
  explicit Checker(const TailProgram& program) : p_{program} {}

  std::string run() {
    for (std::size_t t = 0; t < p_.tensors.size(); ++t) tensor(t);
    for (at_ = 0; at_ < p_.ops.size(); ++at_) op(p_.ops[at_]);
    if (found_.empty()) memory();
    return found_;
  }

 private:
  void complain(const std::string& what) {
    if (found_.empty()) found_ = fmt::format("op {}: {}", at_, what);
  }
  void require(bool ok, const char* what) {
    if (!ok) complain(what);
  }

  void tensor(std::size_t index) {
    const TailTensor& t = p_.tensors[index];
    at_ = index;
    require(t.rank >= 1 && t.rank <= tail_dims, "tensor rank");
    require(t.padded % tail_pad == 0 && t.padded >= t.dims[t.rank - 1], "padding");
    require(t.frame_elements % tail_pad == 0 && t.frame_elements > 0, "frame size");
    require(t.offset % tail_alignment == 0, "alignment");
    const std::uint64_t size = t.place == Place::arena ? p_.arena_bytes : p_.weights.size();
    if (t.place == Place::weights || used(index)) require(t.offset + bytes(t) <= size, "tensor outside its arena");
  }

  bool used(std::size_t index) const {
    return std::any_of(p_.ops.begin(), p_.ops.end(), [&](const TailOp& op) {
      return op.y == index || std::find(op.x, op.x + 3, static_cast<std::uint32_t>(index)) != op.x + 3;
    });
  }
  static std::uint64_t bytes(const TailTensor& t) { return static_cast<std::uint64_t>(t.frame_elements) * 2; }

  void inside(std::uint32_t tensor, const TailWalk& walk, std::int64_t extra = 0) {
    const auto [low, high] = reach(walk);
    require(low >= 0 && high + extra < p_.tensors[tensor].frame_elements, "a walk leaves its tensor");
  }

  void op(const TailOp& op) {
    for (const std::uint32_t x : op.x) require(x == no_tensor || x < p_.tensors.size(), "operand");
    require(op.kind == TailKind::exit || op.y < p_.tensors.size(), "result");
    if (!found_.empty()) return;
    require(op.y == no_tensor || p_.tensors[op.y].place == Place::arena, "writes a constant");
    if (op.wait >= 0) {
      require(static_cast<std::size_t>(op.wait) < at_, "waits for a later op");
      require(p_.ops[static_cast<std::size_t>(op.wait)].lane != op.lane, "waits for its own lane");
    }
    switch (op.kind) {
      case TailKind::entry:
        require(op.io < p_.inputs.size(), "io");
        return inside(op.y, op.walk[3], op.pad_lanes);
      case TailKind::exit:
        require(op.io < p_.outputs.size(), "io");
        return inside(op.x[0], op.walk[0]);
      case TailKind::conv:
      case TailKind::depthwise:
      case TailKind::fc:
      case TailKind::gap_fc:
        return layer(op);
      case TailKind::elementwise:
        for (std::size_t i = 0; i < 3; ++i) {
          if (op.x[i] != no_tensor) inside(op.x[i], op.walk[i]);
        }
        return inside(op.y, op.walk[3], op.pad_lanes);
      case TailKind::move:
        inside(op.x[0], op.walk[0]);
        return inside(op.y, op.walk[3], op.pad_lanes);
      case TailKind::reshape:
      case TailKind::fill:
        return inside(op.y, op.walk[3], op.pad_lanes);
      case TailKind::mean:
        return inside(op.y, op.walk[3]);
      case TailKind::softmax:
      case TailKind::log_softmax:
      case TailKind::lrn:
        inside(op.x[0], op.walk[0], std::int64_t{op.axis_n - 1} * op.axis_x);
        return inside(op.y, op.walk[3], std::int64_t{op.axis_n - 1} * op.axis_y);
      case TailKind::resample:
        for (int d = 0; d < op.walk[3].rank; ++d)
          require(op.taps[d] + static_cast<std::uint64_t>(op.walk[3].dims[d]) * sizeof(TailTap) <= p_.weights.size(), "taps outside the arena");
        return inside(op.y, op.walk[3]);
      case TailKind::product:
        return inside(op.y, op.walk[3], std::int64_t{op.pm - 1} * op.y_m + std::int64_t{op.pn - 1} * op.y_n);
      default:
        return;
    }
  }

  void layer(const TailOp& op) {
    const std::int64_t k = (op.k + tail_pad - 1) / tail_pad * tail_pad, c = (op.c + tail_pad - 1) / tail_pad * tail_pad;
    const std::int64_t taps = std::int64_t{op.window.kernel_h} * op.window.kernel_w;
    std::int64_t elements = k * op.in;
    if (op.kind == TailKind::depthwise) elements = taps * c;
    if (op.kind == TailKind::conv) elements = op.groups == 1 ? k * taps * c : std::int64_t{op.k} * taps * (op.c / op.groups);
    require(op.weights != no_data && op.weights_bytes == static_cast<std::uint64_t>(elements) * 2, "size of the weights");
    require(op.weights + op.weights_bytes <= p_.weights.size(), "weights outside the arena");
    require(op.bias != no_data && op.bias + static_cast<std::uint64_t>(k) * 2 <= p_.weights.size(), "bias outside the arena");
    if (op.kind == TailKind::conv && op.x[1] != no_tensor)
      require(p_.tensors[op.x[1]].frame_elements == p_.tensors[op.y].frame_elements, "z has another size");
  }

  /// An op's result must not lie on anything that is read later and was written before. A value read by a side op stays needed until the join.
  void memory() {
    for (at_ = 0; at_ < p_.ops.size(); ++at_) {
      if (p_.ops[at_].y == no_tensor) continue;
      const TailTensor& y = p_.tensors[p_.ops[at_].y];
      for (std::size_t later = at_; later < p_.ops.size(); ++later) {
        const std::size_t until = needed_until(later);
        if (until < at_) continue;
        for (const std::uint32_t x : p_.ops[later].x) check_pair(x, y, later);
      }
      for (std::size_t earlier = 0; earlier < at_; ++earlier) {  // side ops that may still be reading
        if (p_.ops[earlier].lane == p_.ops[at_].lane || needed_until(earlier) <= at_) continue;
        for (const std::uint32_t x : p_.ops[earlier].x) {
          if (x != no_tensor && p_.tensors[x].place == Place::arena) require(!overlap(p_.tensors[x], y), "overwrites what the other lane reads");
        }
      }
    }
  }
  void check_pair(std::uint32_t x, const TailTensor& y, std::size_t reader) {
    if (x == no_tensor || p_.tensors[x].place == Place::weights || p_.tensors[x].offset == y.offset) {
      // The same place: fine when this op (or one behind it, before the reader) writes what the reader wants.
      if (x == no_tensor || p_.tensors[x].place == Place::weights || reader > at_) return;
      return complain("writes over its own operand");
    }
    bool written_later = false;  // by an op between this one and the reader
    for (std::size_t k = at_ + 1; k < reader; ++k) written_later = written_later || (p_.ops[k].y != no_tensor && p_.tensors[p_.ops[k].y].offset == p_.tensors[x].offset);
    if (!written_later) require(!overlap(p_.tensors[x], y), "writes over a tensor that is read later");
  }
  static bool overlap(const TailTensor& a, const TailTensor& b) { return a.offset < b.offset + bytes(b) && b.offset < a.offset + bytes(a); }
  std::size_t needed_until(std::size_t op) const {
    if (p_.ops[op].lane == 0) return op;
    for (std::size_t k = op; k < p_.ops.size(); ++k) {
      if (p_.ops[k].wait == static_cast<std::int32_t>(op)) return k;
    }
    return p_.ops.size();
  }

  const TailProgram& p_;
  std::size_t at_ = 0;
  std::string found_;
};

}  // namespace

std::string check_tail(const TailProgram& program) { return Checker{program}.run(); }

std::uint64_t hash_tail(const TailProgram& p) {
  Fnv h;
  h(tail_version, p.arena_bytes);
  for (const TailTensor& t : p.tensors) h(t.place, t.rank, t.dims, t.strides, t.padded, t.frame_elements, t.offset);
  for (const TailOp& op : p.ops) {
    h(op.kind, op.x, op.y, op.io, op.lane, op.wait, op.act, op.act_alpha, op.act_beta, op.load_max, op.pad_lanes, op.clear);
    h(op.window, op.groups, op.n, op.h, op.w, op.c, op.p, op.q, op.k, op.rows, op.in, op.count_include_pad);
    h(op.weights, op.bias, op.weights_bytes, op.math, op.value, op.axis_n, op.axis_x, op.axis_y, op.lrn_before, op.lrn_after);
    h(op.alpha, op.beta, op.lrn_bias, op.taps, op.pm, op.pn, op.pk, op.a_m, op.a_k, op.b_k, op.b_n, op.c_m, op.c_n, op.y_m, op.y_n);
    for (const TailWalk& w : op.walk) h(w.rank, w.dims, w.strides, w.offset);
  }
  for (const auto* ios : {&p.inputs, &p.outputs}) {
    for (const TailIo& io : *ios) h(io.type, io.fix_point, io.tensor, io.frame_bytes);
  }
  for (const TailGroup& g : p.groups) h(g.first, g.last, g.shared_bytes);
  h.add(p.weights.data(), p.weights.size());
  return h.value();
}

}  // namespace splitcnn::inline v0::gpu
