#pragma once
/// A CNN as the library sees it: nodes in execution order, tensors by id, weights shared immutably.
///
///     Graph graph = Graph::load("mobilenet_v2.onnx");       // or Graph::zoo("resnet50")
///     for (const Cut& cut : cuts(graph)) {
///       fmt::print("{} after {}: {}\n", cut.k, cut.after, cut.legal ? "legal" : cut.reason);
///     }
///     graph.save("copy.onnx");
///
/// The Graph keeps convolution, batch normalisation and activation as they came: folding and fusion happen per segment
/// when it is lowered to a device, so a boundary between a convolution and its batch normalisation is a cut like any
/// other. Shape arithmetic (Shape, Gather, Cast, ... over constants) is folded away at load.
///
/// Shapes and axes of a Graph are LOGICAL: the order of the model file (N,C,H,W for images). How a tensor is stored
/// follows from its rank alone: see storage_shape().
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

using TensorId = std::uint32_t;  ///< index into Graph::tensors()
using NodeId = std::uint32_t;    ///< index into Graph::nodes(), which is execution order

/// The operators of the internal form. Opset differences end in the importer. The comment gives inputs {…} (optional
/// ones in []) and the fields of Node that matter; every other field keeps its default.
enum class Op : std::uint8_t {
  conv,                 ///< {x, weight OIHW, [bias]}  window, groups
  batch_norm,           ///< {x, scale, bias, mean, variance}  alpha = epsilon
  relu,                 ///< {x}
  clip,                 ///< {x}  alpha = min, beta = max (infinite when absent)
  leaky_relu,           ///< {x}  alpha
  prelu,                ///< {x, slope (broadcasts to x)}
  hard_sigmoid,         ///< {x}  max(0, min(1, alpha*x + beta))
  hard_swish,           ///< {x}  x * hard_sigmoid(x, 1/6, 0.5)
  sigmoid, tanh, exp, sqrt,  ///< {x}
  max_pool,             ///< {x}  window (padding never wins)
  average_pool,         ///< {x}  window, count_include_pad
  global_average_pool,  ///< {x}  to N,C,1,1
  reduce_mean,          ///< {x}  axes (>= 0, ascending); the output shape tells whether the axes stay
  add, sub, mul, div,   ///< {a, b}  numpy broadcasting; either side may be a constant. Sum of n inputs = n-1 adds
  concat,               ///< {x...}  axes[0]
  slice,                ///< {x}  begins, ends, steps, one each per dimension, resolved (end is exclusive; -1 = before 0 when step < 0)
  split,                ///< {x} to several outputs  axes[0]; sizes are in the outputs' shapes
  pad,                  ///< {x}  begins and ends, one per dimension, >= 0; constant value alpha
  gather,               ///< {x}  axes[0], begins = the indices (resolved to >= 0); scalar or n-D indices: state the output shape
  reshape,              ///< {x}  also Flatten, Squeeze, Unsqueeze; the output shape tells everything
  transpose,            ///< {x}  axes = permutation
  resize,               ///< {x}  resize_mode, coordinates; scales[] per dimension (used by the coordinate maths); sizes: state the output shape
  gemm,                 ///< {a, b, [c]}  alpha, beta, transpose_a, transpose_b
  matmul,               ///< {a, b}  numpy semantics
  softmax, log_softmax, ///< {x}  axes[0]: along exactly this axis (opset < 13 flattening is rewritten by the importer)
  lrn,                  ///< {x}  alpha, beta, bias, size; across channels (axis 1)
  identity,             ///< {x}  also Dropout at inference and Cast float to float
};

[[nodiscard]] SPLITCNN_API const char* to_string(Op op) noexcept;  ///< "conv", "max_pool", ...

/// Kernel, stride, dilation and padding of convolutions and pools, height before width.
struct Window {
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  ///< explicit: SAME_* and VALID are resolved at load
  friend bool operator==(const Window&, const Window&) = default;
};

enum class ResizeMode : std::uint8_t { nearest, linear };
/// How an output coordinate maps to the input (ONNX Resize). Nearest rounds as `nearest_floor` says.
enum class Coordinates : std::uint8_t { half_pixel, pytorch_half_pixel, asymmetric, align_corners };

