#include "gpu/cuda/descriptor.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace splitcnn::inline v0::gpu::cuda {

namespace {

std::string sentence(cudnnStatus_t status, const std::string& what) {
  char said[1024] = {};
  cudnnGetLastErrorString(said, sizeof said);
  return fmt::format("{}: {}{}{}", what, cudnnGetErrorString(status), said[0] ? ": " : "", said);
}

}  // namespace

CudnnError::CudnnError(cudnnStatus_t status, const std::string& what)
    : std::runtime_error{sentence(status, what)}, status_{status} {}

void check(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS) throw CudnnError{status, what};
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(cudnnBackendCreateDescriptor(type, &raw_), "a cuDNN descriptor cannot be created");
}

Descriptor::~Descriptor() {
  if (raw_) cudnnBackendDestroyDescriptor(raw_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(raw_, other.raw_);
  return *this;
}

Descriptor& Descriptor::finalize(const char* what) {
  check(try_finalize(), what);
  return *this;
}

cudnnStatus_t Descriptor::try_finalize() noexcept { return cudnnBackendFinalize(raw_); }

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t n,
                         const void* values) {
  check(cudnnBackendSetAttribute(raw_, name, type, n, values), "a cuDNN attribute is refused");
}

std::int64_t Descriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                 std::int64_t n, void* values) const {
  std::int64_t got = 0;
  check(cudnnBackendGetAttribute(raw_, name, type, n, &got, values), "a cuDNN attribute cannot be read");
  return std::min(got, n);
}

std::int64_t Descriptor::count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
  std::int64_t n = 0;
  check(cudnnBackendGetAttribute(raw_, name, type, 0, &n, nullptr), "a cuDNN attribute cannot be counted");
  return n;
}

std::string Descriptor::get_text(cudnnBackendAttributeName_t name) const {
  std::string text(static_cast<std::size_t>(count(name, CUDNN_TYPE_CHAR)), '\0');
  text.resize(static_cast<std::size_t>(
      get_raw(name, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(text.size()), text.data())));
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

void Descriptor::get_descriptor(cudnnBackendAttributeName_t name, const Descriptor& into) const {
  cudnnBackendDescriptor_t raw = into.raw_;
  get_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
}

}  // namespace splitcnn::inline v0::gpu::cuda
