#include "gpu/transfer/ring.hpp"

#include <cstring>

#include "gpu/plugin.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

void must(GpuCode code, const GpuError& error) {
  if (code != GpuCode::ok) throw Error{Errc::device_failed, explain(error)};
}

}  // namespace

Ring::Ring(const GpuApi& api, GpuDevice* device, GpuSegment* segment, std::span<const TailIo> inputs,
           std::span<const TailIo> outputs, const RingOptions& options)
    : api_{api},
      device_{device},
      segment_{segment},
      options_{options},
      inputs_{inputs.begin(), inputs.end()},
      outputs_{outputs.begin(), outputs.end()},
      slots_(options.slots) {
  try {
    build(inputs, outputs);
  } catch (...) {
    destroy();
    throw;
  }
}

void Ring::build(std::span<const TailIo> inputs, std::span<const TailIo> outputs) {
  GpuError e{};
  must(api_.context_create(segment_, options_.slots, options_.max_batch, &context_, &e), e);
  for (GpuStream** s : {&h2d_, &compute_, &d2h_}) must(api_.stream_create(device_, s, &e), e);
  for (std::uint32_t s = 0; s < options_.slots; ++s) {
    Slot& slot = slots_[s];
    for (GpuEvent** event : {&slot.h2d_done, &slot.computed, &slot.out_done})
      must(api_.event_create(device_, event, &e), e);
    std::vector<void*> in, out;
    for (const TailIo& io : inputs) {
      const std::uint64_t bytes = io.frame_bytes * options_.max_batch;
      must(api_.host_alloc(device_, bytes, &slot.host_in.emplace_back(), &e), e);
      slot.device_in.emplace_back();
      if (bytes > options_.zero_copy_bytes || !slot.host_in.back().device)
        must(api_.device_alloc(device_, bytes, &slot.device_in.back(), &e), e);
      in.push_back(slot.device_in.back().device ? slot.device_in.back().device : slot.host_in.back().device);
    }
    for (const TailIo& io : outputs) {
      const std::uint64_t bytes = io.frame_bytes * options_.max_batch;
      must(api_.host_alloc(device_, bytes, &slot.host_out.emplace_back(), &e), e);
      must(api_.device_alloc(device_, bytes, &slot.device_out.emplace_back(), &e), e);
      out.push_back(slot.device_out.back().device);
    }
    must(api_.context_bind(context_, s, in.data(), out.data(), &e), e);
    slot.out.reserve(outputs.size() * options_.max_batch);
  }
}

Ring::~Ring() { destroy(); }

/// Until no stream touches our memory any more. A device that has failed answers at once.
void Ring::drain() noexcept {
  for (GpuStream* s : {h2d_, compute_, d2h_}) {
    GpuEvent* event = slots_.empty() ? nullptr : slots_[0].h2d_done;
    if (s && event && api_.event_record(event, s, nullptr) == GpuCode::ok)
      (void)api_.event_wait(event, -1, nullptr);
  }
}

void Ring::destroy() noexcept {
  drain();
  for (GpuStream* s : {h2d_, compute_, d2h_}) {
    if (s) api_.stream_destroy(s);
  }
  if (context_) api_.context_destroy(context_);
  for (Slot& slot : slots_) {
    for (GpuEvent* event : {slot.h2d_done, slot.computed, slot.out_done}) {
      if (event) api_.event_destroy(event);
    }
    for (const auto* list : {&slot.host_in, &slot.host_out}) {
      for (const GpuBuffer& b : *list) {
        if (b.host) api_.host_free(device_, &b);
      }
    }
    for (const auto* list : {&slot.device_in, &slot.device_out}) {
      for (const GpuBuffer& b : *list) {
        if (b.device) api_.device_free(device_, &b);
      }
    }
  }
  for (Adopted& a : adopted_) {
    if (a.dmabuf) {
      a.buffer.host = nullptr;  // as the device gave it
      api_.dmabuf_release(device_, &a.buffer);
    } else {
      api_.host_unregister(device_, &a.buffer);
    }
  }
}

