#include "gpu/cuda/device_properties.hpp"

#include <nlohmann/json.hpp>

namespace splitcnn::inline v0::gpu::cuda {

DeviceProperties::DeviceProperties(Descriptor descriptor) : descriptor_{std::move(descriptor)} {
  json_ = descriptor_.get_text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION);
  const auto value = nlohmann::json::parse(json_, nullptr, false);
  const auto number = [&](const char* key) {
    const auto found = value.is_object() ? value.find(key) : value.end();
    if (!value.is_object() || found == value.end() || !found->is_number_integer())
      throw std::invalid_argument{std::string{"device description: '"} + key +
                                  "' is no integer; take the JSON of cuDNN 9.8 or newer"};
    return found->get<std::int64_t>();
  };
  sm_ = static_cast<int>(number("deviceVer") / 10);
  multiprocessors_ = static_cast<int>(number("multiProcessorCount"));
  shared_memory_ = number("maxSharedMemoryPerBlockOptin");
  memory_ = number("totalGlobalMem");
  name_ = value.value("deviceName", std::string{"unnamed GPU"});
}

DeviceProperties DeviceProperties::of_device(int index) {
  Descriptor d{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
  d.set(CUDNN_ATTR_DEVICEPROP_DEVICE_ID, std::int32_t{index})
      .finalize("the properties of the GPU cannot be read");
  return DeviceProperties{std::move(d)};
}

DeviceProperties DeviceProperties::from_json(const std::string& text) {
  Descriptor d{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
  d.set_many(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>{text})
      .finalize("device description: cuDNN does not accept it");
  return DeviceProperties{std::move(d)};
}

std::int64_t default_workspace_cap(const DeviceProperties& device) {
  constexpr std::int64_t mib = std::int64_t{1} << 20, small_card = std::int64_t{8} << 30;
  return device.memory() <= small_card ? 16 * mib : 64 * mib;
}

}  // namespace splitcnn::inline v0::gpu::cuda
