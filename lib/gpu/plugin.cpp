#include "gpu/plugin.hpp"

#include <dlfcn.h>
#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "splitcnn/version.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

constexpr const char* file_name = "libsplitcnn_cuda.so";

/// Where to look, in order.
std::vector<std::string> candidates() {
  if (const char* named = secure_getenv("SPLITCNN_GPU_PLUGIN")) return {named};
  std::vector<std::string> paths;
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&device_usable), &here) != 0 && here.dli_fname) {
    std::error_code ignored;
    const auto beside = std::filesystem::path{here.dli_fname}.parent_path();
    for (const auto& path : {beside / file_name, beside / ".." / "lib" / file_name}) {
      if (std::filesystem::exists(path, ignored)) paths.push_back(path.string());
    }
  }
  paths.emplace_back(file_name);
  return paths;
}

/// Whether the loader failed because there is no such file, and not for what the file needs.
bool is_absent(const std::string& path, const char* said) {
  std::error_code ignored;
  if (path.find('/') != std::string::npos) return !std::filesystem::exists(path, ignored);
  return !said || std::string_view{said}.starts_with(path + ": cannot open shared object file");
}

/// A file that is there and does not load: the loader's words name the library that is missing, we say where
/// it comes from.
std::string cannot_load(const std::string& path, const char* said) {
  const std::string_view words = said ? said : "no reason given";
  const char* remedy = "install the library it names";
  if (words.find("libcudnn") != std::string_view::npos) {
    remedy = "install cuDNN 9 (NVIDIA's package cudnn9-cuda-13), or put its folder on the library path";
  } else if (words.find("libcuda.so") != std::string_view::npos) {
    remedy = "install the NVIDIA driver";
  }
  return fmt::format("GPU plug-in {}: cannot be loaded: {}; {}", path, words, remedy);
}

}  // namespace

GpuPlugin load_plugin() {
  std::string trouble;
  const std::vector<std::string> paths = candidates();
  for (const std::string& path : paths) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* said = dlerror();
      if (trouble.empty() && !is_absent(path, said)) trouble = cannot_load(path, said);
      continue;
    }
    const auto function = reinterpret_cast<GpuApiFunction>(dlsym(library, gpu_symbol));
    if (!function)
      return {nullptr, fmt::format("GPU plug-in {}: has no symbol {}; it is no plug-in of this library", path,
                                   gpu_symbol)};
    const GpuApi* api = function(gpu_abi);
    if (!api || api->abi != gpu_abi || api->bytes < sizeof(GpuApi)) {
      return {nullptr, fmt::format("GPU plug-in {}: does not speak version {} of the interface; install the "
                                   "plug-in of splitcnn {}",
                                   path, gpu_abi, version())};
    }
    return {api, {}};
  }
  if (!trouble.empty()) return {nullptr, trouble};
  if (const char* named = secure_getenv("SPLITCNN_GPU_PLUGIN"))
    return {
        nullptr,
        fmt::format("GPU plug-in {}: there is no such file; correct SPLITCNN_GPU_PLUGIN or unset it", named)};
  return {nullptr,
          fmt::format("GPU plug-in {}: is not beside the library; build with CUDA and cuDNN to get it",
                      file_name)};
}

std::string explain(const GpuError& error) {
  switch (error.native) {
    case 35:
      return "NVIDIA driver: there is none, or it is older than this CUDA (error 35); install or update the "
             "driver";
    case 34:
      return "NVIDIA driver: libcuda.so.1 is the toolkit's stub (error 34); take its folder off the library "
             "path, install the driver";
    case 100:
      return "NVIDIA driver: it sees no GPU (error 100); check nvidia-smi and CUDA_VISIBLE_DEVICES";
    case 803:
      return "NVIDIA driver: its kernel module and libcuda are of different versions (error 803); restart "
             "after the update";
    case 999:
      return "NVIDIA driver: it does not answer (error 999); reload its kernel module or restart the machine";
    default:
      break;
  }
  if (error.text[0] != 0) return error.text;
  return fmt::format("GPU plug-in: reports code {} without a reason; please report this",
                     static_cast<int>(error.code));
}

bool device_usable(const GpuPlugin& plugin, int index, GpuDeviceInfo& info, std::string& why) {
  if (!plugin.api) {
    why = plugin.why;
    return false;
  }
  GpuError error{};
  std::int32_t count = 0;
  if (plugin.api->device_count(&count, &error) != GpuCode::ok || count <= 0) {
    why = explain(error);
    return false;
  }
  if (index >= count) {
    why = fmt::format("gpu:{}: this machine has {}; numbers begin at 0", index,
                      count == 1 ? "one GPU" : fmt::format("{} GPUs", count));
    return false;
  }
  if (plugin.api->device_info(index, &info, &error) != GpuCode::ok) {
    why = explain(error);
    return false;
  }
  return true;
}

}  // namespace splitcnn::inline v0::gpu
