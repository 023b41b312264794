#pragma once
/// The functions of the table that concern devices, memory, streams and events; see backend.hpp for what each
/// promises.
#include "gpu/cuda/objects.hpp"

namespace splitcnn::inline v0::gpu::cuda::api {

GpuCode device_count(std::int32_t* count, GpuError* error);
GpuCode device_info(std::int32_t index, GpuDeviceInfo* info, GpuError* error);
GpuCode open(std::int32_t index, const GpuDeviceOptions* options, GpuDevice** device, GpuError* error);
void close(GpuDevice* device);

GpuCode host_alloc(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error);
void host_free(GpuDevice* device, const GpuBuffer* buffer);
GpuCode device_alloc(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error);
void device_free(GpuDevice* device, const GpuBuffer* buffer);
GpuCode host_register(GpuDevice* device, void* host, std::uint64_t bytes, GpuHostMemory kind,
                      GpuBuffer* buffer, GpuError* error);
void host_unregister(GpuDevice* device, const GpuBuffer* buffer);
GpuCode dmabuf_import(GpuDevice* device, std::int32_t fd, std::uint64_t bytes, GpuBuffer* buffer,
                      GpuError* error);
void dmabuf_release(GpuDevice* device, const GpuBuffer* buffer);

GpuCode stream_create(GpuDevice* device, GpuStream** stream, GpuError* error);
void stream_destroy(GpuStream* stream);
GpuCode event_create(GpuDevice* device, GpuEvent** event, GpuError* error);
void event_destroy(GpuEvent* event);
GpuCode event_record(GpuEvent* event, GpuStream* stream, GpuError* error);
GpuCode stream_wait(GpuStream* stream, GpuEvent* event, GpuError* error);
GpuCode event_query(GpuEvent* event, GpuError* error);
GpuCode event_wait(GpuEvent* event, std::int64_t timeout_ns, GpuError* error);
GpuCode copy(GpuStream* stream, void* to, const void* from, std::uint64_t bytes, GpuCopy kind,
             GpuError* error);

/// guarded() on a device: makes it the thread's, and remembers when it is poisoned.
template <class F>
GpuCode on(GpuDevice* device, GpuError* error, const F& f) noexcept {
  if (device->poisoned.load(std::memory_order_relaxed)) {
    fill(error, GpuCode::poisoned, 0,
         "the GPU's context is dead after an earlier error; close the device and open it again");
    return GpuCode::poisoned;
  }
  const GpuCode code = guarded(error, [&] {
    check(cudaSetDevice(device->index), "the GPU cannot be selected");
    return f();
  });
  if (code == GpuCode::poisoned) device->poisoned.store(true, std::memory_order_relaxed);
  return code;
}

}  // namespace splitcnn::inline v0::gpu::cuda::api
