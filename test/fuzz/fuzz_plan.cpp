// Plan files: a plan that covers the graph, or an Error.
#include "fuzz/fuzz.hpp"
#include "splitcnn/plan.hpp"

using namespace splitcnn;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Graph& graph = splitcnn_fuzz::small_graph();
  const auto path = splitcnn_fuzz::as_file({data, size});
  splitcnn_fuzz::only_errors([&] {
    const Plan plan = Plan::load(path, graph);
    for (const Route& route : plan.routes()) {
      NodeId next = 0;
      for (const Segment& s : route.segments) {
        splitcnn_fuzz::expect(s.first == next && s.last > s.first, "segments follow each other");
        next = s.last;
      }
      splitcnn_fuzz::expect(next == graph.nodes().size(), "a route covers the graph");
    }
  });
  return 0;
}
