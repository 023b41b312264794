// The kernels' bodies as host code, block by block and thread by thread, against the host executor: every
// index a thread computes on the GPU is computed here.
#include <cxxabi.h>

#include <cstring>
#include <typeinfo>

#include "core/convert.hpp"
#include "core/half.hpp"
#include "gpu/cuda/kernels/emulate.hpp"
#include "gpu/cuda/kernels/program_calls.hpp"
#include "gpu/kernel_cases.hpp"
#include "gpu/tail_cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using gpu::IoType;
using gpu::TailKind;
namespace cuda = gpu::cuda;

namespace {

using Counts = std::map<std::string, std::size_t>;

template <class T>
std::string name_of() {
  int status = 0;
  char* text = abi::__cxa_demangle(typeid(T).name(), nullptr, nullptr, &status);
  const std::string name = text ? text : typeid(T).name();
  std::free(text);
  return name.substr(name.rfind("cuda::") + 6);
}

/// Aligned bytes between guards; knows what may have changed.
class Region {
 public:
  explicit Region(std::size_t bytes) : memory_(bytes + 2 * guard, filler) {
    begin_ = memory_.data() + guard - reinterpret_cast<std::uintptr_t>(memory_.data()) % 256;
  }
  [[nodiscard]] std::byte* data() { return begin_; }
  void freeze() { before_ = memory_; }
  /// Whether everything outside [from, from + n) is as it was when frozen.
  [[nodiscard]] bool untouched_but(std::size_t from, std::size_t n) const {
    const auto first = static_cast<std::size_t>(begin_ - memory_.data()) + from;
    return std::memcmp(memory_.data(), before_.data(), first) == 0 &&
           std::memcmp(memory_.data() + first + n, before_.data() + first + n, memory_.size() - first - n) ==
               0;
  }

 private:
  static constexpr std::size_t guard = 4096;
  static constexpr std::byte filler{0xa5};
  std::vector<std::byte> memory_, before_;
  std::byte* begin_ = nullptr;
};

void fill(std::byte* to, const gpu::TailIo& io, std::size_t n, Random& random) {
  if (io.type == IoType::i8) {
    for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<std::byte>(random.draw(0, 255));
    return;
  }
  std::vector<float> values(n / (io.type == IoType::f32 ? 4 : 2));
  random.fill(values, -2, 2);
  if (io.type == IoType::f32) {
    std::memcpy(to, values.data(), n);
  } else {
    to_half(values.data(), reinterpret_cast<std::uint16_t*>(to), values.size());
  }
}

/// Same bits, or a unit or two in the last place of a value or of the largest one (sums round in another
/// order).
void check_close(std::span<const std::uint16_t> got, std::span<const std::uint16_t> want, bool exact) {
  float largest = 0;
  for (const std::uint16_t w : want)
    largest = std::isfinite(from_half(w)) ? std::max(largest, std::fabs(from_half(w))) : largest;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (got[i] == want[i]) continue;
    const float g = from_half(got[i]), w = from_half(want[i]);
    if (!exact && std::fabs(g - w) <= 0x1p-10f * std::fabs(w) + 0x1p-18f * largest + 0x1p-24f) continue;
    if (std::isnan(g) && std::isnan(w)) continue;
    CAPTURE(i, g, w, largest);
    FAIL("a kernel computes something else");
  }
}

bool only_moves(TailKind kind) {
  return kind == TailKind::entry || kind == TailKind::move || kind == TailKind::reshape ||
         kind == TailKind::fill || kind == TailKind::max_pool;
}

