#pragma once
/// What cuDNN's heuristics and plans need to know about a GPU: from the GPU, or from its JSON description
/// without one.
///
///     const DeviceProperties here = DeviceProperties::of_device(0);
///     const DeviceProperties a100 = DeviceProperties::from_json(text);    // needs neither GPU nor driver
///
/// cuDNN >= 9.8. The JSON is cuDNN's own (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION). Throws CudnnError,
/// std::invalid_argument.
#include <string>

#include "gpu/cuda/descriptor.hpp"

namespace splitcnn::inline v0::gpu::cuda {

class DeviceProperties {
 public:
  static DeviceProperties of_device(int index);
  static DeviceProperties from_json(const std::string& text);

  [[nodiscard]] const Descriptor& descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] const std::string& json() const noexcept { return json_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] int sm() const noexcept { return sm_; }  ///< 90 for sm_90
  [[nodiscard]] int multiprocessors() const noexcept { return multiprocessors_; }
  [[nodiscard]] std::int64_t shared_memory() const noexcept {
    return shared_memory_;
  }  ///< most per block, opted in
  [[nodiscard]] std::int64_t memory() const noexcept { return memory_; }

 private:
  explicit DeviceProperties(Descriptor descriptor);

  Descriptor descriptor_;
  std::string json_, name_;
  int sm_ = 0, multiprocessors_ = 0;
  std::int64_t shared_memory_ = 0, memory_ = 0;
};

/// The cap of a workspace in bytes when the user names none: 64 MiB, 16 MiB on cards of 8 GB and less.
std::int64_t default_workspace_cap(const DeviceProperties& device);

}  // namespace splitcnn::inline v0::gpu::cuda
