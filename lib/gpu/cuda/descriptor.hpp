#pragma once
/// Our own RAII over the cuDNN backend API: a descriptor is created, given attributes, finalized, and then
/// never changes.
///
///     Descriptor tensor{CUDNN_BACKEND_TENSOR_DESCRIPTOR};
///     tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::int64_t{1});
///     tensor.finalize("tensor x");                       // throws CudnnError
///
/// Internal to the plug-in. Nothing here needs a GPU or a driver. Threads: a finalized descriptor may be read
/// by several.
#include <cudnn.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace splitcnn::inline v0::gpu::cuda {

/// A cuDNN call that failed: "<what>: <cuDNN's words>; what to do". Never leaves the plug-in.
class CudnnError : public std::runtime_error {
 public:
  CudnnError(cudnnStatus_t status, const std::string& what);
  [[nodiscard]] cudnnStatus_t status() const noexcept { return status_; }

 private:
  cudnnStatus_t status_;
};

/// Throws CudnnError unless the status is success.
void check(cudnnStatus_t status, const char* what);

/// cuDNN's type code of a C++ type.
template <class T>
constexpr cudnnBackendAttributeType_t type_code() {
  if constexpr (std::is_same_v<T, std::int64_t>) return CUDNN_TYPE_INT64;
  if constexpr (std::is_same_v<T, std::int32_t>) return CUDNN_TYPE_INT32;
  if constexpr (std::is_same_v<T, float>) return CUDNN_TYPE_FLOAT;
  if constexpr (std::is_same_v<T, bool>) return CUDNN_TYPE_BOOLEAN;
  if constexpr (std::is_same_v<T, char>) return CUDNN_TYPE_CHAR;
  if constexpr (std::is_same_v<T, cudnnDataType_t>) return CUDNN_TYPE_DATA_TYPE;
  if constexpr (std::is_same_v<T, cudnnHandle_t>) return CUDNN_TYPE_HANDLE;
  if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>) return CUDNN_TYPE_CONVOLUTION_MODE;
  if constexpr (std::is_same_v<T, cudnnPointwiseMode_t>) return CUDNN_TYPE_POINTWISE_MODE;
  if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>) return CUDNN_TYPE_HEUR_MODE;
  if constexpr (std::is_same_v<T, cudnnBackendNumericalNote_t>) return CUDNN_TYPE_NUMERICAL_NOTE;
  if constexpr (std::is_same_v<T, cudnnBackendBehaviorNote_t>) return CUDNN_TYPE_BEHAVIOR_NOTE;
  if constexpr (std::is_same_v<T, cudnnBackendDescriptor_t>) return CUDNN_TYPE_BACKEND_DESCRIPTOR;
  if constexpr (std::is_same_v<T, void*>) return CUDNN_TYPE_VOID_PTR;
}

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_{other.raw_} { other.raw_ = nullptr; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] cudnnBackendDescriptor_t raw() const noexcept { return raw_; }

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set_many(name, std::span<const T>{&value, 1});
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) { return set(name, value.raw_); }
  template <class T>
  Descriptor& set_many(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set_raw(name, type_code<T>(), static_cast<std::int64_t>(values.size()), values.data());
    return *this;
  }
  Descriptor& finalize(const char* what);
  /// For descriptors that are expected to fail now and then (engine configurations).
  [[nodiscard]] cudnnStatus_t try_finalize() noexcept;

  template <class T>
  [[nodiscard]] T get(cudnnBackendAttributeName_t name) const {
    T value{};
    get_raw(name, type_code<T>(), 1, &value);
    return value;
  }
  /// All values of an attribute, at most `most`.
  template <class T>
  [[nodiscard]] std::vector<T> get_many(cudnnBackendAttributeName_t name, std::int64_t most) const {
    std::vector<T> values(static_cast<std::size_t>(most));
    values.resize(static_cast<std::size_t>(get_raw(name, type_code<T>(), most, values.data())));
    return values;
  }
  [[nodiscard]] std::string get_text(cudnnBackendAttributeName_t name) const;
  /// Fills an existing descriptor with one of this one's.
  void get_descriptor(cudnnBackendAttributeName_t name, const Descriptor& into) const;
  [[nodiscard]] std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;

 private:
  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t n,
               const void* values);
  std::int64_t get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t n,
                       void* values) const;

  cudnnBackendDescriptor_t raw_ = nullptr;
};

}  // namespace splitcnn::inline v0::gpu::cuda
