#pragma once
/// The generated ONNX messages under a short name. Only files of this folder include this.
#include <splitcnn_onnx.pb.h>

namespace splitcnn::inline v0 {
namespace pb = ::splitcnn_onnx;
}  // namespace splitcnn::inline v0
