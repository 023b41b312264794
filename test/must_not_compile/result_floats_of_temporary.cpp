// As bytes(): the values live as long as the Result.
#include "splitcnn/pipeline.hpp"

float f(splitcnn::Pipeline& pipe, std::span<const float> x) {
#ifdef CORRECT
  const splitcnn::Result result = pipe.infer(x);
  const auto scores = result.floats();
#else
  const auto scores = pipe.infer(x).floats();
#endif
  return scores[0];
}
