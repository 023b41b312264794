#include "gpu/fake_device.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "gpu/tail/host_executor.hpp"

namespace splitcnn::inline v0::gpu {

struct GpuDevice {
  std::atomic<bool> poisoned{false}, doomed{false};  // doomed: the work that poisons it is under way
  std::mutex mutex;
  std::vector<GpuBuffer> registered;  // host memory and dma-bufs that are not ours
};

/// Counts: an event is complete when as many recordings have been reached as were asked for.
struct GpuEvent {
  GpuDevice* device = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t recorded = 0, reached = 0;
};

struct GpuStream {
  GpuDevice* device = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> work;
  bool stop = false;
  std::thread thread;

  void push(std::function<void()> f) {
    {
      const std::lock_guard lock{mutex};
      work.push_back(std::move(f));
    }
    changed.notify_one();
  }
  void run() {
    for (;;) {
      std::unique_lock lock{mutex};
      changed.wait(lock, [&] { return stop || !work.empty(); });
      if (work.empty()) return;
      auto next = std::move(work.front());
      work.pop_front();
      lock.unlock();
      splitcnn_test::fake_control().pass();
      next();
    }
  }
};

struct GpuSegment {
  GpuDevice* device = nullptr;
  TailProgram program;
};

struct GpuContext {
  GpuSegment* segment = nullptr;
  std::unique_ptr<HostTail> host;
  std::vector<std::vector<void*>> in, out;
};

}  // namespace splitcnn::inline v0::gpu

