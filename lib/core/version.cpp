#include "splitcnn/version.hpp"

#include <dnnl.hpp>
#include <fmt/core.h>

#include "core/build_facts.hpp"

namespace splitcnn::inline v0 {

namespace {

const char* isa_name(dnnl::cpu_isa isa) {
  switch (isa) {
    case dnnl::cpu_isa::sse41: return "SSE4.1";
    case dnnl::cpu_isa::avx: return "AVX";
    case dnnl::cpu_isa::avx2: return "AVX2";
    case dnnl::cpu_isa::avx512_core: return "AVX512";
    case dnnl::cpu_isa::avx512_core_vnni: return "AVX512-VNNI";
    case dnnl::cpu_isa::avx512_core_bf16: return "AVX512-VNNI-BF16";
    case dnnl::cpu_isa::avx512_core_amx: return "AMX";
    default: return "other";
  }
}

}  // namespace

const char* version() noexcept { return "0.1.0"; }

std::string build_info() {
  const dnnl_version_t* onednn = dnnl_version();
  return fmt::format("splitcnn {} ({}, C++{})\noneDNN {}.{}.{} ({})\nGPU plug-in: {}\n", version(), __VERSION__, __cplusplus / 100 % 100,
                     onednn->major, onednn->minor, onednn->patch, isa_name(dnnl::get_effective_cpu_isa()), gpu_build);
}

}  // namespace splitcnn::inline v0
