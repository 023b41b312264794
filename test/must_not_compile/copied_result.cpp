// A Result leases its buffers and its token; there is one owner.
#include <utility>

#include "splitcnn/pipeline.hpp"

bool f(splitcnn::Result result) {
#ifdef CORRECT
  const splitcnn::Result mine = std::move(result);
#else
  const splitcnn::Result mine = result;
#endif
  return mine.ok();
}
