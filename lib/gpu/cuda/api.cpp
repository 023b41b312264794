// The one symbol of the plug-in, and the functions of its table that concern segments and contexts.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gpu/cuda/api_device.hpp"

namespace splitcnn::inline v0::gpu::cuda::api {

namespace {

constexpr std::int32_t most_mean_channels = 20'000;  // gap_fc keeps them in shared memory

GpuCode supports(GpuDevice*, const TailView* program, std::uint64_t index, GpuError* error) {
  return guarded(error, [&] {
    if (program->version != tail_version || program->op_bytes != sizeof(TailOp))
      throw Refusal{
          GpuCode::bad_argument,
          fmt::format("tail program: is of version {}, the plug-in of {}; install both from one build",
                      program->version, tail_version)};
    if (index >= program->n_ops)
      throw Refusal{GpuCode::bad_argument, fmt::format("op {}: there are {}", index, program->n_ops)};
    const TailOp& op = program->ops[index];
    if (static_cast<std::uint32_t>(op.kind) > static_cast<std::uint32_t>(TailKind::product))
      throw Refusal{GpuCode::unsupported, fmt::format("op {}: kind {} is unknown to the plug-in", index,
                                                      static_cast<std::uint32_t>(op.kind))};
    if (op.kind == TailKind::gap_fc && op.in > most_mean_channels)
      throw Refusal{GpuCode::unsupported,
                    fmt::format("a mean over {} channels in front of a dense layer; at most {}", op.in,
                                most_mean_channels)};
  });
}

GpuCode load(GpuDevice* device, const TailView* program, GpuSegment** segment, GpuError* error) {
  *segment = nullptr;
  for (std::uint64_t i = 0; i < program->n_ops; ++i) {
    const GpuCode code = supports(device, program, i, error);
    if (code != GpuCode::ok) return code;
  }
  return on(device, error, [&] {
    auto made = std::make_unique<GpuSegment>(device, *program);
    static_cast<void>(made->plan(1));  // the other sizes when a context asks for them
    *segment = made.release();
  });
}
void unload(GpuSegment* segment) { delete segment; }

std::uint64_t describe(GpuSegment* segment, char* text, std::uint64_t size) {
  std::string all;
  if (guarded(nullptr, [&] { all = segment->describe(); }) != GpuCode::ok) all = "{}";
  if (size != 0) {
    const std::size_t n = std::min<std::size_t>(all.size(), size - 1);
    std::memcpy(text, all.data(), n);
    text[n] = '\0';
  }
  return all.size();
}

GpuCode context_create(GpuSegment* segment, std::uint32_t slots, std::uint32_t max_batch,
                       GpuContext** context, GpuError* error) {
  *context = nullptr;
  return on(segment->device, error, [&] {
    if (slots == 0 || max_batch == 0 || padded_batch(max_batch) != max_batch)
      throw Refusal{
          GpuCode::bad_argument,
          fmt::format("a context of {} slots and batch {}: take a prepared size", slots, max_batch)};
    *context = std::make_unique<GpuContext>(segment, slots, max_batch).release();
  });
}
void context_destroy(GpuContext* context) { delete context; }

GpuCode context_bind(GpuContext* context, std::uint32_t slot, void* const* inputs, void* const* outputs,
                     GpuError* error) {
  return on(context->segment->device, error, [&] { context->bind(slot, inputs, outputs); });
}
GpuCode context_prepare(GpuContext* context, std::uint32_t slot, std::uint32_t frames, GpuError* error) {
  return on(context->segment->device, error, [&] { context->prepare(slot, frames); });
}
GpuCode context_run(GpuContext* context, std::uint32_t slot, std::uint32_t frames, GpuStream* stream,
                    GpuError* error) {
  return on(context->segment->device, error, [&] { context->run(slot, frames, stream->stream.get()); });
}

/// Where a tensor of a batch is and how many bytes it has.
std::pair<std::byte*, std::uint64_t> place(GpuContext* context, std::uint32_t tensor, std::uint32_t frames) {
  const GpuSegment& segment = *context->segment;
  if (tensor >= segment.tensors.size() || segment.tensors[tensor].place != Place::arena || frames == 0 ||
      frames > context->max_batch)
    throw Refusal{GpuCode::bad_argument,
                  fmt::format("tensor {} with {} frames: is not in the arena", tensor, frames)};
  const TailTensor& t = segment.tensors[tensor];
  return {context->arena.data() + t.offset * frames,
          std::uint64_t{frames} * static_cast<std::uint64_t>(t.frame_elements) * 2};
}

GpuCode debug_write(GpuContext* context, std::uint32_t tensor, std::uint32_t frames, const void* data,
                    GpuError* error) {
  return on(context->segment->device, error, [&] {
    const auto [at, bytes] = place(context, tensor, frames);
    check(cudaMemcpy(at, data, bytes, cudaMemcpyHostToDevice), "a tensor cannot be written");
  });
}
GpuCode debug_read(GpuContext* context, std::uint32_t tensor, std::uint32_t frames, void* data,
                   GpuError* error) {
  return on(context->segment->device, error, [&] {
    const auto [at, bytes] = place(context, tensor, frames);
    check(cudaMemcpy(data, at, bytes, cudaMemcpyDeviceToHost), "a tensor cannot be read");
  });
}
GpuCode debug_run(GpuContext* context, std::uint64_t first, std::uint64_t last, std::uint32_t frames,
                  std::int32_t tier, GpuError* error) {
  return on(context->segment->device, error, [&] { context->debug_run(first, last, frames, tier); });
}

constexpr GpuApi table{.name = "cudnn",
                       .device_count = device_count,
                       .device_info = device_info,
                       .open = open,
                       .close = close,
                       .host_alloc = host_alloc,
                       .host_free = host_free,
                       .device_alloc = device_alloc,
                       .device_free = device_free,
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
                       .debug_write = debug_write,
                       .debug_read = debug_read,
                       .debug_run = debug_run};

}  // namespace

}  // namespace splitcnn::inline v0::gpu::cuda::api

extern "C" __attribute__((visibility("default"))) const splitcnn::gpu::GpuApi* splitcnn_gpu_api(
    std::uint32_t abi) {
  return abi == splitcnn::gpu::gpu_abi ? &splitcnn::gpu::cuda::api::table : nullptr;
}
