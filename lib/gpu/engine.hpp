#pragma once
/// One loaded program on one device: device, segment, ring. What is thrown away and made anew after a sticky
/// error. Internal to gpu/.
#include <memory>

#include "gpu/backend.hpp"
#include "gpu/transfer/ring.hpp"

namespace splitcnn::inline v0::gpu {

class Engine {
 public:
  /// Throws Error: no_device, unsupported, device_failed, with the plug-in's reason.
  Engine(const GpuApi& api, int index, const GpuDeviceOptions& options, TailProgram& program,
         std::uint32_t max_batch);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] Ring& ring() noexcept { return *ring_; }

 private:
  const GpuApi& api_;
  GpuDevice* device_ = nullptr;
  GpuSegment* segment_ = nullptr;
  std::unique_ptr<Ring> ring_;
};

}  // namespace splitcnn::inline v0::gpu