/// One program, op by op: the oracle, and from the same operands the bodies.
class Case {
 public:
  Case(gpu::TailProgram& program, std::uint32_t frames, Random& random)
      : program_{program},
        view_{program.view()},
        frames_{frames},
        host_{view_, frames},
        weights_{program.weights.size()} {
    std::memcpy(weights_.data(), program.weights.data(), program.weights.size());
    for (const gpu::TailIo& io : program.inputs) {
      Region& region = inputs_.emplace_back(io.frame_bytes * frames);
      fill(region.data(), io, io.frame_bytes * frames, random);
      in_.push_back(region.data());
    }
    for (const gpu::TailIo& io : program.outputs) {
      expected_.emplace_back(io.frame_bytes * frames);
      results_.emplace_back(io.frame_bytes * frames);
      out_.push_back(expected_.back().data());
      kernel_out_.push_back(results_.back().data());
    }
    host_.bind(in_, out_);
  }

  void run(Counts& counts) {
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      INFO("op " << i << " kind " << static_cast<int>(program_.ops[i].kind) << ", " << frames_ << " frames");
      Region fast = operands(i), slow = operands(i);
      host_.run_op(i, frames_);
      emulate(i, fast, false, counts);
      compare(i, fast);
      emulate(i, slow, true, counts);
      compare(i, slow);
    }
  }

  /// Groups as one block each; afterwards the arena must be what it is without them.
  void run_groups(Counts& counts) {
    for (std::size_t i = 0, g = 0; i < program_.ops.size(); ++i) {
      const bool begins = g < program_.groups.size() && program_.groups[g].first == i;
      if (!begins) {
        host_.run_op(i, frames_);
        continue;
      }
      const gpu::TailGroup& group = program_.groups[g++];
      Region arena{program_.arena_bytes * frames_};
      for (std::uint32_t k = group.first; k < group.last; ++k) copy_in(k, arena);
      const cuda::GroupPlan plan = cuda::make_group(view_, group, frames_, memory(arena));
      REQUIRE(!plan.steps.empty());
      cuda::emulate_group({plan.steps.data(), static_cast<std::int32_t>(plan.steps.size())}, frames_,
                          plan.shared_bytes);
      ++counts["GroupBody"];
      for (std::uint32_t k = group.first; k < group.last; ++k) {
        host_.run_op(k, frames_);
        const bool last_writer =
            std::none_of(program_.ops.begin() + k + 1, program_.ops.begin() + group.last,
                         [&](const gpu::TailOp& later) { return overlaps(later.y, program_.ops[k].y); });
        if (last_writer) compare_tensor(k, arena);
      }
      i = group.last - 1;
    }
  }

 private:
  [[nodiscard]] const gpu::TailTensor& tensor(std::uint32_t t) const { return program_.tensors[t]; }
  [[nodiscard]] std::size_t place(std::uint32_t t) const { return tensor(t).offset * frames_; }
  [[nodiscard]] std::size_t bytes(std::uint32_t t) const {
    return static_cast<std::size_t>(tensor(t).frame_elements) * 2 * frames_;
  }
  [[nodiscard]] bool overlaps(std::uint32_t a, std::uint32_t b) const {
    return place(a) < place(b) + bytes(b) && place(b) < place(a) + bytes(a);
  }

  void copy_in(std::size_t op, Region& arena) {
    for (const std::uint32_t t :
         {program_.ops[op].x[0], program_.ops[op].x[1], program_.ops[op].x[2], program_.ops[op].y}) {
      if (t != gpu::no_tensor && tensor(t).place == gpu::Place::arena)
        std::memcpy(arena.data() + place(t), host_.tensor(t, frames_).data(), bytes(t));
    }
  }
  /// An arena with nothing but the op's tensors in it.
  Region operands(std::size_t op) {
    Region arena{program_.arena_bytes * frames_};
    copy_in(op, arena);
    arena.freeze();
    return arena;
  }
  cuda::ProgramMemory memory(Region& arena) {
    return {arena.data(), weights_.data(), program_.weights.data(), in_.data(), kernel_out_.data()};
  }

  void emulate(std::size_t op, Region& arena, bool plain, Counts& counts) {
    cuda::OpCall call = cuda::make_call(view_, op, frames_, memory(arena));
    call.plain = plain;
    if (call.y) std::memset(call.y, 0, cuda::clear_bytes(call));
    cuda::with_kernel(call, [&](const auto& body, std::uint32_t blocks, std::uint32_t shared) {
      ++counts[name_of<std::decay_t<decltype(body)>>()];
      cuda::emulate(body, blocks, shared);
    });
  }

  void compare(std::size_t op, Region& arena) {
    const gpu::TailOp& o = program_.ops[op];
    if (o.kind == TailKind::exit) {
      const std::size_t n = program_.outputs[o.io].frame_bytes * frames_;
      REQUIRE(std::memcmp(results_[o.io].data(), expected_[o.io].data(), n) == 0);
      REQUIRE(arena.untouched_but(0, 0));
      return;
    }
    REQUIRE(arena.untouched_but(place(o.y), bytes(o.y)));
    compare_tensor(op, arena);
  }
  void compare_tensor(std::size_t op, Region& arena) {
    const gpu::TailOp& o = program_.ops[op];
    const auto want = host_.tensor(o.y, frames_);
    check_close({reinterpret_cast<const std::uint16_t*>(arena.data() + place(o.y)), want.size()}, want,
                only_moves(o.kind));
  }

  gpu::TailProgram& program_;
  gpu::TailView view_;
  std::uint32_t frames_;
  gpu::HostTail host_;
  Region weights_;
  std::vector<Region> inputs_, expected_, results_;
  std::vector<const void*> in_;
  std::vector<void*> out_, kernel_out_;
};

