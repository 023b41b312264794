// The bytes live as long as the Result: taking them from a temporary would dangle.
#include "splitcnn/pipeline.hpp"

std::size_t f(splitcnn::Pipeline& pipe, std::span<const float> x) {
#ifdef CORRECT
  const splitcnn::Result result = pipe.infer(x);
  const auto bytes = result.bytes();
#else
  const auto bytes = pipe.infer(x).bytes();
#endif
  return bytes.size();
}