struct Node {
  Op op = Op::identity;
  std::string name{};             ///< the model's name, or "<op>_<index>" where it has none; unique
  std::vector<TensorId> inputs{};
  std::vector<TensorId> outputs{};
  std::string module{};           ///< torchvision child module this node belongs to (zoo builders); "" for imports

  Window window{};
  int groups = 1;
  bool count_include_pad = false;
  bool ceil_mode = false;         ///< pools: only to write ONNX again; the output shape already has it
  bool transpose_a = false, transpose_b = false;
  bool nearest_floor = true;      ///< resize nearest: floor (true) or round_prefer_floor (false)
  ResizeMode resize_mode = ResizeMode::nearest;
  Coordinates coordinates = Coordinates::half_pixel;
  float alpha = 0, beta = 0, bias = 0;
  int size = 0;
  std::vector<std::int64_t> axes{}, begins{}, ends{}, steps{};
  std::vector<float> scales{};
};

struct GraphTensor {
  std::string name;      ///< the model's own, unique
  Shape shape;           ///< logical order
  bool constant = false; ///< a weight: Graph::constant() has its values
};

/// The shape a tensor of logical shape `logical` has in memory: rank 4 is stored channels last (N,C,H,W to N,H,W,C), every
/// other rank as it is.
[[nodiscard]] SPLITCNN_API Shape storage_shape(const Shape& logical);

struct LoadOptions {
  std::int64_t batch = 1;                        ///< value for a dynamic batch dimension
  std::size_t max_file_bytes = 1ull << 31;       ///< model file plus external data
  std::size_t max_nodes = 100'000;
  std::int64_t max_tensor_elements = 1ll << 28;  ///< per tensor
  std::int64_t max_folded_elements = 1ll << 28;  ///< made by constant folding and index lists in all; 8 more per element in the file
};

struct ZooOptions {
  std::uint64_t seed = 1;      ///< weights are seeded noise, scaled so that activations stay in range (He)
  std::int64_t input_size = 0; ///< height = width; 0 = the network's usual size (224; 32 for lenet5)
  int classes = 0;             ///< 0 = the usual number (1000; 10 for lenet5)
};

/// An immutable CNN. Copying is cheap (the contents are shared); const access from any thread.
class SPLITCNN_API Graph {
 public:
  /// Reads ONNX (opset 7 to 21, IR 3 to 10, external data next to the file). Throws Error: io; bad_model or unsupported
  /// with every offending node, its op and opset, and what to do.
  static Graph load(const std::filesystem::path& path, const LoadOptions& options = {});
  /// The same from memory; external data is refused.
  static Graph parse(std::span<const std::byte> onnx, const LoadOptions& options = {});

  /// One of zoo_names(): a standard topology with seeded random weights, for benches and tests without files.
  /// Throws bad_argument naming the known names.
  static Graph zoo(std::string_view name, const ZooOptions& options = {});
  [[nodiscard]] static std::vector<std::string> zoo_names();

  /// Writes ONNX that other runtimes accept: opset 13, IR 7; newer where an operator needs it (HardSwish 14, dilated
  /// average pool 19). Throws io.
  void save(const std::filesystem::path& path) const;
  /// The nodes [first, last) as a graph of their own: inputs are the tensors that enter the range, outputs those that
  /// leave it (or are outputs of the whole). Throws bad_argument on an empty or outside range.
  [[nodiscard]] Graph extract(NodeId first, NodeId last) const;

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] std::span<const Node> nodes() const noexcept;
  [[nodiscard]] std::span<const GraphTensor> tensors() const noexcept;
  [[nodiscard]] std::span<const TensorId> inputs() const noexcept;
  [[nodiscard]] std::span<const TensorId> outputs() const noexcept;

  [[nodiscard]] const GraphTensor& tensor(TensorId id) const { return tensors()[id]; }
  /// Values of a constant in logical order (weights OIHW). Empty for other tensors. Lives as long as any copy of the Graph.
  [[nodiscard]] std::span<const float> constant(TensorId id) const noexcept;
  [[nodiscard]] std::optional<TensorId> find_tensor(std::string_view name) const noexcept;
  /// The node that writes the tensor; nullopt for inputs and constants.
  [[nodiscard]] std::optional<NodeId> producer(TensorId id) const noexcept;
  /// The nodes that read it, ascending, each once.
  [[nodiscard]] std::span<const NodeId> consumers(TensorId id) const noexcept;

  /// 16 hex digits over topology, attributes and weights; equal graphs hash equal on every machine.
  [[nodiscard]] std::string hash() const;
  /// Multiply-accumulates of the node per frame (convolution, gemm, matmul; 0 for the rest).
  [[nodiscard]] std::int64_t macs(NodeId id) const noexcept;

 private:
  friend class GraphBuilder;
  struct Data;
  explicit Graph(std::shared_ptr<const Data> data) noexcept;
  std::shared_ptr<const Data> data_;
};

