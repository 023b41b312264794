// The status is part of the Result.
#include "splitcnn/pipeline.hpp"

bool f(splitcnn::Pipeline& pipe, std::span<const float> x) {
#ifdef CORRECT
  const splitcnn::Result result = pipe.infer(x);
  const splitcnn::Status& status = result.status();
#else
  const splitcnn::Status& status = pipe.infer(x).status();
#endif
  return status.ok();
}
