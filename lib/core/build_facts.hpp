#pragma once
/// What CMake decided when this build was configured, for build_info().
namespace splitcnn::inline v0 {

extern const char* const gpu_build;  ///< "built with CUDA 13.0.88 and cuDNN 9.19.0", "not built: <why>"

}  // namespace splitcnn::inline v0
