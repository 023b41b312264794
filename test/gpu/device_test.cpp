// On a GPU: every op against the oracle, whole networks, graphs against single steps, long runs, threads.
// Skips where no GPU answers.
#include <dlfcn.h>

#include <cstring>
#include <thread>

#include "core/half.hpp"
#include "gpu/backend.hpp"
#include "gpu/kernel_cases.hpp"
#include "gpu/tail_cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using gpu::GpuCode;

namespace {

const gpu::GpuApi* load_api(std::string& why) {
  void* library = dlopen(SPLITCNN_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (!library) return why = dlerror(), nullptr;
  const auto function = reinterpret_cast<gpu::GpuApiFunction>(dlsym(library, gpu::gpu_symbol));
  const gpu::GpuApi* api = function ? function(gpu::gpu_abi) : nullptr;
  std::int32_t count = 0;
  gpu::GpuError error;
  if (!api) return why = "the plug-in has no table", nullptr;
  if (api->device_count(&count, &error) != GpuCode::ok) return why = error.text, nullptr;
  return api;
}

/// Fails the test with the plug-in's words.
void ok(GpuCode code, const gpu::GpuError& error) {
  INFO("code " << static_cast<int>(code) << ", native " << error.native << ": " << error.text);
  REQUIRE(code == GpuCode::ok);
}

struct Device {
  const gpu::GpuApi* api;
  gpu::GpuDevice* device = nullptr;

  explicit Device(const gpu::GpuApi* a, const gpu::GpuDeviceOptions& options = {.cache_dir = ""}) : api{a} {
    gpu::GpuError error;
    const GpuCode code = api->open(0, &options, &device, &error);
    ok(code, error);
  }
  ~Device() { api->close(device); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
};

/// A program on the device with one context, one slot, pinned io buffers, and the oracle beside it.
struct Loaded {
  Device& on;
  gpu::TailProgram& program;
  std::uint32_t frames;
  gpu::HostTail host;
  gpu::GpuSegment* segment = nullptr;
  gpu::GpuContext* context = nullptr;
  gpu::GpuStream* stream = nullptr;
  gpu::GpuEvent* event = nullptr;
  std::vector<gpu::GpuBuffer> in, out;
  std::vector<std::vector<std::byte>> expected;

  Loaded(Device& d, gpu::TailProgram& p, std::uint32_t n, Random& random)
      : on{d}, program{p}, frames{n}, host{p.view(), n} {
    gpu::GpuError e;
    const gpu::TailView view = program.view();
    GpuCode c = on.api->load(on.device, &view, &segment, &e);
    ok(c, e);
    c = on.api->context_create(segment, 1, frames, &context, &e);
    ok(c, e);
    c = on.api->stream_create(on.device, &stream, &e);
    ok(c, e);
    c = on.api->event_create(on.device, &event, &e);
    ok(c, e);
    buffers(random);
  }
  ~Loaded() {
    on.api->event_destroy(event);
    on.api->stream_destroy(stream);
    on.api->context_destroy(context);
    on.api->unload(segment);
    for (const auto* list : {&in, &out}) {
      for (const gpu::GpuBuffer& b : *list) on.api->host_free(on.device, &b);
    }
  }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  void buffers(Random& random) {
    std::vector<void*> device_in, device_out;
    std::vector<const void*> host_in;
    std::vector<void*> host_out;
    const auto make = [&](std::vector<gpu::GpuBuffer>& list, const gpu::TailIo& io) {
      gpu::GpuError e;
      gpu::GpuBuffer b;
      const GpuCode c = on.api->host_alloc(on.device, io.frame_bytes * frames, &b, &e);
      ok(c, e);
      list.push_back(b);
    };
    for (const gpu::TailIo& io : program.inputs) {
      make(in, io);
      std::vector<float> values(io.frame_bytes * frames / sizeof(float));
      random.fill(values, -2, 2);
      std::memcpy(in.back().host, values.data(), values.size() * sizeof(float));
      device_in.push_back(in.back().device);
      host_in.push_back(in.back().host);
    }
    for (const gpu::TailIo& io : program.outputs) {
      make(out, io);
      expected.emplace_back(io.frame_bytes * frames);
      device_out.push_back(out.back().device);
      host_out.push_back(expected.back().data());
    }
    host.bind(host_in, host_out);
    gpu::GpuError e;
    const GpuCode c = on.api->context_bind(context, 0, device_in.data(), device_out.data(), &e);
    ok(c, e);
  }

  void run_graph() {
    gpu::GpuError e;
    GpuCode c = on.api->context_run(context, 0, frames, stream, &e);
    ok(c, e);
    c = on.api->event_record(event, stream, &e);
    ok(c, e);
    c = on.api->event_wait(event, -1, &e);
    ok(c, e);
  }
  [[nodiscard]] std::vector<std::byte> result(std::size_t i) const {
    const auto* p = static_cast<const std::byte*>(out[i].host);
    return {p, p + out[i].bytes};
  }
  [[nodiscard]] std::span<const float> floats(const std::vector<std::byte>& bytes) const {
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
  }
};

/// FP16 results of one op against the oracle's.
void check_tensor(std::span<const std::uint16_t> got, std::span<const std::uint16_t> want) {
  float largest = 0;
  for (const std::uint16_t w : want)
    largest = std::isfinite(from_half(w)) ? std::max(largest, std::fabs(from_half(w))) : largest;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const float g = from_half(got[i]), w = from_half(want[i]);
    if (g == w || (std::isnan(g) && std::isnan(w))) continue;
    CAPTURE(i, g, w, largest);
    REQUIRE(std::fabs(g - w) <= 0x1p-9f * std::fabs(w) + 0x1p-12f * largest + 0x1p-20f);
  }
}

/// Every op from the oracle's operands, on a poisoned result.
void check_ops(Loaded& l, std::int32_t tier) {
  for (std::size_t i = 0; i < l.program.ops.size(); ++i) {
    const gpu::TailOp& op = l.program.ops[i];
    INFO("op " << i << " kind " << static_cast<int>(op.kind) << ", " << l.frames << " frames, tier " << tier);
    gpu::GpuError e;
    const auto put = [&](std::uint32_t t, bool poison) {
      if (t == gpu::no_tensor || l.program.tensors[t].place != gpu::Place::arena) return;
      const auto values = l.host.tensor(t, l.frames);
      std::vector<std::uint16_t> bits(values.begin(), values.end());
      if (poison) std::fill(bits.begin(), bits.end(), std::uint16_t{0xffff});
      const GpuCode c = l.on.api->debug_write(l.context, t, l.frames, bits.data(), &e);
      ok(c, e);
    };
    // Ops that write in parts (concat) need what the parts before have written.
    put(op.y, op.kind != gpu::TailKind::move && op.kind != gpu::TailKind::fill);
    for (const std::uint32_t x : op.x) put(x, false);
    const GpuCode c = l.on.api->debug_run(l.context, i, i + 1, l.frames, tier, &e);
    ok(c, e);
    l.host.run_op(i, l.frames);
    if (op.y == gpu::no_tensor) continue;
    const auto want = l.host.tensor(op.y, l.frames);
    std::vector<std::uint16_t> got(want.size());
    const GpuCode read = l.on.api->debug_read(l.context, op.y, l.frames, got.data(), &e);
    ok(read, e);
    check_tensor(got, want);
  }
}

}  // namespace

#define WITH_GPU(api)                           \
  std::string why;                              \
  const gpu::GpuApi* const api = load_api(why); \
  if (!api) SPLITCNN_SKIP("gpu", "no GPU: " + why)

TEST_CASE("on the GPU every op equals the oracle, by our kernels and as chosen") {
  WITH_GPU(api);
  Random random{seed()};
  Device device{api, {.tune = gpu::GpuTune::off, .cache_dir = ""}};
  for (int i = 0; i < 40; ++i) {
    for (const KernelCase& kind : kernel_cases()) {
      Maker m{random};
      const Graph graph = m.finish(kind.make(m));
      INFO(kind.name << ": " << text(graph));
      Tail tail{graph};
      Loaded l{device, tail.program, random.pick({1u, 2u, 4u, 16u}), random};
      check_ops(l, 5);
      check_ops(l, -1);
    }
  }
}

TEST_CASE("on the GPU all zoo networks equal the oracle at every batch size, and a graph equals its ops") {
  WITH_GPU(api);
  Random random{seed()};
  Device device{api};
  for (const std::string& name : Graph::zoo_names()) {
    const bool small = name == "lenet5";
    Tail tail{Graph::zoo(name, {.input_size = small ? 0 : 64, .classes = small ? 0 : 100})};
    for (const std::uint32_t frames : gpu::tail_batches) {
      INFO(name << " x" << frames);
      Loaded l{device, tail.program, frames, random};
      l.run_graph();
      const auto first = l.result(0);
      for (std::size_t i = 0; i < tail.program.ops.size(); ++i) l.host.run_op(i, frames);
      CHECK(relative_l2(l.floats(first), l.floats(l.expected[0])) <= 2e-3);
      gpu::GpuError e;
      std::memset(l.out[0].host, 0, l.out[0].bytes);
      const GpuCode c = l.on.api->debug_run(l.context, 0, tail.program.ops.size(), frames, -1, &e);
      ok(c, e);
      // A group of small layers is one kernel in the graph and several here: sums may round differently.
      if (tail.program.groups.empty()) CHECK(l.result(0) == first);
      CHECK(relative_l2(l.floats(l.result(0)), l.floats(first)) <= 1e-3);
    }
  }
}

TEST_CASE("on the GPU ten thousand replays give the same bytes", "[long]") {
  WITH_GPU(api);
  Random random{seed()};
  Device device{api};
  Tail tail{Graph::zoo("resnet18", {.input_size = 64})};
  Loaded l{device, tail.program, 1, random};
  l.run_graph();
  const auto first = l.result(0);
  for (int i = 0; i < 10000; ++i) {
    l.run_graph();
    if (i % 100 == 0) REQUIRE(l.result(0) == first);
  }
  CHECK(l.result(0) == first);
}

TEST_CASE("on the GPU two contexts work in two threads") {
  WITH_GPU(api);
  Device device{api};
  Tail tail{Graph::zoo("mobilenet_v2", {.input_size = 64})};
  gpu::TailProgram copy = tail.program;
  Random random{seed()};
  Loaded a{device, tail.program, 1, random}, b{device, copy, 2, random};
  a.run_graph();
  b.run_graph();
  const auto want_a = a.result(0), want_b = b.result(0);
  std::thread other{[&] {
    for (int i = 0; i < 200; ++i) b.run_graph();
  }};
  for (int i = 0; i < 200; ++i) a.run_graph();
  other.join();
  CHECK(a.result(0) == want_a);
  CHECK(b.result(0) == want_b);
}
