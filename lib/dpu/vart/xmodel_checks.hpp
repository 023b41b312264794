#pragma once
/// What would make VART end the process, looked for in the file first.
#include "dpu/protocol/messages.hpp"
#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_file.hpp"

namespace splitcnn::inline v0::dpu {

/// The DPU subgraph that `request` names. Throws mismatch (no such subgraph), unsupported (no runner
/// attribute, no such mode, constants taken out and mode "ref", tensors that are not int8, names that VART
/// confuses), mismatch (fingerprint: $SPLITCNN_DPU_FINGERPRINT says which DPU this machine has).
const XmodelSubgraph& check_subgraph(const XmodelFile& file, const ModelRequest& request);

}  // namespace splitcnn::inline v0::dpu
