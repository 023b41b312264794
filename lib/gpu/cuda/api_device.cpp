#include "gpu/cuda/api_device.hpp"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "gpu/cuda/plan_cache.hpp"

namespace splitcnn::inline v0::gpu::cuda::api {

namespace {

constexpr int oldest_sm = 75, most_devices = 64;
constexpr std::size_t oldest_cudnn = 90800;

/// Devices open in this process, by index: the last one to close resets a poisoned context.
std::array<std::atomic<int>, most_devices>& open_devices() {
  static std::array<std::atomic<int>, most_devices> counts{};
  return counts;
}

int count_devices() {
  int n = 0;  // an error leaves it as it is
  check(cudaGetDeviceCount(&n), "no GPU can be used");
  if (n <= 0) throw CudaError{cudaErrorNoDevice, "no GPU can be used"};
  return n;
}

std::string version(int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); }

std::string libraries() {
  int runtime = 0, driver = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  const auto dnn = cudnnGetVersion();
  return fmt::format("CUDA {}, driver for CUDA {}, cuDNN {}.{}.{}", version(runtime), version(driver),
                     dnn / 10000, dnn % 10000 / 100, dnn % 100);
}

cudaDeviceProp properties(std::int32_t index) {
  if (index < 0 || index >= count_devices())
    throw Refusal{GpuCode::bad_argument, fmt::format("gpu:{}: there {} {}; count from 0", index,
                                                     count_devices() == 1 ? "is" : "are", count_devices())};
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, index), "the properties of the GPU cannot be read");
  return p;
}

template <std::size_t n>
void put(char (&to)[n], const std::string& text) {
  std::strncpy(to, text.c_str(), n - 1);
  to[n - 1] = '\0';
}

std::string cache_directory(const GpuDeviceOptions& options) {
  return options.cache_dir ? std::string{options.cache_dir} : default_cache_directory().string();
}

/// A few microseconds at first, then longer: nobody waits for a frame in a tight loop unless asked to.
class Patience {
 public:
  explicit Patience(bool spin) : spin_{spin} {}
  void wait() {
    if (spin_) return;
    std::this_thread::sleep_for(std::chrono::microseconds{pause_});
    pause_ = std::min(pause_ * 2, 200);
  }

 private:
  bool spin_;
  int pause_ = 5;
};

}  // namespace

GpuCode device_count(std::int32_t* count, GpuError* error) {
  *count = 0;
  return guarded(error, [&] { *count = count_devices(); });
}

GpuCode device_info(std::int32_t index, GpuDeviceInfo* info, GpuError* error) {
  return guarded(error, [&] {
    const cudaDeviceProp p = properties(index);
    *info = {};
    put(info->name, p.name);
    put(info->libraries, libraries());
    info->sm = p.major * 10 + p.minor;
    info->multiprocessors = p.multiProcessorCount;
    info->memory_bytes = p.totalGlobalMem;
  });
}

GpuCode open(std::int32_t index, const GpuDeviceOptions* options, GpuDevice** device, GpuError* error) {
  *device = nullptr;
  return guarded(error, [&] {
    const cudaDeviceProp p = properties(index);
    if (p.major * 10 + p.minor < oldest_sm || index >= most_devices)
      throw Refusal{GpuCode::unsupported,
                    fmt::format("{} (sm_{}{}): the kernels need sm_{} or later; use another GPU", p.name,
                                p.major, p.minor, oldest_sm)};
    if (cudnnGetVersion() < oldest_cudnn)
      throw Refusal{GpuCode::no_library,
                    fmt::format("{}: cuDNN 9.8 or later is needed; update it", libraries())};
    check(cudaSetDevice(index), "the GPU cannot be selected");
    check(cudaFree(nullptr), "the GPU's context cannot be made");
    auto made = std::make_unique<GpuDevice>();
    made->index = index;
    made->options = *options;
    made->cache_directory = cache_directory(*options);
    made->options.cache_dir = nullptr;  // the caller's string may go away
    int v = 0;
    check(cudaRuntimeGetVersion(&v), "CUDA's version cannot be read");
    made->cudart = v;
    check(cudaDriverGetVersion(&v), "the driver's version cannot be read");
    made->driver = v;
    made->properties = std::make_unique<DeviceProperties>(DeviceProperties::of_device(index));
    made->workspace_cap = options->workspace_cap != 0 ? static_cast<std::int64_t>(options->workspace_cap)
                                                      : default_workspace_cap(*made->properties);
    open_devices()[static_cast<std::size_t>(index)]++;
    *device = made.release();
  });
}

void close(GpuDevice* device) {
  if (!device) return;
  const int left = --open_devices()[static_cast<std::size_t>(device->index)];
  if (device->poisoned && left == 0 && cudaSetDevice(device->index) == cudaSuccess)
    static_cast<void>(cudaDeviceReset());
  delete device;
}

GpuCode host_alloc(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error) {
  *buffer = {};
  return on(device, error, [&] {
    GpuBuffer b{.bytes = bytes};
    check(cudaHostAlloc(&b.host, bytes, cudaHostAllocPortable | cudaHostAllocMapped),
          "pinned memory cannot be had");
    const cudaError_t mapped = cudaHostGetDevicePointer(&b.device, b.host, 0);
    if (mapped != cudaSuccess) {
      static_cast<void>(cudaFreeHost(b.host));
      throw CudaError{mapped, "pinned memory cannot be mapped"};
    }
    *buffer = b;
  });
}
void host_free(GpuDevice* device, const GpuBuffer* buffer) {
  if (cudaSetDevice(device->index) == cudaSuccess) static_cast<void>(cudaFreeHost(buffer->host));
}

