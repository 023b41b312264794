#include "gpu/tail/builder.hpp"

#include <fmt/core.h>

#include <cstring>
#include <limits>

#include "core/half.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

std::size_t rounded_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

}  // namespace

void set_walks(TailOp& op, const std::vector<Loop>& loops, const std::array<std::int64_t, 4>& offsets, bool merge_innermost) {
  std::vector<Loop> kept;
  for (std::size_t d = 0; d < loops.size(); ++d) {
    const bool innermost = d + 1 == loops.size();
    if (loops[d].n == 1 && !(innermost && kept.empty()) && !(innermost && !merge_innermost)) continue;
    const bool may_merge = !kept.empty() && (!innermost || merge_innermost);
    bool merges = may_merge;
    for (std::size_t i = 0; merges && i < 4; ++i) merges = kept.back().step[i] == loops[d].step[i] * loops[d].n;
    if (merges) {
      kept.back().n *= loops[d].n;
      kept.back().step = loops[d].step;
    } else {
      kept.push_back(loops[d]);
    }
  }
  if (kept.empty()) kept.push_back({});
  for (std::size_t i = 0; i < 4; ++i) {
    TailWalk& walk = op.walk[i];
    walk.rank = static_cast<std::int32_t>(kept.size());
    walk.offset = static_cast<std::int32_t>(offsets[i]);
    for (std::size_t d = 0; d < kept.size(); ++d) {
      walk.dims[d] = static_cast<std::int32_t>(kept[d].n);
      walk.strides[d] = static_cast<std::int32_t>(kept[d].step[i]);
    }
  }
}

Builder::Builder(const Graph& g, const TailOptions& o) : graph{g}, options{o}, of_(g.tensors().size(), no_tensor) {}

void Builder::refuse(const std::string& what) const {
  const Node& n = graph.nodes()[node];
  throw TailUnsupported{node, fmt::format("node '{}' ({}): {}; it runs on the CPU instead", n.name, to_string(n.op), what)};
}

std::uint32_t Builder::describe(const Shape& logical, std::uint32_t source) {
  Shape stored = storage_shape(logical);
  if (stored.rank() == 0) stored = Shape{1};
  TailTensor t;
  t.source = source;
  t.rank = static_cast<std::int32_t>(stored.rank());
  t.padded = static_cast<std::int32_t>(rounded_up(static_cast<std::size_t>(stored.back()), tail_pad));
  std::int64_t step = 1;
  for (std::size_t d = stored.rank(); d-- > 0;) {
    t.dims[d] = static_cast<std::int32_t>(stored[d]);
    t.strides[d] = static_cast<std::int32_t>(step);
    step *= d + 1 == stored.rank() ? t.padded : stored[d];
    // 16 frames of it are counted in 32 bits, too.
    if (step > std::numeric_limits<std::int32_t>::max() / 16) refuse(fmt::format("a tensor of {} is too large", to_string(logical)));
  }
  if (step == 0) refuse(fmt::format("a tensor of {} is empty", to_string(logical)));
  t.frame_elements = static_cast<std::int32_t>(step);
  const auto index = static_cast<std::uint32_t>(program.tensors.size());
  program.tensors.push_back(t);
  roots_.push_back(index);
  logical_.push_back(logical.rank() == 0 ? Shape{1} : logical);
  return index;
}

std::uint32_t Builder::make(const Shape& logical, std::uint32_t source) { return describe(logical, source); }

std::uint32_t Builder::alias(std::uint32_t tensor, const Shape& logical, std::uint32_t source) {
  const std::uint32_t index = describe(logical, source);
  program.tensors[index].place = at(tensor).place;
  program.tensors[index].offset = at(tensor).offset;
  roots_[index] = root(tensor);
  return index;
}

std::uint64_t Builder::place(const void* data, std::size_t bytes) {
  auto& arena = program.weights;
  const std::size_t offset = rounded_up(arena.size(), tail_alignment);
  arena.resize(rounded_up(offset + bytes, tail_alignment));
  std::memcpy(arena.data() + offset, data, bytes);
  return offset;
}

std::uint64_t Builder::place_halves(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves(values.size());
  to_half(values.data(), halves.data(), values.size());
  return place(halves.data(), halves.size() * sizeof(std::uint16_t));
}

std::uint32_t Builder::constant(const Shape& logical, std::span<const float> stored) {
  const std::uint32_t index = describe(logical, no_tensor);
  TailTensor& t = program.tensors[index];
  const auto run = static_cast<std::size_t>(t.dims[t.rank - 1]), padded = static_cast<std::size_t>(t.padded);
  std::vector<float> values(static_cast<std::size_t>(t.frame_elements));
  for (std::size_t i = 0; i < stored.size(); ++i) values[i / run * padded + i % run] = stored[i];
  t.place = Place::weights;
  t.offset = place_halves(values);
  return index;
}

std::uint32_t Builder::operand(TensorId id, std::size_t rank) {
  const GraphTensor& t = graph.tensor(id);
  if (!t.constant) {
    if (of_[id] == no_tensor) refuse(fmt::format("reads '{}' before it is written; please report this", t.name));
    return of_[id];
  }
  rank = std::max(rank, t.shape.rank());
  const auto [found, fresh] = constants_.try_emplace({id, rank}, no_tensor);
  if (fresh) {
    std::vector<std::int64_t> dims(rank - t.shape.rank(), 1);
    dims.insert(dims.end(), t.shape.begin(), t.shape.end());
    const Shape logical{std::span<const std::int64_t>{dims}};
    const auto values = graph.constant(id);
    std::vector<float> stored{values.begin(), values.end()};
    if (rank == 4) {  // channels last
      const auto c = static_cast<std::size_t>(logical[1]), area = static_cast<std::size_t>(logical[2] * logical[3]);
      for (std::size_t i = 0; i < stored.size(); ++i)
        stored[(i / (c * area) * area + i % area) * c + i / area % c] = values[i];
    }
    found->second = constant(logical, stored);
  }
  return found->second;
}

std::uint32_t Builder::result(TensorId id) {
  if (of_[id] == no_tensor) of_[id] = make(graph.tensor(id).shape, id);
  return of_[id];
}

LogicalStrides Builder::strides(std::uint32_t tensor) const {
  const TailTensor& t = at(tensor);
  LogicalStrides s{};
  for (int d = 0; d < t.rank; ++d) s[static_cast<std::size_t>(d)] = t.strides[d];
  if (logical(tensor).rank() == 4) s = {t.strides[0], t.strides[3], t.strides[1], t.strides[2]};
  return s;
}

TailOp& Builder::add(TailKind kind) {
  TailOp op;
  op.kind = kind;
  op.node = node;
  program.ops.push_back(op);
  return program.ops.back();
}

std::vector<Loop> Builder::loops_over(std::uint32_t y, std::vector<std::size_t>& axis) const {
  const TailTensor& t = at(y);
  std::vector<Loop> loops;
  axis.clear();
  for (int d = 0; d < t.rank; ++d) {
    loops.push_back({t.dims[d], {0, 0, 0, t.strides[d]}});
    axis.push_back(static_cast<std::size_t>(d));
  }
  if (logical(y).rank() == 4) axis = {0, 2, 3, 1};
  return loops;
}

}  // namespace splitcnn::inline v0::gpu
