#pragma once
/// What a model file holds, as one JSON object.
#include <string>

namespace splitcnn::inline v0::dpu {

/// {"file", "subgraphs": [{"name", "device", "dpu_name", "fingerprint", "runners", "workload", "weights",
/// "batch", "inputs": [{"name", "shape", "dtype", "fix_point"}], "outputs"}]}. Throws as inspect_model()
/// does.
std::string inspect_json(const std::string& file);

}  // namespace splitcnn::inline v0::dpu
