// plugin_probe PLUGIN CODE: loads the CUDA plug-in as the library does and checks what it says on a machine
// without a usable GPU: no device, CUDA's number, a sentence. Exits with 77 where there is a GPU after all.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gpu/backend.hpp"

using namespace splitcnn::gpu;

namespace {

int wrong(const char* what) {
  std::printf("FAILED: %s\n", what);
  return 1;
}

bool says(const GpuError& error, GpuCode code, int native) {
  std::printf("code %d, CUDA %d: %s\n", static_cast<int>(error.code), error.native, error.text);
  return code == GpuCode::no_device && error.code == code && error.native == native &&
         std::strlen(error.text) > 30 && std::strstr(error.text, std::to_string(native).c_str()) != nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return wrong("usage: plugin_probe PLUGIN CODE");
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return wrong(dlerror());
  const auto function = reinterpret_cast<GpuApiFunction>(dlsym(library, gpu_symbol));
  if (!function) return wrong("the symbol is missing");
  if (function(gpu_abi + 1) != nullptr) return wrong("another ABI is served");
  const GpuApi* api = function(gpu_abi);
  if (!api || api->abi != gpu_abi || api->bytes != sizeof(GpuApi) || std::strcmp(api->name, "cudnn") != 0)
    return wrong("the table");
  const int expected = std::atoi(argv[2]);
  std::int32_t count = 7;
  GpuError error;
  const GpuCode counted = api->device_count(&count, &error);
  if (counted == GpuCode::ok) {
    std::printf("SKIP: %d GPUs answer here\n", count);
    return 77;
  }
  if (!says(error, counted, expected) || count != 0) return wrong("device_count");
  GpuDeviceInfo info;
  error = {};
  const GpuCode informed = api->device_info(0, &info, &error);
  if (!says(error, informed, expected)) return wrong("device_info");
  const GpuDeviceOptions options;
  auto* device = reinterpret_cast<GpuDevice*>(&error);
  GpuError second;
  const GpuCode opened = api->open(0, &options, &device, &second);
  if (!says(second, opened, expected) || device != nullptr) return wrong("open");
  api->close(nullptr);
  std::printf("as it should be\n");
  return 0;
}
