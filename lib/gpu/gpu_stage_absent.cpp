// GpuStage of a build without CUDA: the same interface, computed by the CPU in FP16-storage mode.
#include <fmt/format.h>

#include <mutex>
#include <set>

#include "core/log.hpp"
#include "splitcnn/cpu_stage.hpp"
#include "splitcnn/gpu_stage.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr const char* reason = "built without CUDA";

/// Once per process and device: a pipeline has many segments and says this once.
void warn(const std::string& device) {
  static std::mutex mutex;
  static std::set<std::string> said;
  {
    const std::lock_guard lock{mutex};
    if (!said.insert(device).second) return;
  }
  log(LogLevel::warning,
      fmt::format("{}: {}; the CPU computes instead, rounding to FP16 as a GPU would. Its speed is a CPU's",
                  device, reason));
}

CpuStageOptions stand_in(const Segment& segment, const GpuStageOptions& options) {
  if (options.backend == GpuBackend::cudnn) {
    throw Error{Errc::no_device, fmt::format("{}: {}; use GpuBackend::automatic to run on the CPU instead",
                                             segment.device, reason)};
  }
  return {.storage = DType::f16, .threads = options.threads};
}

}  // namespace

struct GpuStage::Impl {
  CpuStage stage;
};

GpuStage::GpuStage(const Plan& plan, const Segment& segment, const GpuStageOptions& options)
    : impl_{new Impl{CpuStage{plan, segment, stand_in(segment, options)}}} {
  warn(segment.device);
}
GpuStage::~GpuStage() = default;

bool GpuStage::available(std::string* why) {
  if (why) *why = reason;
  return false;
}
const char* GpuStage::backend() const noexcept { return "cpu-f16"; }

const std::string& GpuStage::name() const noexcept { return impl_->stage.name(); }
const std::string& GpuStage::device() const noexcept { return impl_->stage.device(); }
std::span<const TensorSpec> GpuStage::inputs() const noexcept { return impl_->stage.inputs(); }
std::span<const TensorSpec> GpuStage::outputs() const noexcept { return impl_->stage.outputs(); }
void GpuStage::prepare() { impl_->stage.prepare(); }
Ticket GpuStage::submit(const Batch& batch) { return impl_->stage.submit(batch); }
Status GpuStage::wait(Ticket ticket, Clock::time_point deadline) {
  return impl_->stage.wait(ticket, deadline);
}

}  // namespace splitcnn::inline v0
