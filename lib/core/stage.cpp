#include "splitcnn/stage.hpp"

#include <exception>
#include <utility>

namespace splitcnn::inline v0 {

Stage::~Stage() = default;

std::optional<std::vector<TensorView>> Stage::try_input_buffers(std::size_t) { return std::nullopt; }

std::vector<NodeTime> Stage::time_nodes(const Batch&) { return {}; }

void Stage::reserved_0() {}

struct HostStage::Impl {
  std::string name, device;
  std::vector<TensorSpec> inputs, outputs;
  Function function;
  std::uint64_t submitted = 0;
  Status status;  // of the last batch
};

HostStage::HostStage(std::string name, std::vector<TensorSpec> inputs, std::vector<TensorSpec> outputs,
                     Function function, std::string device)
    : impl_{std::make_unique<Impl>()} {
  if (!function) throw Error{Errc::bad_argument, "host stage '" + name + "': has no function; give it one"};
  impl_->device = device.empty() ? "host:" + name : std::move(device);
  impl_->name = std::move(name);
  impl_->inputs = std::move(inputs);
  impl_->outputs = std::move(outputs);
  impl_->function = std::move(function);
}

HostStage::~HostStage() = default;

const std::string& HostStage::name() const noexcept { return impl_->name; }
const std::string& HostStage::device() const noexcept { return impl_->device; }
std::span<const TensorSpec> HostStage::inputs() const noexcept { return impl_->inputs; }
std::span<const TensorSpec> HostStage::outputs() const noexcept { return impl_->outputs; }

Ticket HostStage::submit(const Batch& batch) {
  Impl& s = *impl_;
  s.status = {};
  const std::size_t n_in = s.inputs.size(), n_out = s.outputs.size();
  for (std::size_t f = 0; f < batch.frames && s.status.ok(); ++f) {
    // Whatever the user's function throws concerns these frames only, also an Error that says device_failed.
    try {
      s.function(batch.inputs.subspan(f * n_in, n_in), batch.outputs.subspan(f * n_out, n_out));
    } catch (const std::exception& e) {
      s.status = {Errc::stage_failed, s.name + ": " + e.what()};
    } catch (...) {
      s.status = {Errc::stage_failed, s.name + ": threw something that is not a std::exception"};
    }
  }
  return {++s.submitted};
}

Status HostStage::wait(Ticket ticket, Clock::time_point) {
  Impl& s = *impl_;
  if (ticket.id == 0 || ticket.id != s.submitted) {
    return {Errc::bad_argument, s.name + ": waited for a batch that is not in flight"};
  }
  return std::move(s.status);
}

}  // namespace splitcnn::inline v0
