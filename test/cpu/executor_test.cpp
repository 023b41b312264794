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
#include "cpu/random_graph.hpp"

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
