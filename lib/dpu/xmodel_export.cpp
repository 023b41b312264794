// save_xmodel: a DPU segment as an xmodel. The operations are those of the software DPU's program, so that
// both compute the same bytes; the file itself is made by XIR, which is in the worker.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "dpu/remote/manifest.hpp"
#include "dpu/remote/process.hpp"
#include "dpu/soft/program.hpp"
#include "dpu/vart/xmodel_json.hpp"
#include "dpu/vart/xmodel_program.hpp"
#include "splitcnn/dpu_stage.hpp"

namespace splitcnn::inline v0 {

namespace {

using namespace soft;
namespace fs = std::filesystem;
using dpu::XmodelProgramOp;

class ProgramBuilder {
 public:
  ProgramBuilder(const QuantizedGraph& quant, NodeId first, NodeId last)
      : graph_{quant.graph()}, program_{compile(quant, first, last)}, made_(program_.buffers.size()) {}

  dpu::XmodelProgram build() {
    result_.name = graph_.name();
    for (const soft::Edge& e : program_.inputs) add_input(e);
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& op = program_.instructions[i];
      if (const auto* conv = std::get_if<ConvSpec>(&op.work))
        add_conv(op, *conv);
      else if (const auto* add = std::get_if<Add>(&op.work))
        add_eltwise(op, *add, "ADD");
      else if (const auto* mul = std::get_if<Mul>(&op.work))
        add_eltwise(op, *mul, "MUL");
      else if (const auto* pool = std::get_if<PoolSpec>(&op.work))
        add_pool(op, *pool);
      else
        i = add_concat(i);
    }
    for (const soft::Edge& e : program_.outputs) {
      if (!made_[e.buffer] || result_.ops[*made_[e.buffer]].type == "data-fix") {
        throw Error{Errc::unsupported, fmt::format("tensor '{}' passes the segment unchanged; an xmodel "
                                                   "needs an operation before it: cut elsewhere",
                                                   graph_.tensor(e.tensor).name)};
      }
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] static void refuse(const Instruction& op, const std::string& why) {
    throw Error{Errc::unsupported,
                fmt::format("node '{}': has no counterpart in an xmodel: {}; cut before it", op.name, why)};
  }

  static std::array<std::int32_t, 4> dims(const Instruction& op, const Extent& e) {
    if (e.n != 1) refuse(op, "it works on several rows at once");
    return {1, static_cast<std::int32_t>(e.h), static_cast<std::int32_t>(e.w),
            static_cast<std::int32_t>(e.c)};
  }

  void add_input(const soft::Edge& e) {
    const Shape& s = graph_.tensor(e.tensor).shape;
    XmodelProgramOp op{.type = "data-fix",
                       .name = graph_.tensor(e.tensor).name,
                       .fix_point = program_.buffers[e.buffer].fix_point};
    if (s.rank() == 4)
      op.shape = {static_cast<std::int32_t>(s[0]), static_cast<std::int32_t>(s[2]),
                  static_cast<std::int32_t>(s[3]), static_cast<std::int32_t>(s[1])};
    else
      op.shape = {1, 1, 1, static_cast<std::int32_t>(s.elements())};
    put(e.buffer, std::move(op));
  }

  void put(std::size_t buffer, XmodelProgramOp op) {
    made_[buffer] = static_cast<std::uint32_t>(result_.ops.size());
    result_.ops.push_back(std::move(op));
  }

  /// The operation that made a buffer, which must have left it in the shape it is read in.
  std::uint32_t source(const Instruction& op, std::size_t buffer,
                       const std::array<std::int32_t, 4>& shape) const {
    if (!made_[buffer]) refuse(op, "it reads what nothing wrote");
    if (result_.ops[*made_[buffer]].shape != shape)
      refuse(op, "it reads its input in another shape than it was written");
    return *made_[buffer];
  }

  XmodelProgramOp begin(const Instruction& op, const char* type, const std::array<std::int32_t, 4>& shape,
                        Nonlinear nonlinear) const {
    const Buffer& out = program_.buffers[op.output];
    return {.type = type,
            .name = graph_.tensor(out.tensor).name,
            .shape = shape,
            .fix_point = out.fix_point,
            .nonlinear = name_of(op, nonlinear)};
  }

