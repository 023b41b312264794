// The ring on a fake device: order, back-pressure, zero copy, timeouts, faults. Also under ThreadSanitizer.
#include "gpu/transfer/ring.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "cpu/cases.hpp"
#include "gpu/fake_device.hpp"
#include "gpu/tail/build.hpp"
#include "gpu/tail/host_executor.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

/// y = x + bias per channel, and a second op behind it: enough to see order.
struct Fixture {
  std::int64_t side;
  Graph graph;
  gpu::TailProgram program;
  const gpu::GpuApi& api = *fake_api();
  gpu::GpuDevice* device = nullptr;
  gpu::GpuSegment* segment = nullptr;
  std::vector<TensorSpec> specs;
  std::unique_ptr<gpu::HostTail> oracle;

  static Graph make(std::int64_t side) {
    GraphBuilder b{"ring"};
    TensorId x = b.input("x", {1, 4, side, side});
    x = b.add({.op = Op::sigmoid, .inputs = {x}});
    x = b.add({.op = Op::mul, .inputs = {x, b.constant("c", {1, 4, 1, 1}, {1, 2, 3, 4})}});
    b.output(x);
    return std::move(b).build();
  }

  explicit Fixture(std::int64_t s) : side{s}, graph{make(s)} {
    fake_control().reset();
    const TensorId in = graph.inputs()[0], out = graph.outputs()[0];
    const auto edge = [&](TensorId t) {
      return std::vector<EdgeTensor>{
          {t, {.name = graph.tensor(t).name, .shape = storage_shape(graph.tensor(t).shape)}, {}}};
    };
    program = gpu::build_tail(graph, 0, 2, edge(in), edge(out));
    oracle = std::make_unique<gpu::HostTail>(program.view(), 1);
    gpu::GpuDeviceOptions options;
    REQUIRE(api.open(0, &options, &device, nullptr) == gpu::GpuCode::ok);
    const gpu::TailView view = program.view();
    REQUIRE(api.load(device, &view, &segment, nullptr) == gpu::GpuCode::ok);
    specs = {edge(in)[0].spec, edge(out)[0].spec};
  }
  ~Fixture() {
    api.unload(segment);
    api.close(device);
    CHECK(fake_control().alive() == 0);
  }
  std::size_t n() const { return static_cast<std::size_t>(specs[0].shape.elements()); }

  std::vector<float> frame(int number) const {
    std::vector<float> v(n());
    for (std::size_t i = 0; i < v.size(); ++i)
      v[i] = static_cast<float>((number * 7 + static_cast<int>(i)) % 13) - 6;
    return v;
  }
  std::vector<float> expected(int number) {
    auto in = frame(number);
    std::vector<float> out(n());
    const void* from = in.data();
    void* to = out.data();
    oracle->run({&from, 1}, {&to, 1}, 1);
    return out;
  }
};

/// Buffers of one batch.
struct Batched {
  std::vector<std::vector<float>> in, out;
  std::vector<TensorView> views_in, views_out;

  Batched(Fixture& f, int first, std::size_t frames) {
    for (std::size_t i = 0; i < frames; ++i) {
      in.push_back(f.frame(first + static_cast<int>(i)));
      out.emplace_back(f.n());
    }
    for (std::size_t i = 0; i < frames; ++i) {
      views_in.push_back({reinterpret_cast<std::byte*>(in[i].data()), &f.specs[0]});
      views_out.push_back({reinterpret_cast<std::byte*>(out[i].data()), &f.specs[1]});
    }
  }
};

}  // namespace

TEST_CASE("every batch gets its own results, in order, with all slots in flight") {
  for (const std::int64_t side : {4, 68}) {  // zero copy, and copied
    Fixture f{side};
    gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 4}};
    REQUIRE(ring.prepare(nullptr) == gpu::GpuCode::ok);
    std::vector<std::unique_ptr<Batched>> flying;
    int submitted = 0, waited = 0;
    while (waited < 40) {
      while (submitted < 40 && ring.in_flight() < 4) {
        flying.push_back(
            std::make_unique<Batched>(f, submitted * 4, 1 + static_cast<std::size_t>(submitted % 4)));
        Batched& b = *flying.back();
        REQUIRE(ring.submit(b.in.size(), b.views_in, b.views_out, nullptr) == gpu::GpuCode::ok);
        for (auto& v : b.in) std::fill(v.begin(), v.end(), -99.0f);  // the producer goes on at once
        ++submitted;
      }
      REQUIRE(ring.wait(-1, nullptr) == gpu::GpuCode::ok);
      Batched& b = *flying[static_cast<std::size_t>(waited)];
      for (std::size_t i = 0; i < b.out.size(); ++i)
        REQUIRE(b.out[i] == f.expected(waited * 4 + static_cast<int>(i)));
      ++waited;
    }
    CHECK(fake_control().copies == (side == 4 ? 40 : 80));
  }
}

