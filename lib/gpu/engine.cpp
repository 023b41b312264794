#include "gpu/engine.hpp"

#include "gpu/plugin.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

Errc errc(GpuCode code) {
  switch (code) {
    case GpuCode::no_device:
    case GpuCode::no_library:
      return Errc::no_device;
    case GpuCode::unsupported:
      return Errc::unsupported;
    default:
      return Errc::device_failed;
  }
}

}  // namespace

Engine::Engine(const GpuApi& api, int index, const GpuDeviceOptions& options, TailProgram& program,
               std::uint32_t max_batch)
    : api_{api} {
  GpuError e{};
  GpuCode code = api_.open(index, &options, &device_, &e);
  const TailView view = program.view();
  if (code == GpuCode::ok) code = api_.load(device_, &view, &segment_, &e);
  try {
    if (code != GpuCode::ok) throw Error{errc(code), explain(e)};
    ring_ = std::make_unique<Ring>(api_, device_, segment_, program.inputs, program.outputs,
                                   RingOptions{.max_batch = max_batch});
  } catch (...) {
    if (segment_) api_.unload(segment_);
    if (device_) api_.close(device_);
    throw;
  }
}

Engine::~Engine() {
  ring_.reset();
  if (segment_) api_.unload(segment_);
  if (device_) api_.close(device_);
}

}  // namespace splitcnn::inline v0::gpu
