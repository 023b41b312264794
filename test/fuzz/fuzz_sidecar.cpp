// Sidecar files: input transform and labels, or an Error.
#include "fuzz/fuzz.hpp"
#include "splitcnn/open.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = splitcnn_fuzz::as_file({data, size});
  splitcnn_fuzz::only_errors([&] { (void)splitcnn::Sidecar::load(path); });
  return 0;
}