/// Edges of any representation: what the neighbours of a GPU segment hand over.
std::vector<EdgeTensor> random_edges(const Graph& graph, std::span<const TensorId> ids, Random& random) {
  std::vector<EdgeTensor> edges;
  for (const TensorId id : ids) {
    const GraphTensor& t = graph.tensor(id);
    const DType type = random.pick({DType::f32, DType::f16, DType::i8});
    const bool last = random.chance(60);
    const int fix = type == DType::i8 ? random.draw(-1, 7) : 0;
    edges.push_back({id,
                     {.name = t.name, .shape = last ? storage_shape(t.shape) : t.shape, .dtype = type},
                     {type, fix, last}});
  }
  return edges;
}

gpu::TailProgram random_program(const KernelCase& kind, Random& random, std::string& what) {
  Maker m{random};
  const Graph graph = m.finish(kind.make(m));
  what = text(graph);
  const auto last = static_cast<NodeId>(graph.nodes().size());
  const Boundary edge = boundary(graph, 0, last);
  const auto in = random_edges(graph, edge.inputs, random), out = random_edges(graph, edge.outputs, random);
  return gpu::build_tail(
      graph, 0, last, in, out,
      {.sink_clamps = random.chance(80), .fuse_gap_fc = random.chance(70), .group = false});
}

/// `shapes` random programs; counts how often each body ran.
Counts sweep_kernels(std::size_t shapes) {
  Random random{seed()};
  Counts counts;
  std::size_t done = 0;
  while (done < shapes) {
    for (const KernelCase& kind : kernel_cases()) {
      for (int i = 0; i < kind.share; ++i, ++done) {
        std::string what;
        gpu::TailProgram program = random_program(kind, random, what);
        INFO("shape " << done << " " << kind.name << ": " << what);
        const auto frames = static_cast<std::uint32_t>(random.pick({1, 1, 2, 3, 4, 8, 12}));
        Case{program, program.arena_bytes > 60000 ? 1 : frames, random}.run(counts);
      }
    }
  }
  std::printf("%zu random shapes; runs of each body:\n", done);
  for (const auto& [name, n] : counts) std::printf("  %-28s %zu\n", name.c_str(), n);
  return counts;
}

}  // namespace

TEST_CASE("every kernel body equals the host executor on 5,000 random shapes") {
  const Counts counts = sweep_kernels(5000);
  CHECK(counts.size() == 37);  // all that kernels.cu instantiates but the group's
  for (const auto& [name, n] : counts) {
    INFO(name);
    CHECK(n >= 40);
  }
}

