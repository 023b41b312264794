// A libcuda.so.1 in which every call fails with the code in FAKE_DRIVER_CODE: what the CUDA runtime sees on a
// machine whose driver is broken.
#include <cstdint>
#include <cstdlib>

namespace {

int fail() {
  const char* code = std::getenv("FAKE_DRIVER_CODE");
  return code ? std::atoi(code) : 999;
}

int version(int* v) {
  *v = 13000;
  return 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int cuInit(unsigned) { return fail(); }
__attribute__((visibility("default"))) int cuDriverGetVersion(int* v) { return version(v); }
__attribute__((visibility("default"))) int cuGetProcAddress_v2(const char* name, void** function, int,
                                                               std::uint64_t, int* status);
__attribute__((visibility("default"))) int cuGetProcAddress(const char* name, void** function, int v,
                                                            std::uint64_t flags) {
  return cuGetProcAddress_v2(name, function, v, flags, nullptr);
}

int cuGetProcAddress_v2(const char* name, void** function, int, std::uint64_t, int* status) {
  const auto is = [&](const char* other) {
    const char* n = name;
    while (*n && *n == *other) {
      ++n;
      ++other;
    }
    return *n == *other;
  };
  *function = reinterpret_cast<void*>(&fail);
  if (is("cuDriverGetVersion")) *function = reinterpret_cast<void*>(&version);
  if (is("cuGetProcAddress") || is("cuGetProcAddress_v2"))
    *function = reinterpret_cast<void*>(&cuGetProcAddress_v2);
  if (status) *status = 0;
  return 0;
}

}  // extern "C"
