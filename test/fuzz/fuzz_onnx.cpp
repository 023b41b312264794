// ONNX from memory: a graph whose derived views hold together, or an Error.
#include "fuzz/fuzz.hpp"
#include "splitcnn/error.hpp"

using namespace splitcnn;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // What an application that loads strangers' files sets; docs/limits.md.
  const LoadOptions limits{.max_file_bytes = 1u << 20, .max_nodes = 1000, .max_tensor_elements = 1 << 22, .max_folded_elements = 1 << 20};
  splitcnn_fuzz::only_errors([&] {
    const Graph graph = Graph::parse(std::as_bytes(std::span{data, size}), limits);
    splitcnn_fuzz::expect(!graph.hash().empty(), "a graph has a hash");
    for (const Granularity g : {Granularity::block, Granularity::op}) {
      const auto pieces = units(graph, g);
      splitcnn_fuzz::expect(cuts(graph, g).size() == pieces.size() + 1, "a cut around every unit");
    }
    if (graph.nodes().size() > 1) {
      splitcnn_fuzz::only_errors([&] { (void)graph.extract(0, static_cast<NodeId>(graph.nodes().size() / 2)); });
    }
  });
  return 0;
}
