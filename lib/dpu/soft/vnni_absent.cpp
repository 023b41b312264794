// For processors other than x86-64: there are no such kernels.
#include "dpu/soft/vnni_kernels.hpp"

namespace splitcnn::inline v0::soft {

bool VnniConv::fits(const ConvSpec&) { return false; }
bool VnniConv::pays(const ConvSpec&) { return false; }
VnniConv::VnniConv(const ConvSpec&, Arena&) {}
std::size_t VnniConv::scratch_bytes() const noexcept { return 0; }
void VnniConv::run(const std::int8_t*, std::int8_t*, std::byte*) const {}

bool VnniWinograd::fits(const ConvSpec&) { return false; }
bool VnniWinograd::pays(const ConvSpec&) { return false; }
VnniWinograd::VnniWinograd(const ConvSpec&, Arena&) {}
std::size_t VnniWinograd::scratch_bytes(int) const noexcept { return 0; }
void VnniWinograd::run(const std::int8_t*, std::int8_t*, std::byte*) const {}

bool VnniDepthwise::fits(const ConvSpec&) { return false; }
VnniDepthwise::VnniDepthwise(const ConvSpec&, Arena&) {}
void VnniDepthwise::run(const std::int8_t*, std::int8_t*) const {}
void VnniDepthwise::run_rows(const std::int8_t*, std::int8_t*, std::int64_t, std::int64_t, std::int64_t) const {}

}  // namespace splitcnn::inline v0::soft