  static std::string name_of(const Instruction& op, Nonlinear n) {
    switch (n) {
      case Nonlinear::none:
        return "NONE";
      case Nonlinear::relu:
        return "RELU";
      case Nonlinear::relu6:
        return "RELU6";
      case Nonlinear::leaky_relu:
        return "LEAKYRELU";
      default:
        refuse(op, "hard sigmoid and hard swish are not exported yet");
    }
  }

  static void set_window(XmodelProgramOp& to, const Window& w) {
    to.kernel = {w.kernel_w, w.kernel_h};
    to.stride = {w.stride_w, w.stride_h};
    to.dilation = {w.dilation_w, w.dilation_h};
    to.pad = {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom};
  }

  void add_conv(const Instruction& op, const ConvSpec& s) {
    if (s.groups != 1 && !s.depthwise()) refuse(op, "convolutions in groups");
    XmodelProgramOp x =
        begin(op, s.depthwise() ? "depthwise-conv2d-fix" : "conv2d-fix", dims(op, s.out), s.nonlinear);
    x.inputs = {source(op, op.inputs[0], dims(op, s.in))};
    set_window(x, s.window);
    x.fp_weight = s.fp_weight;
    x.fp_bias = s.fp_bias;
    const auto kh = s.window.kernel_h, kw = s.window.kernel_w;
    const auto in = static_cast<std::int32_t>(s.in.c / s.groups), out = static_cast<std::int32_t>(s.out.c);
    const auto* bytes = reinterpret_cast<const std::byte*>(s.weights.data());
    if (!s.depthwise()) {
      x.weight_shape = {out, kh, kw, in};
      x.weights.assign(bytes, bytes + s.weights.size());
    } else {  // ours: channel by channel
      x.weight_shape = {1, kh, kw, out};
      x.weights.resize(s.weights.size());
      const std::size_t taps = static_cast<std::size_t>(kh) * static_cast<std::size_t>(kw),
                        channels = static_cast<std::size_t>(out);
      for (std::size_t c = 0; c < channels; ++c) {
        for (std::size_t t = 0; t < taps; ++t) x.weights[t * channels + c] = bytes[c * taps + t];
      }
    }
    const auto* bias = reinterpret_cast<const std::byte*>(s.bias.data());
    x.bias.assign(bias, bias + s.bias.size());
    put(op.output, std::move(x));
  }

  void add_eltwise(const Instruction& op, const BinarySpec& s, const char* variant) {
    if (!s.same_layout()) refuse(op, "its inputs have different shapes");
    if (s.nonlinear != Nonlinear::none && s.nonlinear != Nonlinear::relu)
      refuse(op, "an element-wise operation has no activation but relu");
    const auto& first = made_[op.inputs[0]];
    if (!first) refuse(op, "it reads what nothing wrote");
    XmodelProgramOp x = begin(op, "eltwise-fix", result_.ops[*first].shape, s.nonlinear);
    x.variant = variant;
    for (const std::size_t b : op.inputs) x.inputs.push_back(source(op, b, x.shape));
    put(op.output, std::move(x));
  }

  void add_pool(const Instruction& op, const PoolSpec& s) {
    if (s.nonlinear != Nonlinear::none) refuse(op, "a pool has no activation");
    const bool padded = s.window.pad_top != 0 || s.window.pad_bottom != 0 || s.window.pad_left != 0 ||
                        s.window.pad_right != 0;
    if (s.average && padded && !s.count_include_pad) refuse(op, "an average that leaves the padding out");
    XmodelProgramOp x = begin(op, "pool-fix", dims(op, s.out), s.nonlinear);
    x.variant = s.average ? "AVG" : "MAX";
    x.inputs = {source(op, op.inputs[0], dims(op, s.in))};
    set_window(x, s.window);
    put(op.output, std::move(x));
  }

