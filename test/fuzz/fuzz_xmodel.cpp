// xmodel files: what is read without XIR, and the checks that stand between a file and VART.
#include "dpu/vart/xmodel_checks.hpp"
#include "fuzz/fuzz.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  splitcnn_fuzz::only_errors([&] {
    const XmodelFile file = parse_xmodel(std::as_bytes(std::span{data, size}), "fuzz");
    for (const XmodelSubgraph& s : file.subgraphs) {
      for (const std::string& name : s.ops)
        splitcnn_fuzz::expect(file.op(name) != nullptr, "the operations of a subgraph are there");
      (void)file.inputs(s), (void)file.outputs(s), (void)file.has_weights(s);
    }
    for (const char* mode : {"ref", "run"})
      splitcnn_fuzz::only_errors([&] { (void)check_subgraph(file, {"fuzz", mode, 0}); });
  });
  return 0;
}
