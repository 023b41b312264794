// The calibration of a sidecar file: fix points for every tensor, or an Error.
#include "fuzz/fuzz.hpp"
#include "splitcnn/quantizer.hpp"

using namespace splitcnn;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Graph& graph = splitcnn_fuzz::small_graph();
  const auto path = splitcnn_fuzz::as_file({data, size});
  splitcnn_fuzz::only_errors([&] {
    const QuantizedGraph quant = QuantizedGraph::load(graph, path);
    splitcnn_fuzz::expect(quant.fix_points().size() == graph.tensors().size(), "a fix point for every tensor");
    for (const WeightQuant& w : quant.weights()) {
      splitcnn_fuzz::expect(&quant.weight(w.node, w.folded_through, w.equalised_in, w.equalised_out) != nullptr, "weights are found");
    }
  });
  return 0;
}
