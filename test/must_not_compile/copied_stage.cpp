// Stages own devices and buffers; pipelines hold them by unique_ptr.
#include "splitcnn/stage.hpp"

std::size_t f(const splitcnn::HostStage& stage) {
#ifdef CORRECT
  const splitcnn::HostStage& mine = stage;
#else
  const splitcnn::HostStage mine = stage;
#endif
  return mine.inputs().size();
}
