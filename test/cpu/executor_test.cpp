// Whole graphs: fused equals unfused, pieces equal the whole, run() does not allocate, threads do not change
// results.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#include "core/half.hpp"
#include "cpu/cases.hpp"
#include "cpu/memory_plan.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

thread_local bool counting = false;
thread_local int allocations = 0;

/// oneDNN allocates small argument tables inside its own execute(); that is not ours to count.
bool from_onednn(const void* caller) {
  Dl_info info{};
  return dladdr(caller, &info) != 0 && info.dli_fname && std::strstr(info.dli_fname, "dnnl");
}

void* count_and_allocate(std::size_t n, const void* caller) {
  if (counting) {
    counting = false;  // dladdr may allocate
    if (!from_onednn(caller)) ++allocations;
    counting = true;
  }
  if (void* p = std::malloc(n == 0 ? 1 : n)) return p;
  throw std::bad_alloc{};
}

}  // namespace

void* operator new(std::size_t n) { return count_and_allocate(n, __builtin_return_address(0)); }
void* operator new[](std::size_t n) { return count_and_allocate(n, __builtin_return_address(0)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace {

NodeId last(const Graph& graph) { return static_cast<NodeId>(graph.nodes().size()); }

TensorId random_conv(Maker& m, TensorId x) {
  Random& r = m.random;
  const std::int64_t in = m.shape(x)[1], kernel = r.pick({1, 3});
  const bool depthwise = r.chance(25);
  const std::int64_t out = depthwise ? in : r.draw(1, 12), pad = kernel / 2;
  Node conv{.op = Op::conv, .groups = depthwise ? static_cast<int>(in) : 1};
  conv.window = {.kernel_h = static_cast<int>(kernel),
                 .kernel_w = static_cast<int>(kernel),
                 .pad_top = static_cast<int>(pad),
                 .pad_left = static_cast<int>(pad),
                 .pad_bottom = static_cast<int>(pad),
                 .pad_right = static_cast<int>(pad)};
  conv.inputs = {x, m.constant({out, depthwise ? 1 : in, kernel, kernel}, -0.5f, 0.5f)};
  if (r.chance(50)) conv.inputs.push_back(m.constant({out}));
  return m.add(std::move(conv));
}

/// A graph of `count` nodes that reads tensors anywhere before, with several outputs: everything fusion has
/// to be careful about.
Graph random_graph(Random& random, int count) {
  Maker m{random};
  std::vector<TensorId> images{m.input({1, 3, 6, 5})};
  const auto any = [&] {
    return images[static_cast<std::size_t>(random.chance(60)
                                               ? static_cast<int>(images.size()) - 1
                                               : random.draw(0, static_cast<int>(images.size()) - 1))];
  };
  for (int i = 0; i < count; ++i) {
    const TensorId x = any();
    const std::int64_t c = m.shape(x)[1];
    const Shape per_channel =
        random.pick<Shape>({Shape{c, 1, 1}, Shape{1, c, 1, 1}, Shape{1}, Shape{}, Shape{5}, Shape{6, 1}});
    const Op arithmetic = random.pick({Op::add, Op::sub, Op::mul});
    TensorId y = x;
    switch (random.draw(0, 9)) {
      case 0:
      case 1:
        y = random_conv(m, x);
        break;
      case 2:
        y = m.add(batch_norm(m, x));
        break;
      case 3:
        y = m.add(activation(random, x));
        break;
      case 4:
        y = m.add({.op = Op::identity, .inputs = {x}});
        break;
      case 5:
        y = random.chance(50) ? m.add({.op = arithmetic, .inputs = {x, m.constant(per_channel)}})
                              : m.add({.op = arithmetic, .inputs = {m.constant(per_channel), x}});
        break;
      case 6: {
        TensorId other = any();
        if (m.shape(other) != m.shape(x)) other = x;
        y = m.add({.op = arithmetic, .inputs = {x, other}});
        break;
      }
      case 7:
        y = m.add({.op = Op::concat, .inputs = {x, any()}, .axes = {1}});
        break;
      case 8:
        y = m.add({.op = Op::max_pool,
                   .inputs = {x},
                   .window = {.kernel_h = 3,
                              .kernel_w = 3,
                              .pad_top = 1,
                              .pad_left = 1,
                              .pad_bottom = 1,
                              .pad_right = 1}});
        break;
      default: {
        if (!random.chance(30)) break;
        const TensorId flat = m.add({.op = Op::reshape, .inputs = {x}}, Shape{1, c * 30});
        y = m.add({.op = Op::gemm,
                   .inputs = {flat, m.constant({4, c * 30}, -0.1f, 0.1f)},
                   .transpose_b = true,
                   .alpha = 1,
                   .beta = 1});
        if (random.chance(50)) y = m.add(batch_norm(m, y));
        m.builder.output(m.add(activation(random, y)));
        y = x;
      }
    }
    if (m.shape(y)[1] < 40 && y != x) images.push_back(y);
    if (random.chance(8) && y != x) m.builder.output(y);
  }
  return m.finish(m.add({.op = Op::relu, .inputs = {images.back()}}));
}

}  // namespace

TEST_CASE("fused, unfused and reference agree on random graphs") {
  Random random{seed()};
  for (int i = 0; i < 80; ++i) {
    const Graph graph = random_graph(random, random.draw(3, 25));
    INFO("case " << i << ": " << text(graph));
    Values fused = random_inputs(graph, random), unfused = fused, slow = fused;
    run_all(graph, fused);
    run_all(graph, unfused, {.keep_all = true});
    run_all(graph, slow, {.reference = true});
    REQUIRE(output_error(graph, unfused, slow) <= 1e-4);
    REQUIRE(output_error(graph, fused, slow) <= 1e-4);
  }
}

TEST_CASE("keep_all has a value for every activation") {
  Random random{seed()};
  for (int i = 0; i < 20; ++i) {
    const Graph graph = random_graph(random, 15);
    CpuExecutor kept{graph, 0, last(graph), {.keep_all = true}},
        slow{graph, 0, last(graph), {.reference = true, .keep_all = true}};
    random.fill(kept.input(0));
    std::copy(kept.input(0).begin(), kept.input(0).end(), slow.input(0).begin());
    kept.run();
    slow.run();
    for (TensorId t = 0; t < graph.tensors().size(); ++t) {
      if (graph.tensor(t).constant) continue;
      INFO(graph.tensor(t).name << " of " << text(graph));
      REQUIRE(error(kept.value(t), slow.value(t)) <= 1e-4);
    }
  }
  const Graph graph = random_graph(random, 5);
  CHECK_THROWS_AS((CpuExecutor{graph, 0, last(graph), {}}.value(0)), Error);
  CHECK_THROWS_AS((CpuExecutor{graph, 0, last(graph), {.threads = 0}}), Error);
  CHECK_THROWS_AS((CpuExecutor{graph, 1, 1, {}}), Error);
}

TEST_CASE("pieces equal the whole at every node of random graphs") {
  Random random{seed()};
  for (int i = 0; i < 25; ++i) {
    const Graph graph = random_graph(random, 12);
    const Values in = random_inputs(graph, random);
    Values whole = in;
    run_all(graph, whole);
    for (NodeId k = 1; k < last(graph); ++k) {
      INFO("cut before node " << k << " of " << text(graph));
      Values pieces = in;
      run_range(graph, 0, k, pieces);
      run_range(graph, k, last(graph), pieces);
      REQUIRE(output_error(graph, pieces, whole) <= 1e-4);
      // The same through extract(): segments as graphs of their own, tensors found by name.
      const Graph tail = graph.extract(k, last(graph));
      Values carried;
      for (const TensorId t : tail.inputs()) carried[t] = pieces.at(*graph.find_tensor(tail.tensor(t).name));
      run_all(tail, carried);
      for (const TensorId t : tail.outputs())
        REQUIRE(error(carried.at(t), whole.at(*graph.find_tensor(tail.tensor(t).name))) <= 1e-4);
    }
  }
}

TEST_CASE("zoo networks: fused equals unfused, and the reference on the smallest") {
  Random random{seed()};
  for (const std::string& name : Graph::zoo_names()) {
    if (name.find("vgg") != std::string::npos || name.find("resnet101") != std::string::npos ||
        name.find("resnet152") != std::string::npos || name.find("alexnet") != std::string::npos) {
      continue;  // more of the same, and large
    }
    INFO(name);
    const Graph graph = Graph::zoo(name, {.input_size = name == "lenet5" ? 0 : 64, .classes = 10});
    Values fused = random_inputs(graph, random), unfused = fused;
    run_all(graph, fused);
    run_all(graph, unfused, {.keep_all = true});
    CHECK(output_error(graph, fused, unfused) <= 1e-4);
    if (name != "lenet5") continue;
    Values slow = fused;
    run_all(graph, slow, {.reference = true});
    CHECK(output_error(graph, fused, slow) <= 1e-4);
  }
}

TEST_CASE("zoo networks: pieces equal the whole at every cut") {
  Random random{seed()};
  for (const char* name : {"lenet5", "squeezenet1_1", "mobilenet_v2"}) {
    const auto names = Graph::zoo_names();
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    const Graph graph =
        Graph::zoo(name, {.input_size = std::string{name} == "lenet5" ? 0 : 64, .classes = 10});
    Values whole = random_inputs(graph, random);
    const Values in = whole;
    run_all(graph, whole);
    const auto all = cuts(graph, Granularity::op);
    for (std::size_t c = 0; c < all.size(); c += std::string{name} == "mobilenet_v2" ? 5 : 1) {
      const NodeId k = all[c].node;
      if (k == 0 || k == last(graph)) continue;
      INFO(name << " cut after " << all[c].after);
      Values pieces = in;
      run_range(graph, 0, k, pieces);
      for (const TensorId t : all[c].tensors) REQUIRE(pieces.count(t) == 1);
      run_range(graph, k, last(graph), pieces);
      REQUIRE(output_error(graph, pieces, whole) <= 1e-4);
    }
  }
}

TEST_CASE("run() allocates nothing") {
  Random random{seed()};
  for (int i = 0; i < 20; ++i) {
    const Graph graph =
        i < 18 ? random_graph(random, 25)
               : Graph::zoo(i == 18 ? "lenet5" : "mobilenet_v2", {.input_size = i == 18 ? 0 : 64});
    CpuExecutor run{graph, 0, last(graph), {.f16_storage = i % 2 == 1, .threads = 1 + i % 2}};
    run.run();
    allocations = 0;
    counting = true;
    run.run();
    run.run();
    counting = false;
    INFO(text(graph));
    REQUIRE(allocations == 0);
  }
}

TEST_CASE("running twice and on another thread gives the same bits") {
  Random random{seed()};
  for (int i = 0; i < 6; ++i) {
    const Graph graph = i < 5 ? random_graph(random, 25) : Graph::zoo("mobilenet_v2", {.input_size = 64});
    CpuExecutor run{graph, 0, last(graph), {}};
    random.fill(run.input(0));
    const auto outputs = [&] {
      std::vector<float> all;
      for (std::size_t o = 0; o < run.output_ids().size(); ++o)
        all.insert(all.end(), run.output(o).begin(), run.output(o).end());
      return all;
    };
    run.run();
    const auto first = outputs();
    std::thread{[&] { run.run(); }}.join();
    CHECK(outputs() == first);
  }
}

TEST_CASE("f16 storage rounds weights and every result") {
  Random random{seed()};
  for (int i = 0; i < 40; ++i) {
    const Graph graph = random_graph(random, random.draw(1, 12));
    INFO("case " << i << ": " << text(graph));
    Values fast = random_inputs(graph, random), slow = fast, full = fast;
    run_all(graph, fast, {.f16_storage = true});
    run_all(graph, slow, {.f16_storage = true, .reference = true});
    run_all(graph, full);
    REQUIRE(output_error(graph, fast, slow) <=
            4e-3);  // a few units in the last place: sums round in another order
    REQUIRE(output_error(graph, fast, full) <= 4e-2);
    for (const TensorId t : graph.outputs()) {
      for (const float v : fast.at(t)) REQUIRE(v == from_half(to_half(v)));
    }
  }
}

TEST_CASE("planned buffers that live together do not overlap") {
  Random random{seed()};
  for (int i = 0; i < 200; ++i) {
    std::vector<cpu::Lifetime> buffers(static_cast<std::size_t>(random.draw(1, 30)));
    std::size_t sum = 0;
    for (auto& b : buffers) {
      b.first = static_cast<std::size_t>(random.draw(0, 20));
      b.last = b.first + static_cast<std::size_t>(random.draw(0, 5));
      b.size = static_cast<std::size_t>(random.draw(0, 1000));
      sum += (b.size + 63) / 64 * 64;
    }
    const std::size_t total = cpu::plan_memory(buffers, 64);
    REQUIRE(total <= sum);
    for (const auto& a : buffers) {
      REQUIRE(a.offset % 64 == 0);
      REQUIRE(a.offset + a.size <= total);
      for (const auto& b : buffers) {
        if (&a == &b || a.last < b.first || b.last < a.first || a.size == 0 || b.size == 0) continue;
        REQUIRE((a.offset + a.size <= b.offset || b.offset + b.size <= a.offset));
      }
    }
  }
}
