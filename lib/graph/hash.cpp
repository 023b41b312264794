// Graph::hash: 64-bit FNV-1a over a canonical little-endian byte stream, so that equal graphs hash equal on every machine.
#include <fmt/core.h>

#include <bit>
#include <cstring>

#include "graph/graph_data.hpp"

namespace splitcnn::inline v0 {

namespace {

class Fnv {
 public:
  void number(std::uint64_t v) noexcept {
    for (int i = 0; i < 8; ++i) byte(static_cast<std::uint8_t>(v >> (8 * i)));
  }
  void real(float v) noexcept { number(std::bit_cast<std::uint32_t>(v)); }
  void text(std::string_view s) noexcept {
    number(s.size());
    for (const char c : s) byte(static_cast<std::uint8_t>(c));
  }
  /// Weights: one 8-byte step per two floats keeps large nets fast.
  void reals(std::span<const float> values) noexcept {
    number(values.size());
    std::size_t i = 0;
    for (; i + 1 < values.size(); i += 2) {
      word(std::uint64_t{std::bit_cast<std::uint32_t>(values[i])} | std::uint64_t{std::bit_cast<std::uint32_t>(values[i + 1])} << 32);
    }
    if (i < values.size()) word(std::bit_cast<std::uint32_t>(values[i]));
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return hash_; }

 private:
  static constexpr std::uint64_t prime = 0x100000001b3ull;
  void byte(std::uint8_t b) noexcept { hash_ = (hash_ ^ b) * prime; }
  void word(std::uint64_t w) noexcept {
    hash_ = (hash_ ^ w) * prime;
    hash_ ^= hash_ >> 29;  // FNV alone never moves high bits down; whole words need that
  }
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

void add(Fnv& fnv, const Node& n) {
  fnv.number(static_cast<std::uint64_t>(n.op));
  for (const auto* ids : {&n.inputs, &n.outputs}) {
    fnv.number(ids->size());
    for (const TensorId t : *ids) fnv.number(t);
  }
  const Window& w = n.window;
  for (const int v : {w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w, w.pad_top, w.pad_left, w.pad_bottom,
                      w.pad_right, n.groups, int{n.count_include_pad}, int{n.transpose_a}, int{n.transpose_b}, int{n.nearest_floor},
                      static_cast<int>(n.resize_mode), static_cast<int>(n.coordinates), n.size}) {
    fnv.number(static_cast<std::uint64_t>(static_cast<std::int64_t>(v)));
  }
  for (const float v : {n.alpha, n.beta, n.bias}) fnv.real(v);
  for (const auto* list : {&n.axes, &n.begins, &n.ends, &n.steps}) {
    fnv.number(list->size());
    for (const std::int64_t v : *list) fnv.number(static_cast<std::uint64_t>(v));
  }
  fnv.reals(n.scales);
}

}  // namespace

std::string Graph::hash() const {
  Fnv fnv;
  // Tensors count in the order nodes mention them, so that unused ids and the order of constants do not matter.
  std::vector<TensorId> canonical(tensors().size(), ~TensorId{0});
  TensorId next = 0;
  const auto visit = [&](TensorId t) {
    if (canonical[t] != ~TensorId{0}) return canonical[t];
    for (const std::int64_t d : tensor(t).shape) fnv.number(static_cast<std::uint64_t>(d));
    if (tensor(t).constant) fnv.reals(constant(t));
    else fnv.text(tensor(t).name);
    return canonical[t] = next++;
  };
  for (const TensorId t : inputs()) fnv.number(visit(t));
  for (const Node& original : nodes()) {
    Node node = original;
    for (TensorId& t : node.inputs) t = visit(t);
    for (TensorId& t : node.outputs) t = visit(t);
    add(fnv, node);
  }
  for (const TensorId t : outputs()) fnv.number(visit(t));
  return fmt::format("{:016x}", fnv.value());
}

}  // namespace splitcnn::inline v0
