// A double of NVML: two GPUs, the second without an energy counter. The first one's counter advances by 7 J whenever it is read.
namespace {
unsigned long long millijoules = 1000;
char first, second;
}  // namespace

extern "C" {
__attribute__((visibility("default"))) int nvmlInit_v2() { return 0; }
__attribute__((visibility("default"))) int nvmlShutdown() { return 0; }
__attribute__((visibility("default"))) int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
__attribute__((visibility("default"))) int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = index == 0 ? &first : &second;
  return 0;
}
__attribute__((visibility("default"))) int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* energy) {
  if (device != &first) return 3;  // NVML_ERROR_NOT_SUPPORTED
  *energy = millijoules += 7000;
  return 0;
}
}
