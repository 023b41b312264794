#include "dpu/soft/moves.hpp"

#include <fmt/core.h>

#include <cmath>
#include <functional>

namespace splitcnn::inline v0::soft {

namespace {

using Coordinates8 = std::array<std::int64_t, Shape::max_rank>;

/// Logical dimensions in the order they are stored.
std::vector<std::size_t> storage_order(std::size_t rank) {
  if (rank == 4) return {0, 2, 3, 1};
  std::vector<std::size_t> order(rank);
  for (std::size_t d = 0; d < rank; ++d) order[d] = d;
  return order;
}

std::int64_t offset(const Coordinates8& at, const std::vector<std::int64_t>& strides) {
  std::int64_t o = 0;
  for (std::size_t d = 0; d < strides.size(); ++d) o += at[d] * strides[d];
  return o;
}

void append(std::vector<Run>& runs, std::int64_t source, std::int64_t destination) {
  if (!runs.empty()) {
    Run& last = runs.back();
    const bool follows = source < 0 ? last.source < 0 : last.source >= 0 && source == last.source + last.length;
    if (follows && destination == last.destination + last.length) {
      ++last.length;
      return;
    }
  }
  runs.push_back({source, destination, 1});
}

/// Calls f(logical coordinates, storage offset) for every element in storage order.
template <class F>
void for_each_coordinate(const Shape& logical, const F& f) {
  const auto order = storage_order(logical.rank());
  Coordinates8 at{};
  const std::int64_t count = logical.elements();
  for (std::int64_t i = 0; i < count; ++i) {
    f(at, i);
    for (std::size_t k = order.size(); k-- > 0;) {
      if (++at[order[k]] < logical[order[k]]) break;
      at[order[k]] = 0;
    }
  }
}

/// Turns logical output coordinates into logical input coordinates; false: no source (padding).
using SourceOf = std::function<bool(const Coordinates8& out, Coordinates8& in)>;

SourceOf reshape_source(const Shape& in, const Shape& out) {
  return [in, out](const Coordinates8& o, Coordinates8& i) {
    std::int64_t flat = 0;
    for (std::size_t d = 0; d < out.rank(); ++d) flat = flat * out[d] + o[d];
    for (std::size_t d = in.rank(); d-- > 0; flat /= in[d]) i[d] = flat % in[d];
    return true;
  };
}

double source_coordinate(const Node& node, std::int64_t x, double scale, std::int64_t in, std::int64_t out) {
  const auto at = static_cast<double>(x);
  switch (node.coordinates) {
    case Coordinates::asymmetric: return at / scale;
    case Coordinates::align_corners: return out == 1 ? 0 : at * static_cast<double>(in - 1) / static_cast<double>(out - 1);
    case Coordinates::pytorch_half_pixel: return out == 1 ? 0 : (at + 0.5) / scale - 0.5;
    case Coordinates::half_pixel: break;
  }
  return (at + 0.5) / scale - 0.5;
}

SourceOf resize_source(const Node& node, const Shape& in, const Shape& out) {
  if (node.resize_mode != ResizeMode::nearest) {
    throw Error{Errc::unsupported, fmt::format("node '{}' (resize): the DPU only repeats pixels (nearest); cut before it", node.name)};
  }
  std::vector<std::vector<std::int64_t>> tables(in.rank());
  for (std::size_t d = 0; d < in.rank(); ++d) {
    const double scale = d < node.scales.size() && node.scales[d] > 0
                             ? static_cast<double>(node.scales[d])
                             : static_cast<double>(out[d]) / static_cast<double>(in[d]);
    for (std::int64_t x = 0; x < out[d]; ++x) {
      const double at = in[d] == out[d] ? static_cast<double>(x) : source_coordinate(node, x, scale, in[d], out[d]);
      const double near = node.nearest_floor ? std::floor(at) : std::ceil(at - 0.5);
      tables[d].push_back(std::clamp<std::int64_t>(static_cast<std::int64_t>(near), 0, in[d] - 1));
    }
  }
  return [tables](const Coordinates8& o, Coordinates8& i) {
    for (std::size_t d = 0; d < tables.size(); ++d) i[d] = tables[d][static_cast<std::size_t>(o[d])];
    return true;
  };
}

SourceOf gather_source(const Node& node, const Shape& in, const Shape& out) {
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  const std::size_t index_rank = out.rank() + 1 - in.rank();
  return [indices = node.begins, axis, index_rank, in, out](const Coordinates8& o, Coordinates8& i) {
    std::int64_t flat = 0;
    for (std::size_t d = axis; d < axis + index_rank; ++d) flat = flat * out[d] + o[d];
    for (std::size_t d = 0; d < in.rank(); ++d) i[d] = d < axis ? o[d] : d == axis ? indices[static_cast<std::size_t>(flat)] : o[d - 1 + index_rank];
    return true;
  };
}

SourceOf split_source(const Graph& graph, const Node& node, std::size_t output) {
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  std::int64_t start = 0;
  for (std::size_t j = 0; j < output; ++j) start += graph.tensor(node.outputs[j]).shape[axis];
  return [axis, start](const Coordinates8& o, Coordinates8& i) {
    i = o;
    i[axis] += start;
    return true;
  };
}

SourceOf source_of(const Graph& graph, const Node& node, const Shape& in, const Shape& out, std::size_t output) {
  switch (node.op) {
    case Op::reshape: return reshape_source(in, out);
    case Op::identity: return [](const Coordinates8& o, Coordinates8& i) { return i = o, true; };
    case Op::slice:
      return [&node, rank = in.rank()](const Coordinates8& o, Coordinates8& i) {
        for (std::size_t d = 0; d < rank; ++d) i[d] = node.begins[d] + o[d] * node.steps[d];
        return true;
      };
    case Op::split: return split_source(graph, node, output);
    case Op::pad:
      return [&node, in](const Coordinates8& o, Coordinates8& i) {
        for (std::size_t d = 0; d < in.rank(); ++d) {
          i[d] = o[d] - node.begins[d];
          if (i[d] < 0 || i[d] >= in[d]) return false;
        }
        return true;
      };
    case Op::transpose:
      return [&node](const Coordinates8& o, Coordinates8& i) {
        for (std::size_t d = 0; d < node.axes.size(); ++d) i[static_cast<std::size_t>(node.axes[d])] = o[d];
        return true;
      };
    case Op::resize: return resize_source(node, in, out);
    case Op::gather: return gather_source(node, in, out);
    default:
      throw Error{Errc::unsupported, fmt::format("node '{}' ({}): the software DPU cannot run it; cut before it", node.name, to_string(node.op))};
  }
}

}  // namespace

std::vector<std::int64_t> storage_strides(const Shape& logical) {
  std::vector<std::int64_t> strides(logical.rank());
  std::int64_t stride = 1;
  const auto order = storage_order(logical.rank());
  for (std::size_t k = order.size(); k-- > 0;) {
    strides[order[k]] = stride;
    stride *= logical[order[k]];
  }
  return strides;
}

std::vector<Run> move_runs(const Graph& graph, const Node& node, std::size_t output) {
  const Shape &in = graph.tensor(node.inputs[0]).shape, &out = graph.tensor(node.outputs[output]).shape;
  const SourceOf source = source_of(graph, node, in, out, output);
  const auto strides = storage_strides(in);
  std::vector<Run> runs;
  for_each_coordinate(out, [&](const Coordinates8& at, std::int64_t destination) {
    Coordinates8 from{};
    append(runs, source(at, from) ? offset(from, strides) : -1, destination);
  });
  return runs;
}

std::vector<Run> concat_runs(const Graph& graph, const Node& node, std::size_t input) {
  const auto axis = static_cast<std::size_t>(node.axes[0]);
  std::int64_t start = 0;
  for (std::size_t j = 0; j < input; ++j) start += graph.tensor(node.inputs[j]).shape[axis];
  const auto strides = storage_strides(graph.tensor(node.outputs[0]).shape);
  std::vector<Run> runs;
  for_each_coordinate(graph.tensor(node.inputs[input]).shape, [&](const Coordinates8& at, std::int64_t source) {
    append(runs, source, offset(at, strides) + start * strides[axis]);
  });
  return runs;
}

}  // namespace splitcnn::inline v0::soft