/// Builds a Graph node by node. Shapes are inferred as nodes are added; what does not fit throws bad_model at once,
/// naming the node.
///
///     GraphBuilder b{"tiny"};
///     TensorId x = b.input("x", {1, 1, 28, 28});
///     TensorId w = b.constant("w", {8, 1, 3, 3}, weights);
///     Node conv{.op = Op::conv, .inputs = {x, w}, .window = {.kernel_h = 3, .kernel_w = 3}};
///     x = b.add(conv);
///     b.output(b.add({.op = Op::relu, .inputs = {x}}));
///     Graph graph = std::move(b).build();
class SPLITCNN_API GraphBuilder {
 public:
  explicit GraphBuilder(std::string name);
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;
  ~GraphBuilder();

  TensorId input(std::string name, const Shape& shape);
  TensorId constant(std::string name, const Shape& shape, std::vector<float> values);

  /// Adds a node with one output and returns that tensor. `node.outputs` is ignored; an empty node name becomes
  /// "<op>_<index>"; the output tensor is called `output_name`, or the node's name where that is empty. Operators whose
  /// output shape is not a function of their inputs (reshape; split; reduce_mean: which axes stay) need `shape`.
  TensorId add(Node node, std::string output_name = {}, std::optional<Shape> shape = {});
  /// The same for a node with several outputs (split).
  std::vector<TensorId> add_multi(Node node, std::vector<std::string> output_names, std::vector<Shape> shapes);

  void output(TensorId id);
  [[nodiscard]] const Shape& shape(TensorId id) const;

  /// Nodes are put into a stable topological order (the order added, which is already one). Throws bad_model: no input,
  /// no output, an output that no node writes.
  [[nodiscard]] Graph build() &&;

 private:
  std::unique_ptr<Graph::Data> data_;
};

/// How finely a graph is divided into units, the pieces that are never cut inside.
enum class Granularity {
  block,  ///< residual, inverted-residual and branching blocks whole; else one convolution with its bn and activation
  fused,  ///< convolution + bn + activation; every other node alone
  op,     ///< every node
  paper,  ///< torchvision child modules: exact for the zoo, inferred by rule for imports
};

/// Consecutive nodes [first, last).
struct Unit {
  std::string name;
  NodeId first = 0, last = 0;
};

/// The boundary after unit k-1, that is before node `node`: k = 0 is before the first unit, k = K behind the last.
struct Cut {
  int k = 0;
  NodeId node = 0;                ///< nodes [0, node) are the head
  std::string after;              ///< name of the last unit of the head; "input" for k = 0
  std::vector<TensorId> tensors;  ///< what crosses, ascending: written (or fed) before the cut, read after it
  bool legal = false;             ///< the software DPU can run the whole head
  bool board_legal = false;       ///< the DPUCVDX8G of the VCK190 can, too
  std::string reason;             ///< why not legal, else why not board_legal, else empty; names node and limit
};

[[nodiscard]] SPLITCNN_API std::vector<Unit> units(const Graph& graph, Granularity granularity = Granularity::block);
[[nodiscard]] SPLITCNN_API std::vector<Cut> cuts(const Graph& graph, Granularity granularity = Granularity::block);

/// What enters and leaves a range of nodes: inputs are read inside and written outside (constants excluded), outputs are
/// written inside and read after it, or outputs of the graph. Ascending.
struct Boundary {
  std::vector<TensorId> inputs, outputs;
};
[[nodiscard]] SPLITCNN_API Boundary boundary(const Graph& graph, NodeId first, NodeId last);

}  // namespace splitcnn::inline v0