TEST_CASE("back-pressure: the fifth batch has to wait; a timeout leaves the batch in flight", "[fault]") {
  Fixture f{68};
  gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 1}};
  fake_control().hold = 1;
  std::vector<std::unique_ptr<Batched>> flying;
  for (int i = 0; i < 5; ++i) flying.push_back(std::make_unique<Batched>(f, i, 1));
  for (std::size_t i = 0; i < 4; ++i)
    REQUIRE(ring.submit(1, flying[i]->views_in, flying[i]->views_out, nullptr) == gpu::GpuCode::ok);
  CHECK(ring.submit(1, flying[4]->views_in, flying[4]->views_out, nullptr) == gpu::GpuCode::not_ready);
  CHECK(ring.wait(1000, nullptr) == gpu::GpuCode::timeout);
  CHECK(ring.in_flight() == 4);
  fake_control().release();
  for (std::size_t i = 0; i < 4; ++i) {
    REQUIRE(ring.wait(-1, nullptr) == gpu::GpuCode::ok);
    CHECK(flying[i]->out[0] == f.expected(static_cast<int>(i)));
    if (i == 0)
      REQUIRE(ring.submit(1, flying[4]->views_in, flying[4]->views_out, nullptr) == gpu::GpuCode::ok);
  }
  REQUIRE(ring.wait(-1, nullptr) == gpu::GpuCode::ok);
  CHECK(flying[4]->out[0] == f.expected(4));
  CHECK(ring.wait(-1, nullptr) == gpu::GpuCode::bad_argument);
}

TEST_CASE("what cannot be is refused: too many frames, views that do not fit") {
  Fixture f{4};
  gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 2}};
  Batched three{f, 0, 3}, one{f, 0, 1};
  CHECK(ring.submit(3, three.views_in, three.views_out, nullptr) == gpu::GpuCode::bad_argument);
  CHECK(ring.submit(2, one.views_in, one.views_out, nullptr) == gpu::GpuCode::bad_argument);
  CHECK(ring.submit(0, {}, {}, nullptr) == gpu::GpuCode::bad_argument);
  CHECK(ring.in_flight() == 0);
}

namespace {

/// One frame that lies in `memory` through the ring.
std::vector<float> through(gpu::Ring& ring, Fixture& f, float* memory) {
  std::vector<float> result(f.n());
  const std::vector<TensorView> in{{reinterpret_cast<std::byte*>(memory), &f.specs[0]}};
  const std::vector<TensorView> out{{reinterpret_cast<std::byte*>(result.data()), &f.specs[1]}};
  REQUIRE(ring.submit(1, in, out, nullptr) == gpu::GpuCode::ok);
  REQUIRE(ring.wait(-1, nullptr) == gpu::GpuCode::ok);
  return result;
}
std::int64_t fake_clock() noexcept { return fake_control().clock_ns; }

}  // namespace

TEST_CASE("adopted memory is read where it lies, other memory is staged") {
  Fixture f{68};
  std::vector<float> memory = f.frame(3), other = f.frame(4);
  gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 2}};
  REQUIRE(ring.adopt(memory.data(), memory.size() * sizeof(float)));
  CHECK(through(ring, f, memory.data()) == f.expected(3));
  CHECK(fake_control().direct_copies == 1);
  CHECK(through(ring, f, other.data()) == f.expected(4));
  CHECK(fake_control().direct_copies == 1);
  ring.use_direct(false);
  CHECK(through(ring, f, memory.data()) == f.expected(3));
  CHECK(fake_control().direct_copies == 1);
}

TEST_CASE("both paths are timed and the faster one is kept") {
  for (const bool fast : {true, false}) {
    Fixture f{68};
    std::vector<float> memory = f.frame(5);
    fake_control().direct_ns = fast ? 100 : 300;
    fake_control().staged_ns = 200;
    gpu::Ring ring{f.api,
                   f.device,
                   f.segment,
                   f.program.inputs,
                   f.program.outputs,
                   {.max_batch = 2, .now_ns = fake_clock}};
    REQUIRE(ring.adopt(memory.data(), memory.size() * sizeof(float), gpu::GpuHostMemory::io));
    REQUIRE(ring.prepare(nullptr) == gpu::GpuCode::ok);
    CHECK(fake_control().prepares == 4 * 2);  // batches of 1 and 2 in four slots
    REQUIRE(ring.choose_path(nullptr) == gpu::GpuCode::ok);
    CHECK(ring.direct() == fast);
    CHECK(ring.path_times().direct_ns == (fast ? 100 : 300));
    CHECK(ring.path_times().staged_ns == 200);
    fake_control().direct_copies = 0;
    CHECK(through(ring, f, memory.data()) == f.expected(5));
    CHECK(fake_control().direct_copies == (fast ? 1 : 0));
  }
}

