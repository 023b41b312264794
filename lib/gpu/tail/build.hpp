#pragma once
/// From a segment of a graph to a TailProgram: the passes of the GPU tail.
///
///     TailProgram tail = build_tail(plan, plan.tail());
///     for (const TailPiece& piece : split_tail(graph, first, last, refuse)) ...     // what a device refuses goes to the CPU
///
/// lower() folds batch normalisation in double and attaches activations; here everything is rounded to FP16 once, residual adds become
/// the z operand of their convolution (canonical order: conv, +z, +bias, act), ReLU6 becomes ReLU with the clamp sunk into the
/// readers, innermost dimensions are padded to 8, shortcut convolutions go to the side lane, and the activation arena is coloured
/// by lifetime. All of it is exact in the sense that the result rounds where CpuStage in FP16-storage mode rounds.
///
/// ReLU6 exactly: rn16 is monotone, so min(rn16(relu(v)), rn16(6)) == rn16(min(relu(v), 6)), infinities included; any upper bound works,
/// because it is rounded itself.
#include <functional>
#include <span>

#include "gpu/tail/tail_ir.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0::gpu {

struct TailOptions {
  bool sink_clamps = true;   ///< false: a clamp is an op of its own
  bool fuse_residual = true; ///< false: adds stay ops (rounds once more)
  bool fuse_gap_fc = true;
  bool fork = true;          ///< shortcut convolutions on lane 1
  bool group = true;         ///< mark runs that fit one thread block
};

/// A node that cannot be a tail op: Errc::unsupported with the node.
class TailUnsupported : public Error {
 public:
  TailUnsupported(NodeId node, const std::string& message) : Error{Errc::unsupported, message}, node{node} {}
  NodeId node;
};

/// Nodes [first, last) between these edges (segment_io(), or tensors of boundary() in any representation). Throws TailUnsupported
/// naming the node.
TailProgram build_tail(const Graph& graph, NodeId first, NodeId last, std::span<const EdgeTensor> inputs,
                       std::span<const EdgeTensor> outputs, const TailOptions& options = {});
TailProgram build_tail(const Plan& plan, const Segment& segment, const TailOptions& options = {});

/// Consecutive nodes on the GPU or, with a reason that names the node, on the CPU.
struct TailPiece {
  NodeId first = 0, last = 0;
  bool on_gpu = true;
  std::string reason;        ///< empty on the GPU
};

/// What the device says to op `index` of a program: empty, or why it cannot run it.
using TailRefusal = std::function<std::string(TailProgram& program, std::size_t index)>;

/// Cuts nodes [first, last) into pieces so that every GPU piece builds and `refuse` (may be empty) accepts each of its ops.
std::vector<TailPiece> split_tail(const Graph& graph, NodeId first, NodeId last, const TailRefusal& refuse,
                                  const TailOptions& options = {});

/// "" when every op stays inside its tensors, arenas and tables and no two live tensors share memory; else the first violation.
std::string check_tail(const TailProgram& program);

}  // namespace splitcnn::inline v0::gpu