  /// Moves into one buffer, one behind the other: a concatenation of channels. Returns the last instruction
  /// of it.
  std::size_t add_concat(std::size_t at) {
    const Instruction& op = program_.instructions[at];
    const auto& first = std::get<MoveSpec>(op.work);
    if (first.nonlinear != Nonlinear::none) refuse(op, "an activation by itself");
    std::size_t end = at;
    std::int64_t channels = 0;
    std::vector<std::int64_t> parts;
    std::array<std::int32_t, 4> shape{};
    XmodelProgramOp x;
    for (; end < program_.instructions.size() && program_.instructions[end].output == op.output; ++end) {
      const auto* move = std::get_if<MoveSpec>(&program_.instructions[end].work);
      const std::size_t in = program_.instructions[end].inputs[0];
      if (!move || !made_[in]) refuse(op, "bytes that change place");
      shape = result_.ops[*made_[in]].shape;
      parts.push_back(shape[3]);
      channels += shape[3];
      x.inputs.push_back(*made_[in]);
    }
    shape[3] = static_cast<std::int32_t>(channels);
    std::int64_t offset = 0;
    for (std::size_t i = at; i < end; offset += parts[i - at], ++i) {
      if (std::get<MoveSpec>(program_.instructions[i].work).runs !=
          channel_runs(shape, parts[i - at], offset))
        refuse(op, "bytes that change place, but no concatenation of channels");
    }
    XmodelProgramOp made = begin(op, "concat-fix", shape, first.nonlinear);
    made.inputs = std::move(x.inputs);
    put(op.output, std::move(made));
    return end - 1;
  }

  /// What concat_runs() gives for `count` channels at `offset`: compared after joining neighbours.
  static std::vector<Run> channel_runs(const std::array<std::int32_t, 4>& shape, std::int64_t count,
                                       std::int64_t offset) {
    std::vector<Run> runs;
    const std::int64_t pixels = std::int64_t{shape[1]} * shape[2];
    for (std::int64_t p = 0; p < pixels; ++p) {
      const Run run{p * count, p * shape[3] + offset, count};
      if (!runs.empty() && runs.back().source + runs.back().length == run.source &&
          runs.back().destination + runs.back().length == run.destination)
        runs.back().length += count;
      else
        runs.push_back(run);
    }
    return runs;
  }

  const Graph& graph_;
  Program program_;
  dpu::XmodelProgram result_;
  std::vector<std::optional<std::uint32_t>> made_;  // per buffer: the operation that wrote it
};

/// A file that is gone with the object.
struct TemporaryFile {
  TemporaryFile() : path{(fs::temp_directory_path() / "splitcnn-program-XXXXXX").string()} {
    const int fd = mkstemp(path.data());
    if (fd < 0)
      throw Error{Errc::io,
                  "a temporary file for an xmodel: cannot be made in " + fs::temp_directory_path().string()};
    close(fd);
  }
  ~TemporaryFile() { unlink(path.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  std::string path;
};

void write(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out{path, std::ios::binary | std::ios::trunc};
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw Error{Errc::io, fmt::format("{}: cannot be written; is the disk full?", path)};
}

}  // namespace

void save_xmodel(const QuantizedGraph& quant, NodeId first, NodeId last, const fs::path& path,
                 const fs::path& worker) {
  const fs::path program = dpu::find_worker(worker);
  const TemporaryFile description, made;
  write(description.path, encode(ProgramBuilder{quant, first, last}.build()));
  const dpu::CommandResult result =
      dpu::run_command({program.string(), "--write-xmodel", description.path, made.path});
  if (!result.ok)
    throw Error{Errc::unsupported, fmt::format("xmodel '{}': {} {}: {}", path.string(), program.string(),
                                               result.how, result.errors)};
  std::error_code error;
  fs::copy_file(made.path, path, fs::copy_options::overwrite_existing, error);
  if (error) throw Error{Errc::io, fmt::format("{}: cannot be written: {}", path.string(), error.message())};
  write_manifest(quant, first, last, path);
}

std::string describe_xmodel(const fs::path& path) { return dpu::inspect_json(path.string()); }

}  // namespace splitcnn::inline v0