TEST_CASE("a dma-buf is imported and copied on the device") {
  Fixture f{68};
  const std::size_t bytes = f.n() * sizeof(float);
  const int fd = memfd_create("frames", 0);
  REQUIRE(fd >= 0);
  REQUIRE(ftruncate(fd, static_cast<off_t>(2 * bytes)) == 0);
  auto* mapped = static_cast<float*>(mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  REQUIRE(mapped != MAP_FAILED);
  {
    gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 2}};
    CHECK_FALSE(ring.adopt_dmabuf(-1, mapped, 2 * bytes));
    REQUIRE(ring.adopt_dmabuf(fd, mapped, 2 * bytes));
    const auto frame = f.frame(6);
    std::copy(frame.begin(), frame.end(), mapped + f.n());  // the second frame's place
    CHECK(through(ring, f, mapped + f.n()) == f.expected(6));
    CHECK(fake_control().direct_copies == 1);
    CHECK(through(ring, f, std::vector<float>(frame).data()) == f.expected(6));  // elsewhere: staged
    CHECK(fake_control().direct_copies == 1);
  }
  munmap(mapped, 2 * bytes);
  close(fd);
}

TEST_CASE("memory that runs out while a ring is built leaves nothing behind", "[fault]") {
  for (int good = 0; good < 8; ++good) {  // two allocations of pinned memory per slot
    Fixture f{68};
    const int before = fake_control().alive();
    fake_control().good_host_allocs = good;
    fake_control().fail_host_alloc = 1;
    const auto build = [&] {
      gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 1}};
    };
    try {
      build();
      FAIL("no error");
    } catch (const Error& e) {
      CHECK(e.code() == Errc::device_failed);
      CHECK(std::string{e.what()}.find("pinned memory") != std::string::npos);
    }
    CHECK(fake_control().alive() == before);
    build();
    CHECK(fake_control().alive() == before);
  }
}

TEST_CASE("a poisoned device fails the batch and every one behind it, and can be closed", "[fault]") {
  Fixture f{68};
  gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 1}};
  fake_control().poison_in_runs = 1;
  std::vector<std::unique_ptr<Batched>> flying;
  for (int i = 0; i < 3; ++i) flying.push_back(std::make_unique<Batched>(f, i, 1));
  gpu::GpuError error{};
  int failed = 0;
  for (auto& b : flying)
    failed += ring.submit(1, b->views_in, b->views_out, &error) == gpu::GpuCode::poisoned;
  while (ring.in_flight() > 0) failed += ring.wait(-1, &error) == gpu::GpuCode::poisoned;
  CHECK(failed >= 2);  // the one that poisoned and the one behind it, wherever they noticed
  CHECK(error.native == 700);
}

TEST_CASE("a ring may be destroyed with batches in flight, and with a device that has failed", "[fault]") {
  for (const int poison : {-1, 0, 2}) {
    for (int held = 0; held < 2; ++held) {
      Fixture f{68};
      Batched b{f, 0, 1};
      const std::vector<float> untouched = b.out[0];
      fake_control().poison_in_runs = poison;
      {
        gpu::Ring ring{f.api, f.device, f.segment, f.program.inputs, f.program.outputs, {.max_batch = 1}};
        fake_control().hold = held;
        for (int i = 0; i < 4; ++i) (void)ring.submit(1, b.views_in, b.views_out, nullptr);
        fake_control().release();
      }
      CHECK(b.out[0] == untouched);  // nobody waited, nothing is written
    }
  }
}

TEST_CASE("whatever the order of submitting and waiting, every batch comes back once and right") {
  Random random{seed()};
  Fixture f{20};
  gpu::Ring ring{f.api,
                 f.device,
                 f.segment,
                 f.program.inputs,
                 f.program.outputs,
                 {.slots = 3, .max_batch = 3, .zero_copy_bytes = 1 << 14}};
  std::vector<std::unique_ptr<Batched>> flying;
  std::size_t waited = 0;
  for (int step = 0; step < 400; ++step) {
    if (random.chance(50)) {
      auto b = std::make_unique<Batched>(f, step, static_cast<std::size_t>(random.draw(1, 3)));
      const bool full = ring.in_flight() == 3;
      const gpu::GpuCode code = ring.submit(b->in.size(), b->views_in, b->views_out, nullptr);
      REQUIRE(code == (full ? gpu::GpuCode::not_ready : gpu::GpuCode::ok));
      if (!full) flying.push_back(std::move(b));
    } else if (ring.in_flight() > 0) {
      while (ring.wait(random.chance(30) ? 0 : -1, nullptr) == gpu::GpuCode::timeout) {
      }
      Batched& b = *flying[waited++];
      for (std::size_t i = 0; i < b.out.size(); ++i) {
        std::vector<float> want(b.in[i].size());
        const void* from = b.in[i].data();
        void* to = want.data();
        f.oracle->run({&from, 1}, {&to, 1}, 1);
        REQUIRE(b.out[i] == want);
      }
    }
  }
}
