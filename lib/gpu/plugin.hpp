#pragma once
/// Finds and opens the CUDA plug-in (backend.hpp). Called while building, never on the hot path.
///
///     const GpuPlugin plugin = load_plugin();
///     if (!plugin.api) say(plugin.why);
///
/// The plug-in is $SPLITCNN_GPU_PLUGIN, else libsplitcnn_cuda.so beside this library (or program), else
/// wherever the loader finds that name. It is opened with RTLD_NOW | RTLD_LOCAL and stays open. Threads: any.
#include <string>

#include "gpu/backend.hpp"

namespace splitcnn::inline v0::gpu {

struct GpuPlugin {
  const GpuApi* api = nullptr;  ///< null: there is none, see why. Lives as long as the process
  std::string why;
};

GpuPlugin load_plugin();

/// Whether device `index` can be used. `why` gets a sentence when not; `info` what it is when so.
bool device_usable(const GpuPlugin& plugin, int index, GpuDeviceInfo& info, std::string& why);

/// The sentence for a failed call: what CUDA's number means (35, 34, 100, 803, 999), else the plug-in's own
/// words.
std::string explain(const GpuError& error);

}  // namespace splitcnn::inline v0::gpu
