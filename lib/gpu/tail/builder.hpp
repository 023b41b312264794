#pragma once
/// What the parts of build_tail() share: the program under construction, its tensors and constants. Internal to tail/.
#include <array>
#include <map>
#include <optional>

#include "gpu/tail/build.hpp"
#include "graph/lower.hpp"

namespace splitcnn::inline v0::gpu {

/// One dimension of a loop nest, outermost first: its size and the step of each operand (x0, x1, x2, y).
struct Loop {
  std::int64_t n = 1;
  std::array<std::int64_t, 4> step{};
};

/// Writes the nest into op.walk: drops dimensions of one, merges neighbours; the innermost only when `merge_innermost`.
void set_walks(TailOp& op, const std::vector<Loop>& loops, const std::array<std::int64_t, 4>& offsets, bool merge_innermost);

using LogicalStrides = std::array<std::int64_t, tail_dims>;

class Builder {
 public:
  Builder(const Graph& graph, const TailOptions& options);

  /// A new arena tensor for values of a logical shape. Throws TailUnsupported (for node) when it is empty or too large.
  std::uint32_t make(const Shape& logical, std::uint32_t source = no_tensor);
  /// The same bytes under another shape with the same packed order.
  std::uint32_t alias(std::uint32_t tensor, const Shape& logical, std::uint32_t source);
  /// The tensor of an activation that has been written, or of a constant (placed at first use, with leading ones up to `rank`).
  std::uint32_t operand(TensorId id, std::size_t rank = 0);
  /// The tensor that will hold an activation.
  std::uint32_t result(TensorId id);
  void bind(TensorId id, std::uint32_t tensor) { of_[id] = tensor; }

  std::uint32_t constant(const Shape& logical, std::span<const float> stored);  ///< stored: storage order, unpadded
  /// Appends to the weight arena, aligned; returns the offset.
  std::uint64_t place(const void* data, std::size_t bytes);
  std::uint64_t place_halves(const std::vector<float>& values);

  [[nodiscard]] const Shape& logical(std::uint32_t tensor) const { return logical_[tensor]; }
  [[nodiscard]] const TailTensor& at(std::uint32_t tensor) const { return program.tensors[tensor]; }
  [[nodiscard]] std::uint32_t root(std::uint32_t tensor) const { return roots_[tensor]; }
  /// Element distance per LOGICAL axis.
  [[nodiscard]] LogicalStrides strides(std::uint32_t tensor) const;
  /// Pad lanes behind the innermost run.
  [[nodiscard]] std::int32_t pads(std::uint32_t tensor) const { return at(tensor).padded - at(tensor).dims[at(tensor).rank - 1]; }

  TailOp& add(TailKind kind);  ///< an op of the current node
  [[noreturn]] void refuse(const std::string& what) const;

  /// Loops over all of y in storage order, y's steps filled in; axis[d] is the logical axis of loop d.
  std::vector<Loop> loops_over(std::uint32_t y, std::vector<std::size_t>& axis) const;

  const Graph& graph;
  TailOptions options;
  TailProgram program;
  NodeId node = 0;                          ///< what add() and refuse() name
  std::map<std::uint32_t, float> clamps;    ///< by root: min() its readers owe

 private:
  std::uint32_t describe(const Shape& logical, std::uint32_t source);

  std::vector<std::uint32_t> of_;           // TensorId -> tensor
  std::vector<std::uint32_t> roots_;
  std::vector<Shape> logical_;
  std::map<std::pair<TensorId, std::size_t>, std::uint32_t> constants_;
};

// One op each. `add` is the residual add that a convolution takes in, or null.
void build_conv(Builder& b, const LoweredOp& op, const LoweredOp* add);
void build_dense(Builder& b, const LoweredOp& op);
void build_window(Builder& b, const LoweredOp& op);     // pools
void build_unary(Builder& b, const LoweredOp& op);
void build_binary(Builder& b, const LoweredOp& op);
void build_batch_norm(Builder& b, const LoweredOp& op);
void build_mean(Builder& b, const LoweredOp& op);
void build_axis(Builder& b, const LoweredOp& op);       // softmax, lrn
void build_product(Builder& b, const LoweredOp& op);
void build_concat(Builder& b, const LoweredOp& op);
void build_slices(Builder& b, const LoweredOp& op);     // slice, split
void build_pad(Builder& b, const LoweredOp& op);
void build_transpose(Builder& b, const LoweredOp& op);
void build_reshape(Builder& b, const LoweredOp& op);
void build_gather(Builder& b, const LoweredOp& op);
void build_resize(Builder& b, const LoweredOp& op);
void build_entry(Builder& b, const EdgeTensor& edge, std::uint32_t io);
void build_exit(Builder& b, const EdgeTensor& edge, std::uint32_t io);

/// y = x in another logical shape, row-major order kept; an alias where the bytes are the same.
std::uint32_t reshaped(Builder& b, std::uint32_t x, const Shape& to, std::uint32_t source);
void set_activation(TailOp& op, const Activation& activation);
/// Copies x to y and applies what is left of an activation.
void copy_activated(Builder& b, std::uint32_t x, std::uint32_t y, const Activation& activation);

// Passes over the finished list.
void sink_clamps(Builder& b);
void fuse_gap_fc(Builder& b);
void fork_shortcuts(Builder& b);
void colour_arena(Builder& b);
void mark_groups(Builder& b);
std::uint64_t hash_tail(const TailProgram& program);

}  // namespace splitcnn::inline v0::gpu