TEST_CASE("every kernel body equals the host executor on many more shapes", "[long]") {
  sweep_kernels(60000);
}

TEST_CASE("a whole small tail in one block equals its ops one by one") {
  Random random{seed()};
  Counts counts;
  for (int i = 0; i < 60; ++i) {
    Maker m{random};
    TensorId x = m.input({1, random.draw(1, 9), random.draw(8, 12), random.draw(8, 12)});
    for (int layer = random.draw(1, 4); layer > 0; --layer) {
      const std::int64_t c = m.shape(x)[1], k = random.draw(1, 12);
      if (random.chance(60)) {
        const TensorId y = m.add({.op = Op::conv,
                                  .inputs = {x, m.constant({k, c, 3, 3}), m.constant({k})},
                                  .window = square_window(3, 1, 1)});
        x = m.add({.op = Op::relu, .inputs = {y}});
      } else {
        x = m.add({.op = random.pick({Op::max_pool, Op::average_pool}),
                   .inputs = {x},
                   .window = square_window(2, random.draw(1, 2), random.draw(0, 1))});
      }
    }
    std::int64_t flat = m.shape(x).elements();
    if (random.chance(50)) {
      flat = m.shape(x)[1];
      x = m.add({.op = Op::global_average_pool, .inputs = {x}});
    }
    x = m.add({.op = Op::reshape, .inputs = {x}}, Shape{1, flat});
    x = m.add({.op = Op::gemm,
               .inputs = {x, m.constant({7, flat}), m.constant({7})},
               .transpose_b = true,
               .alpha = 1,
               .beta = 1});
    const Graph graph = m.finish(x);
    INFO(text(graph));
    Tail tail{graph};
    if (tail.program.groups.empty()) continue;
    Case{tail.program, static_cast<std::uint32_t>(random.draw(1, 3)), random}.run_groups(counts);
  }
  CHECK(counts["GroupBody"] >= 40);
  Tail lenet{Graph::zoo("lenet5")};
  REQUIRE(lenet.program.groups.size() == 1);
  Case{lenet.program, 2, random}.run_groups(counts);
}

TEST_CASE("int8 comes in exactly and goes out half up and saturating: every value at every fix point") {
  for (int fix = -8; fix <= 20; ++fix) {
    const float unit = std::ldexp(1.0f, -fix), scale = std::ldexp(1.0f, fix);
    for (int q = -128; q <= 127; ++q) {
      const std::uint16_t in = cuda::entered<std::int8_t>(static_cast<std::int8_t>(q), unit);
      REQUIRE(in == to_half(std::ldexp(static_cast<float>(q), -fix)));
    }
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float v = from_half(static_cast<std::uint16_t>(bits));
      std::int8_t want = 0;
      if (!std::isnan(v))
        want = static_cast<std::int8_t>(
            std::clamp(std::floor(std::ldexp(static_cast<double>(v), fix) + 0.5), -128.0, 127.0));
      REQUIRE(cuda::to_i8(v, scale) == want);
    }
  }
}

TEST_CASE("division by multiplication is division") {
  Random random{seed()};
  const auto check = [](std::uint32_t n, std::uint32_t d) {
    CAPTURE(n, d);
    REQUIRE(cuda::FastDiv{d}.quotient(n) == n / d);
  };
  for (std::uint32_t d = 1; d < 2000; ++d) {
    for (const std::uint32_t n :
         {0u, d - 1, d, d + 1, 2 * d - 1, 0x7fffffffu, 0x7fffffffu / d * d, 0x7fffffffu / d * d - 1})
      check(n, d);
  }
  for (int i = 0; i < 200000; ++i)
    check(static_cast<std::uint32_t>(random.draw(0, 0x7fffffff)),
          static_cast<std::uint32_t>(random.draw(1, random.chance(50) ? 5000 : 0x7fffffff)));
}
