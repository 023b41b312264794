#pragma once
/// A graph as ONNX messages, and their way into a file.
#include <filesystem>

#include "graph/onnx/proto.hpp"
#include "splitcnn/graph.hpp"

namespace splitcnn::inline v0 {

pb::ModelProto to_onnx(const Graph& graph);
/// Written beside the file and renamed, so that a full disk leaves an older file as it was. Throws io.
void write_onnx(const pb::ModelProto& model, const std::filesystem::path& path);

}  // namespace splitcnn::inline v0
