// The smallest real use: a model through a split pipeline, with nothing but the public headers.
#include <cstdio>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <vector>

namespace sc = splitcnn;

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fputs("usage: consumer MODEL\n", stderr);
    return 2;
  }
  const sc::Graph graph = sc::load_model(argv[1]);
  const sc::QuantizedGraph quant = sc::Quantizer{}.calibrate_synthetic(graph);
  const sc::Partitioner parts{quant};
  int last_legal = 0;
  for (const sc::Cut& cut : parts.cuts()) {
    if (cut.legal) last_legal = cut.k;
  }
  sc::Pipeline pipe{parts.split_at(last_legal / 2), sc::Devices::open("dpu:0,gpu:0")};
  const std::vector<float> zeros(static_cast<std::size_t>(pipe.inputs()[0].shape.elements()));
  const sc::Result result = pipe.infer(zeros);
  std::printf("splitcnn %s: %zu scores, best %d\n", sc::version(), result.floats().size(), result.top(1).at(0).index);
  return 0;
} catch (const sc::Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
