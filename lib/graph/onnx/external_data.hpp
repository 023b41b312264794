#pragma once
/// Weights kept in files beside the model.
#include <cstdint>
#include <filesystem>
#include <string>

#include "graph/onnx/proto.hpp"

namespace splitcnn::inline v0 {

/// Reads external tensor data from the folder of one model, and from nowhere else.
class ExternalData {
 public:
  /// `folder` is the model's; an empty path refuses all external data (a model parsed from memory).
  /// `max_bytes` bounds what may be read in all.
  ExternalData(std::filesystem::path folder, std::uint64_t max_bytes)
      : folder_{std::move(folder)}, left_{max_bytes} {}

  /// The `bytes` bytes of the tensor. Throws bad_model (a location outside the folder, an offset or length
  /// outside the file), io or unsupported.
  std::string read(const pb::TensorProto& tensor, std::uint64_t bytes);

 private:
  [[nodiscard]] std::filesystem::path resolve(const std::string& location) const;

  std::filesystem::path folder_;
  std::uint64_t left_;
};

}  // namespace splitcnn::inline v0
