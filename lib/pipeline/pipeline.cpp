#include <utility>

#include "pipeline/inputs.hpp"
#include "pipeline/plan_stages.hpp"

namespace splitcnn::inline v0 {
namespace {

void check_stages(const Stages& stages, const char* what) {
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (!stages[i])
      throw Error{Errc::bad_argument, std::string{what} + ": stage " + std::to_string(i) + " is null"};
  }
}

std::shared_ptr<PipelineCore> run(Stages stages, Wiring wiring, const PipelineOptions& options,
                                  std::optional<Plan> plan) {
  auto core = std::make_shared<PipelineCore>(std::move(stages), std::move(wiring), options, std::move(plan));
  try {
    core->start(options);
  } catch (...) {
    core->shutdown();
    throw;
  }
  core->default_source->overflow = options.overflow;
  return core;
}

void wrap(Stages& stages, const PipelineOptions& options) {
  if (!options.wrap) return;
  for (auto& stage : stages) stage = options.wrap(std::move(stage));
  check_stages(stages, "PipelineOptions::wrap");
}

}  // namespace

Pipeline::Pipeline(const Plan& plan, const Devices& devices, const PipelineOptions& options, Stages after) {
  check_stages(after, "Pipeline: after");
  PlanStages loaded = load_stages(plan, devices);
  const std::size_t first_after = loaded.stages.size();
  for (auto& stage : after) loaded.stages.push_back(std::move(stage));
  wrap(loaded.stages, options);
  Wiring wiring = wire_plan(plan, loaded.stages, loaded.segments, first_after);
  core_ = run(std::move(loaded.stages), std::move(wiring), options, plan);
}

Pipeline::Pipeline(Stages stages, const PipelineOptions& options) {
  if (stages.empty()) throw Error{Errc::bad_argument, "Pipeline: no stages; give at least one"};
  check_stages(stages, "Pipeline");
  wrap(stages, options);
  Wiring wiring = wire_chain(stages);
  core_ = run(std::move(stages), std::move(wiring), options, std::nullopt);
}

Pipeline::Pipeline(Pipeline&&) noexcept = default;

Pipeline& Pipeline::operator=(Pipeline&& other) noexcept {
  Pipeline old{std::move(*this)};
  core_ = std::move(other.core_);
  return *this;
}

Pipeline::~Pipeline() {
  if (core_) core_->shutdown();
}

std::span<const TensorSpec> Pipeline::inputs() const noexcept { return core_->wiring.inputs; }
std::span<const TensorSpec> Pipeline::outputs() const noexcept { return core_->wiring.outputs; }
const Plan* Pipeline::plan() const noexcept { return core_->plan ? &*core_->plan : nullptr; }

Source Pipeline::source(const SourceOptions& options) { return Source{core_->add_source(options)}; }

Push Pipeline::push(InputBytes inputs, const FrameInfo& info) {
  return Source{core_->default_source}.push(inputs, info);
}
Push Pipeline::push(std::span<const float> input, const FrameInfo& info) {
  return Source{core_->default_source}.push(input, info);
}
Push Pipeline::push(const CameraFrame& frame, const FrameInfo& info) {
  return Source{core_->default_source}.push(frame, info);
}
std::optional<Slot> Pipeline::acquire() { return Source{core_->default_source}.acquire(); }
Push Pipeline::push(Slot slot, const FrameInfo& info) {
  return Source{core_->default_source}.push(std::move(slot), info);
}

namespace {

/// Holds the core meanwhile: the caller may be the one who destroys the Pipeline next.
PipelineFrame* pop_frame(std::shared_ptr<PipelineCore> core, std::optional<Clock::duration> timeout) {
  return core->pop(timeout);
}

PipelineFrame& infer_token(PipelineCore& core) {
  PipelineFrame* frame = core.acquire(*core.infer_source, Overflow::block).frame;
  if (!frame) throw Error{Errc::closed, "infer: the pipeline is closed; build a new one"};
  return *frame;
}

}  // namespace

std::optional<Result> Pipeline::pop() {
  PipelineFrame* frame = pop_frame(core_, std::nullopt);
  return frame ? std::optional<Result>{Result{frame}} : std::nullopt;
}

std::optional<Result> Pipeline::try_pop() {
  PipelineFrame* frame = pop_frame(core_, Clock::duration::zero());
  return frame ? std::optional<Result>{Result{frame}} : std::nullopt;
}

std::optional<Result> Pipeline::pop_for(Millis timeout) {
  PipelineFrame* frame = pop_frame(core_, to_clock(timeout));
  return frame ? std::optional<Result>{Result{frame}} : std::nullopt;
}

Result Pipeline::infer(InputBytes inputs) {
  const std::shared_ptr<PipelineCore> core = core_;
  check_inputs(*core, inputs);
  PipelineFrame& frame = infer_token(*core);
  copy_inputs(*core, frame, inputs);
  core->run_private(frame);
  return Result{&frame};
}

Result Pipeline::infer(std::span<const float> input) {
  check_float_input(*core_, input);
  const std::span<const std::byte> bytes = std::as_bytes(input);
  return infer(InputBytes{&bytes, 1});
}

Result Pipeline::infer(const CameraFrame& camera) {
  const std::shared_ptr<PipelineCore> core = core_;
  check_camera(*core);
  PipelineFrame& frame = infer_token(*core);
  convert_input(*core, *core->infer_source, frame, camera);
  core->run_private(frame);
  return Result{&frame};
}

void Pipeline::warm_up(std::size_t frames) {
  const std::shared_ptr<PipelineCore> core = core_;
  core->warm_up(frames);
}

void Pipeline::set_shares(std::span<const double> shares) { core_->set_shares(shares); }
void Pipeline::close() noexcept { core_->close(); }
PipelineStats Pipeline::stats() const { return core_->stats(); }

}  // namespace splitcnn::inline v0