GpuCode Ring::prepare(GpuError* error) {
  for (std::uint32_t s = 0; s < options_.slots; ++s) {
    for (const std::uint32_t frames : tail_batches) {
      if (frames > options_.max_batch) break;
      if (const GpuCode code = api_.context_prepare(context_, s, frames, error); code != GpuCode::ok)
        return code;
    }
  }
  return GpuCode::ok;
}

/// Frames become one run per input.
GpuCode Ring::copy_inputs(Slot& slot, std::span<const TensorView> in, GpuError* error) noexcept {
  const std::size_t n = inputs_.size();
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t bytes = inputs_[i].frame_bytes;
    auto* staged = static_cast<std::byte*>(slot.host_in[i].host);
    auto* target = static_cast<std::byte*>(slot.device_in[i].device);
    bool direct = direct_ && target != nullptr;
    for (std::size_t f = 0; f < slot.frames; ++f) direct = direct && find(in[f * n + i].data, bytes);
    if (direct) {
      for (std::size_t f = 0; f < slot.frames; ++f) {
        const GpuCode code = copy_direct(target + f * bytes, in[f * n + i].data, bytes, error);
        if (code != GpuCode::ok) return code;
      }
      continue;
    }
    for (std::size_t f = 0; f < slot.frames; ++f) std::memcpy(staged + f * bytes, in[f * n + i].data, bytes);
    if (!target) continue;  // the entry op reads the pinned memory itself
    const GpuCode code = api_.copy(h2d_, target, staged, bytes * slot.frames, GpuCopy::host_to_device, error);
    if (code != GpuCode::ok) return code;
  }
  return GpuCode::ok;  // frames beyond the batch compute on what is there; their results are never read
}

GpuCode Ring::submit(std::size_t frames, std::span<const TensorView> in, std::span<const TensorView> out,
                     GpuError* error) noexcept {
  const std::uint32_t padded = padded_batch(frames);
  if (frames == 0 || padded == 0 || padded > options_.max_batch || in.size() != frames * inputs_.size() ||
      out.size() != frames * outputs_.size())
    return GpuCode::bad_argument;
  if (in_flight() == slots_.size()) return GpuCode::not_ready;
  const auto number = static_cast<std::uint32_t>(submitted_ % slots_.size());
  Slot& slot = slots_[number];
  slot.frames = frames;
  slot.out.assign(out.begin(), out.end());
  GpuCode code = copy_inputs(slot, in, error);
  const auto then = [&](auto&& step) {
    if (code == GpuCode::ok) code = step();
  };
  then([&] { return api_.event_record(slot.h2d_done, h2d_, error); });
  then([&] { return api_.stream_wait(compute_, slot.h2d_done, error); });
  then([&] { return api_.context_run(context_, number, padded, compute_, error); });
  then([&] { return api_.event_record(slot.computed, compute_, error); });
  then([&] { return api_.stream_wait(d2h_, slot.computed, error); });
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    then([&] {
      return api_.copy(d2h_, slot.host_out[o].host, slot.device_out[o].device,
                       outputs_[o].frame_bytes * frames, GpuCopy::device_to_host, error);
    });
  }
  then([&] { return api_.event_record(slot.out_done, d2h_, error); });
  if (code == GpuCode::ok) ++submitted_;
  return code;
}

GpuCode Ring::wait(std::int64_t timeout_ns, GpuError* error) noexcept {
  if (in_flight() == 0) return GpuCode::bad_argument;
  Slot& slot = slots_[done_ % slots_.size()];
  const GpuCode code = api_.event_wait(slot.out_done, timeout_ns, error);
  if (code == GpuCode::timeout) return code;
  ++done_;
  if (code != GpuCode::ok) return code;
  const std::size_t n = outputs_.size();
  for (std::size_t f = 0; f < slot.frames; ++f) {
    for (std::size_t o = 0; o < n; ++o) {
      const std::uint64_t bytes = outputs_[o].frame_bytes;
      std::memcpy(slot.out[f * n + o].data, static_cast<const std::byte*>(slot.host_out[o].host) + f * bytes,
                  bytes);
    }
  }
  return GpuCode::ok;
}

}  // namespace splitcnn::inline v0::gpu
