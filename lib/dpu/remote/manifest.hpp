#pragma once
/// What an exported xmodel was made from, beside it as <xmodel>.json, with a golden frame in <xmodel>.golden
/// (int8, channels last: the inputs, then the boundary tensors they must give). Whoever loads the model with
/// another graph, cut or calibration is told so by name, before bytes are compared.
#include <filesystem>

#include "dpu/remote/golden.hpp"

namespace splitcnn::inline v0 {

std::filesystem::path manifest_path(const std::filesystem::path& xmodel);

/// Throws io.
void write_manifest(const QuantizedGraph& quant, NodeId first, NodeId last,
                    const std::filesystem::path& xmodel);
/// The one of several files that is for the segment, by their manifests. Throws mismatch naming what they are
/// for, io, bad_file.
std::filesystem::path choose_xmodel(const Segment& segment, std::span<const std::filesystem::path> xmodels);
/// Does nothing when there is no manifest beside the file (or the file is on another machine). Throws
/// bad_file, mismatch.
void check_manifest(const Plan& plan, const Segment& segment, const std::filesystem::path& xmodel);

}  // namespace splitcnn::inline v0
