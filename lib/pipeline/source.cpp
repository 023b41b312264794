#include <utility>

#include "pipeline/inputs.hpp"

namespace splitcnn::inline v0 {

Slot::Slot(PipelineFrame* frame) noexcept : frame_{frame} {}
Slot::Slot(Slot&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}

Slot& Slot::operator=(Slot&& other) noexcept {
  Slot old{std::exchange(frame_, std::exchange(other.frame_, nullptr))};
  return *this;
}

Slot::~Slot() {
  if (!frame_) return;
  const std::shared_ptr<PipelineCore> core =
      std::move(frame_->keep_alive);  // perhaps the last one: freed after the token
  core->give_back(*frame_);
}

TensorView Slot::input(std::size_t i) noexcept {
  if (!frame_ || i >= frame_->core->wiring.inputs.size()) return {};
  return frame_->core->input(*frame_, i);
}

Source::Source(std::shared_ptr<PipelineSource> state) noexcept : state_{std::move(state)} {}

Push Source::push(InputBytes inputs, const FrameInfo& info) {
  const std::shared_ptr<PipelineCore> core = state_->core.lock();
  if (!core) return Push::closed;
  check_inputs(*core, inputs);
  const auto [frame, outcome] = core->acquire(*state_, state_->overflow);
  if (!frame) return outcome;
  copy_inputs(*core, *frame, inputs);
  return core->accept(*frame, *state_, info);
}

Push Source::push(std::span<const float> input, const FrameInfo& info) {
  if (const std::shared_ptr<PipelineCore> core = state_->core.lock()) check_float_input(*core, input);
  const std::span<const std::byte> bytes = std::as_bytes(input);
  return push({&bytes, 1}, info);
}

Push Source::push(const CameraFrame& camera, const FrameInfo& info) {
  const std::shared_ptr<PipelineCore> core = state_->core.lock();
  if (!core) return Push::closed;
  check_camera(*core);
  const auto [frame, outcome] = core->acquire(*state_, state_->overflow);
  if (!frame) return outcome;
  convert_input(*core, *state_, *frame, camera);
  return core->accept(*frame, *state_, info);
}

std::optional<Slot> Source::acquire() {
  std::shared_ptr<PipelineCore> core = state_->core.lock();
  if (!core) return std::nullopt;
  PipelineFrame* frame = core->acquire(*state_, state_->overflow).frame;
  if (!frame) return std::nullopt;
  frame->keep_alive = std::move(core);
  return Slot{frame};
}

Push Source::push(Slot slot, const FrameInfo& info) {
  if (!slot.frame_)
    throw Error{Errc::bad_argument, "push: the slot was moved from or pushed before; acquire() a new one"};
  const std::shared_ptr<PipelineCore> core = state_->core.lock();
  if (core && slot.frame_->core != core.get()) {
    throw Error{Errc::bad_argument,
                "push: the slot belongs to another pipeline; push it where it was acquired"};
  }
  if (!core) return Push::closed;
  PipelineFrame* frame = std::exchange(slot.frame_, nullptr);
  frame->keep_alive.reset();
  return core->accept(*frame, *state_, info);
}

void Source::close() noexcept {
  if (const std::shared_ptr<PipelineCore> core = state_->core.lock()) core->close(*state_);
}

const std::string& Source::name() const noexcept { return state_->name; }

}  // namespace splitcnn::inline v0