namespace splitcnn_test {

using namespace splitcnn::gpu;

FakeControl& fake_control() {
  static FakeControl control;
  return control;
}

namespace {

GpuCode say(GpuError* error, GpuCode code, const char* text, int native = 0) {
  if (error) {
    error->code = code;
    error->native = native;
    std::strncpy(error->text, text, sizeof(error->text) - 1);
  }
  return code;
}
GpuCode state(GpuDevice* device, GpuError* error) {
  return device->poisoned
             ? say(error, GpuCode::poisoned, "fake device: illegal address; close it and open it again", 700)
             : GpuCode::ok;
}

GpuCode device_count(std::int32_t* count, GpuError* error) {
  *count = 0;
  if (const int native = fake_control().native; native != 0)
    return say(error, GpuCode::no_device, "no device", native);
  *count = 1;
  return GpuCode::ok;
}
GpuCode device_info(std::int32_t, GpuDeviceInfo* info, GpuError*) {
  std::strcpy(info->name, "Fake GPU");
  std::strcpy(info->libraries, "no CUDA at all");
  return GpuCode::ok;
}
GpuCode open(std::int32_t, const GpuDeviceOptions*, GpuDevice** device, GpuError* error) {
  if (fake_control().fail_open > 0) {
    --fake_control().fail_open;
    return say(error, GpuCode::failed, "fake device: does not open; try again");
  }
  ++fake_control().opens;
  *device = new GpuDevice;
  return GpuCode::ok;
}
void close(GpuDevice* device) {
  ++fake_control().closes;
  delete device;
}

GpuCode allocate(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, bool host, GpuError* error) {
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(memory, host ? 0x5a : 0, bytes);
  ++fake_control().buffers;
  *buffer = {host ? memory : nullptr, memory, bytes};
  return GpuCode::ok;
}
GpuCode host_alloc(GpuDevice* d, std::uint64_t n, GpuBuffer* b, GpuError* e) {
  FakeControl& c = fake_control();
  if (c.fail_host_alloc > 0 && c.good_host_allocs-- <= 0) {
    --c.fail_host_alloc;
    return say(e, GpuCode::out_of_memory, "fake device: no pinned memory left; free some", 2);
  }
  return allocate(d, n, b, true, e);
}
GpuCode device_alloc(GpuDevice* d, std::uint64_t n, GpuBuffer* b, GpuError* e) {
  return allocate(d, n, b, false, e);
}
void free_buffer(GpuDevice*, const GpuBuffer* buffer) {
  --fake_control().buffers;
  std::free(buffer->device);
}
void remember(GpuDevice* device, const GpuBuffer& buffer) {
  const std::lock_guard lock{device->mutex};
  device->registered.push_back(buffer);
  ++fake_control().buffers;
}
void forget(GpuDevice* device, const GpuBuffer* buffer) {
  const std::lock_guard lock{device->mutex};
  std::erase_if(device->registered, [&](const GpuBuffer& b) { return b.device == buffer->device; });
  --fake_control().buffers;
}
bool is_registered(GpuDevice* device, const void* p) {
  const std::lock_guard lock{device->mutex};
  return std::any_of(device->registered.begin(), device->registered.end(), [&](const GpuBuffer& b) {
    return p >= b.device && p < static_cast<const std::byte*>(b.device) + b.bytes;
  });
}
GpuCode host_register(GpuDevice* device, void* host, std::uint64_t bytes, GpuHostMemory, GpuBuffer* buffer,
                      GpuError* error) {
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  *buffer = {host, host, bytes};
  remember(device, *buffer);
  return GpuCode::ok;
}
void host_unregister(GpuDevice* device, const GpuBuffer* buffer) { forget(device, buffer); }
/// Any descriptor that can be mapped is a dma-buf here.
GpuCode dmabuf_import(GpuDevice* device, std::int32_t fd, std::uint64_t bytes, GpuBuffer* buffer,
                      GpuError* error) {
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED)
    return say(error, GpuCode::unsupported, "fake device: cannot map this descriptor; use host memory");
  *buffer = {nullptr, memory, bytes};
  remember(device, *buffer);
  return GpuCode::ok;
}
void dmabuf_release(GpuDevice* device, const GpuBuffer* buffer) {
  munmap(buffer->device, buffer->bytes);
  forget(device, buffer);
}

GpuCode stream_create(GpuDevice* device, GpuStream** stream, GpuError* error) {
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  ++fake_control().streams;
  *stream = new GpuStream;
  (*stream)->device = device;
  (*stream)->thread = std::thread{[s = *stream] { s->run(); }};
  return GpuCode::ok;
}
void stream_destroy(GpuStream* stream) {
  {
    const std::lock_guard lock{stream->mutex};
    stream->stop = true;
  }
  stream->changed.notify_one();
  stream->thread.join();
  --fake_control().streams;
  delete stream;
}
GpuCode event_create(GpuDevice* device, GpuEvent** event, GpuError* error) {
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  ++fake_control().events;
  *event = new GpuEvent;
  (*event)->device = device;
  return GpuCode::ok;
}
void event_destroy(GpuEvent* event) {
  --fake_control().events;
  delete event;
}
GpuCode event_record(GpuEvent* event, GpuStream* stream, GpuError* error) {
  if (const GpuCode code = state(stream->device, error); code != GpuCode::ok) return code;
  {
    const std::lock_guard lock{event->mutex};
    ++event->recorded;
  }
  stream->push([event] {
    const std::lock_guard lock{event->mutex};
    ++event->reached;
    event->changed.notify_all();
  });
  return GpuCode::ok;
}
GpuCode stream_wait(GpuStream* stream, GpuEvent* event, GpuError* error) {
  if (const GpuCode code = state(stream->device, error); code != GpuCode::ok) return code;
  std::uint64_t target = 0;
  {
    const std::lock_guard lock{event->mutex};
    target = event->recorded;
  }
  stream->push([event, target] {
    std::unique_lock lock{event->mutex};
    event->changed.wait(lock, [&] { return event->reached >= target; });
  });
  return GpuCode::ok;
}
GpuCode event_query(GpuEvent* event, GpuError* error) {
  if (const GpuCode code = state(event->device, error); code != GpuCode::ok) return code;
  const std::lock_guard lock{event->mutex};
  return event->reached >= event->recorded ? GpuCode::ok : GpuCode::not_ready;
}
GpuCode event_wait(GpuEvent* event, std::int64_t timeout_ns, GpuError* error) {
  {
    std::unique_lock lock{event->mutex};
    const auto done = [&] { return event->reached >= event->recorded; };
    if (timeout_ns < 0) {
      event->changed.wait(lock, done);
    } else if (!event->changed.wait_until(
                   lock, std::chrono::system_clock::now() + std::chrono::nanoseconds{timeout_ns}, done)) {
      return GpuCode::timeout;
    }
  }
  return state(event->device, error);
}
GpuCode copy(GpuStream* stream, void* to, const void* from, std::uint64_t bytes, GpuCopy kind,
             GpuError* error) {
  if (const GpuCode code = state(stream->device, error); code != GpuCode::ok) return code;
  FakeControl& c = fake_control();
  ++c.copies;
  const bool direct = is_registered(stream->device, from);
  if (direct) ++c.direct_copies;
  if (kind == GpuCopy::device_to_device && !direct)
    return say(error, GpuCode::bad_argument, "fake device: copy from nowhere", 1);
  c.clock_ns += direct ? c.direct_ns : c.staged_ns;
  stream->push([=] { std::memcpy(to, from, bytes); });
  return GpuCode::ok;
}

GpuCode supports(GpuDevice*, const TailView* program, std::uint64_t op, GpuError* error) {
  if (static_cast<int>(program->ops[op].kind) == fake_control().refuse_kind)
    return say(error, GpuCode::unsupported, "not on the fake GPU");
  return GpuCode::ok;
}
GpuCode load(GpuDevice* device, const TailView* p, GpuSegment** segment, GpuError* error) {
  if (fake_control().fail_load > 0) {
    --fake_control().fail_load;
    return say(error, GpuCode::out_of_memory, "fake device: no room for the weights; free some");
  }
  ++fake_control().segments;
  *segment = new GpuSegment;
  (*segment)->device = device;
  TailProgram& own = (*segment)->program;
  own.tensors.assign(p->tensors, p->tensors + p->n_tensors);
  own.ops.assign(p->ops, p->ops + p->n_ops);
  own.inputs.assign(p->inputs, p->inputs + p->n_inputs);
  own.outputs.assign(p->outputs, p->outputs + p->n_outputs);
  own.weights.assign(p->weights, p->weights + p->weights_bytes);
  own.arena_bytes = p->arena_bytes;
  return GpuCode::ok;
}
void unload(GpuSegment* segment) {
  --fake_control().segments;
  delete segment;
}
std::uint64_t describe(GpuSegment*, char* text, std::uint64_t size) {
  if (size > 2) std::strcpy(text, "{}");
  return 2;
}

GpuCode context_create(GpuSegment* segment, std::uint32_t slots, std::uint32_t max_batch,
                       GpuContext** context, GpuError* error) {
  if (const GpuCode code = state(segment->device, error); code != GpuCode::ok) return code;
  ++fake_control().contexts;
  *context = new GpuContext{segment, std::make_unique<HostTail>(segment->program.view(), max_batch), {}, {}};
  (*context)->in.resize(slots);
  (*context)->out.resize(slots);
  return GpuCode::ok;
}
void context_destroy(GpuContext* context) {
  --fake_control().contexts;
  delete context;
}
GpuCode context_bind(GpuContext* context, std::uint32_t slot, void* const* inputs, void* const* outputs,
                     GpuError*) {
  context->in[slot].assign(inputs, inputs + context->segment->program.inputs.size());
  context->out[slot].assign(outputs, outputs + context->segment->program.outputs.size());
  return GpuCode::ok;
}
GpuCode context_prepare(GpuContext* context, std::uint32_t, std::uint32_t, GpuError* error) {
  ++fake_control().prepares;
  return state(context->segment->device, error);
}
GpuCode context_run(GpuContext* context, std::uint32_t slot, std::uint32_t frames, GpuStream* stream,
                    GpuError* error) {
  FakeControl& c = fake_control();
  GpuDevice* device = context->segment->device;
  if (const GpuCode code = state(device, error); code != GpuCode::ok) return code;
  ++c.runs;
  if (!device->doomed && c.poison_in_runs >= 0 && c.poisonings > 0 && c.poison_in_runs-- == 0) {
    device->doomed = true;
    if (--c.poisonings > 0) c.poison_in_runs = 0;
    stream->push([device] { device->poisoned = true; });
    return GpuCode::ok;
  }
  stream->push([=] {
    if (device->poisoned) return;
    const std::vector<const void*> in{context->in[slot].begin(), context->in[slot].end()};
    context->host->run(in, context->out[slot], frames);
  });
  return GpuCode::ok;
}
/// It has no layers to look at.
template <class... Any>
GpuCode no_debug(Any...) {
  return GpuCode::unsupported;
}

const GpuApi table{.name = "fake",
                   .device_count = device_count,
                   .device_info = device_info,
                   .open = open,
                   .close = close,
                   .host_alloc = host_alloc,
                   .host_free = free_buffer,
                   .device_alloc = device_alloc,
                   .device_free = free_buffer,
                   .host_register = host_register,
                   .host_unregister = host_unregister,
                   .dmabuf_import = dmabuf_import,
                   .dmabuf_release = dmabuf_release,
                   .stream_create = stream_create,
                   .stream_destroy = stream_destroy,
                   .event_create = event_create,
                   .event_destroy = event_destroy,
                   .event_record = event_record,
                   .stream_wait = stream_wait,
                   .event_query = event_query,
                   .event_wait = event_wait,
                   .copy = copy,
                   .supports = supports,
                   .load = load,
                   .unload = unload,
                   .describe = describe,
                   .context_create = context_create,
                   .context_destroy = context_destroy,
                   .context_bind = context_bind,
                   .context_prepare = context_prepare,
                   .context_run = context_run,
                   .debug_write = no_debug,
                   .debug_read = no_debug,
                   .debug_run = no_debug};

}  // namespace

const GpuApi* fake_api() { return &table; }

}  // namespace splitcnn_test

extern "C" __attribute__((visibility("default"))) const splitcnn::gpu::GpuApi* splitcnn_gpu_api(
    std::uint32_t abi) {
  return abi == splitcnn::gpu::gpu_abi && splitcnn_test::fake_control().wrong_abi == 0
             ? splitcnn_test::fake_api()
             : nullptr;
}
extern "C" __attribute__((visibility("default"))) splitcnn_test::FakeControl* splitcnn_fake_control() {
  return &splitcnn_test::fake_control();
}
