// Where to cut, without a device, a calibration or a model file: usage: 30_predict [--help | NETWORK [WEIGHTS]]
#include <cstdio>
#include <splitcnn/predictor.hpp>
#include <string>

namespace sc = splitcnn;

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "resnet50", file = argc > 2 ? argv[2] : SPLITCNN_WEIGHTS;
  if (name == "--help") return std::printf("usage: 30_predict [NETWORK [WEIGHTS]]   (resnet50, mobilenet_v2, ...)\n") < 0;
  try {
    const sc::Predictor predictor = sc::Predictor::load(file);
    const sc::Partitioner parts{sc::Graph::zoo(name)};  // or Graph::load, or a GraphBuilder of your own
    const sc::Forecast f = predictor.forecast(parts);
    const sc::PredictorInfo& info = predictor.info();
    std::printf("%s on %s, then %s (weights trained on %s times)\n", name.c_str(), info.head_name.c_str(), info.tail_name.c_str(), info.truth.c_str());
    std::printf("cut %d of %zu, after '%s': %.3f ms per frame; %.0f %% sure of %.3f to %.3f\n", f.k, parts.units().size(),
                parts.cuts()[static_cast<std::size_t>(f.k)].after.c_str(), f.interval_ms, 100 * info.confidence, f.low_ms, f.high_ms);
    std::printf("all on %s: %.3f ms; all on %s: %.3f ms\n", info.head.c_str(), f.head_ms.back(), info.tail.c_str(), f.tail_ms.front());
  } catch (const sc::Error& e) {
    std::fprintf(stderr, "30_predict: %s; --help\n", e.what());
    return 1;
  }
}
