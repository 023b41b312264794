// Prints, asserts nothing about time.
#include <cstdio>
#include <ctime>

#include "cpu/cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

void report(const char* name, int runs) {
  // Processor time of one thread: what else runs on the machine is not the executor's doing.
  const auto now = [] { return 1000.0 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  const Graph graph = Graph::zoo(name);
  const double start = now();
  CpuExecutor run{graph, 0, static_cast<NodeId>(graph.nodes().size()), {}};
  const double creation = now() - start;
  Random random{1};
  random.fill(run.input(0));
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const double begin = now();
    run.run();
    best = std::min(best, now() - begin);
  }
  std::printf("%-14s f32, 1 thread: %.1f ms (processor time) per frame (minimum of %d), created in %.0f ms\n",
              name, best, runs, creation);
  CHECK(std::isfinite(run.output(0)[0]));
}

}  // namespace

TEST_CASE("speed of the usual networks") {
  report("mobilenet_v2", 20);
  report("resnet50", 8);
}

TEST_CASE("speed of the large networks", "[long]") {
  for (const std::string& name : Graph::zoo_names()) report(name.c_str(), 5);
}