GpuCode device_alloc(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error) {
  *buffer = {};
  return on(device, error, [&] {
    GpuBuffer b{.bytes = bytes};
    check(cudaMalloc(&b.device, bytes), "device memory cannot be had");
    const cudaError_t cleared = cudaMemset(b.device, 0, bytes);
    if (cleared != cudaSuccess) {
      static_cast<void>(cudaFree(b.device));
      throw CudaError{cleared, "device memory cannot be cleared"};
    }
    *buffer = b;
  });
}
void device_free(GpuDevice* device, const GpuBuffer* buffer) {
  if (cudaSetDevice(device->index) == cudaSuccess) static_cast<void>(cudaFree(buffer->device));
}

GpuCode host_register(GpuDevice* device, void* host, std::uint64_t bytes, GpuHostMemory kind,
                      GpuBuffer* buffer, GpuError* error) {
  *buffer = {};
  return on(device, error, [&] {
    const unsigned flags = cudaHostRegisterPortable | cudaHostRegisterMapped |
                           (kind == GpuHostMemory::io ? cudaHostRegisterIoMemory : 0u);
    check(cudaHostRegister(host, bytes, flags), "memory cannot be registered with the GPU");
    GpuBuffer b{.host = host, .bytes = bytes};
    const cudaError_t mapped = cudaHostGetDevicePointer(&b.device, host, 0);
    if (mapped != cudaSuccess) {
      static_cast<void>(cudaHostUnregister(host));
      throw CudaError{mapped, "registered memory cannot be mapped"};
    }
    *buffer = b;
  });
}
void host_unregister(GpuDevice* device, const GpuBuffer* buffer) {
  if (cudaSetDevice(device->index) == cudaSuccess) static_cast<void>(cudaHostUnregister(buffer->host));
}

// CUDA imports no dma-buf as such: the way is to map it here and to register the mapping as I/O memory.
// `host` stays null: the CPU may not be meant to read it.
GpuCode dmabuf_import(GpuDevice* device, std::int32_t fd, std::uint64_t bytes, GpuBuffer* buffer,
                      GpuError* error) {
  *buffer = {};
  return on(device, error, [&] {
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
      throw Refusal{GpuCode::unsupported, fmt::format("dma-buf {}: cannot be mapped ({}); use the host path",
                                                      fd, std::strerror(errno))};
    GpuBuffer b;
    const GpuCode code = host_register(device, mapped, bytes, GpuHostMemory::io, &b, error);
    if (code != GpuCode::ok) {
      ::munmap(mapped, bytes);
      return code;
    }
    *buffer = {.host = nullptr, .device = b.device, .bytes = bytes};
    return GpuCode::ok;
  });
}
void dmabuf_release(GpuDevice* device, const GpuBuffer* buffer) {
  if (!buffer->device || cudaSetDevice(device->index) != cudaSuccess) return;
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, buffer->device) != cudaSuccess || !attributes.hostPointer) return;
  static_cast<void>(cudaHostUnregister(attributes.hostPointer));
  ::munmap(attributes.hostPointer, buffer->bytes);
}

GpuCode stream_create(GpuDevice* device, GpuStream** stream, GpuError* error) {
  *stream = nullptr;
  return on(device, error, [&] { *stream = new GpuStream{device, make_stream()}; });
}
void stream_destroy(GpuStream* stream) { delete stream; }

GpuCode event_create(GpuDevice* device, GpuEvent** event, GpuError* error) {
  *event = nullptr;
  return on(device, error, [&] {
    const unsigned blocking = device->options.spin ? 0u : static_cast<unsigned>(cudaEventBlockingSync);
    *event = new GpuEvent{device, make_event(cudaEventDisableTiming | blocking)};
  });
}
void event_destroy(GpuEvent* event) { delete event; }

GpuCode event_record(GpuEvent* event, GpuStream* stream, GpuError* error) {
  return on(event->device, error, [&] {
    check(cudaEventRecord(event->event.get(), stream->stream.get()), "an event cannot be recorded");
  });
}
GpuCode stream_wait(GpuStream* stream, GpuEvent* event, GpuError* error) {
  return on(stream->device, error, [&] {
    check(cudaStreamWaitEvent(stream->stream.get(), event->event.get(), 0), "a stream cannot wait");
  });
}
GpuCode event_query(GpuEvent* event, GpuError* error) {
  return on(event->device, error, [&] {
    const cudaError_t state = cudaEventQuery(event->event.get());
    if (state == cudaErrorNotReady) return GpuCode::not_ready;
    check(state, "work on the GPU failed");
    return GpuCode::ok;
  });
}
GpuCode event_wait(GpuEvent* event, std::int64_t timeout_ns, GpuError* error) {
  if (timeout_ns < 0)
    return on(event->device, error,
              [&] { check(cudaEventSynchronize(event->event.get()), "work on the GPU failed"); });
  // CUDA has no wait with a limit.
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds{timeout_ns};
  for (Patience patience{event->device->options.spin != 0};; patience.wait()) {
    const GpuCode code = event_query(event, error);
    if (code != GpuCode::not_ready) return code;
    if (std::chrono::steady_clock::now() >= until) return GpuCode::timeout;
  }
}

GpuCode copy(GpuStream* stream, void* to, const void* from, std::uint64_t bytes, GpuCopy kind,
             GpuError* error) {
  constexpr cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
                                      cudaMemcpyDeviceToDevice};
  return on(stream->device, error, [&] {
    check(cudaMemcpyAsync(to, from, bytes, kinds[static_cast<std::size_t>(kind)], stream->stream.get()),
          "a copy cannot be started");
  });
}

}  // namespace splitcnn::inline v0::gpu::cuda::api
