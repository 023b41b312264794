#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "pipeline/pipeline_core.hpp"

namespace splitcnn::inline v0 {
namespace {

const Status moved_from{Errc::bad_argument, "this Result was moved from; use the one it was moved to"};
const std::string nothing;

}  // namespace

Result::Result(PipelineFrame* frame) noexcept : frame_{frame} {}
Result::Result(Result&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}

Result& Result::operator=(Result&& other) noexcept {
  Result old{std::exchange(frame_, std::exchange(other.frame_, nullptr))};
  return *this;
}

Result::~Result() {
  if (!frame_) return;
  const std::shared_ptr<PipelineCore> core =
      std::move(frame_->keep_alive);  // perhaps the last one: freed after the token
  core->release(*frame_);
}

const Status& Result::status() const& noexcept { return frame_ ? frame_->status : moved_from; }
const std::string& Result::failed_stage() const& noexcept {
  return frame_ && frame_->failed_stage ? *frame_->failed_stage : nothing;
}
std::uint64_t Result::id() const noexcept { return frame_ ? frame_->id : 0; }
const std::string& Result::source() const& noexcept { return frame_ ? frame_->source->name : nothing; }

const FrameInfo& Result::info() const noexcept {
  static constexpr FrameInfo none;
  return frame_ ? frame_->info : none;
}

Millis Result::latency() const noexcept {
  return frame_ ? Millis{frame_->ready_at - frame_->accepted_at} : Millis{0};
}

std::size_t Result::outputs() const noexcept { return frame_ ? frame_->core->wiring.outputs.size() : 0; }

const TensorSpec& Result::spec(std::size_t i) const& {
  if (!ok())
    throw Error{Errc::bad_argument,
                "Result: a failed frame has no outputs (" + status().message + "); ask ok() first"};
  if (i >= outputs()) {
    throw Error{Errc::bad_argument, "Result: output " + std::to_string(i) +
                                        " does not exist; the pipeline has " + std::to_string(outputs())};
  }
  return frame_->core->wiring.outputs[i];
}

std::span<const std::byte> Result::bytes(std::size_t i) const& {
  const TensorSpec& tensor = spec(i);
  const PipelineCore& core = *frame_->core;
  return {frame_->tensors[core.wiring.routes[frame_->route].outputs[i]].data, tensor.bytes()};
}

std::span<const float> Result::floats(std::size_t i) const& {
  const TensorSpec& tensor = spec(i);
  if (tensor.dtype != DType::f32) {
    throw Error{Errc::bad_argument, "Result: output " + std::to_string(i) + " '" + tensor.name + "' is " +
                                        to_string(tensor.dtype) + ", not f32; use bytes()"};
  }
  const std::span<const std::byte> raw = bytes(i);
  return {reinterpret_cast<const float*>(raw.data()), raw.size() / sizeof(float)};
}

std::vector<Score> Result::top(std::size_t k, std::size_t output) const {
  const std::span<const float> values = floats(output);
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  k = std::min(k, order.size());
  // NaN counts as smallest, equal values keep their order.
  const auto larger = [&](int a, int b) {
    const float x = values[static_cast<std::size_t>(a)], y = values[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) == std::isnan(y) ? a < b : std::isnan(y);
    return x != y ? x > y : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(), larger);
  const auto& plan = frame_->core->plan;
  std::vector<Score> best;
  for (std::size_t i = 0; i < k; ++i) {
    const auto index = static_cast<std::size_t>(order[i]);
    best.push_back({.index = order[i], .value = values[index]});
    if (plan && index < plan->labels.size()) best.back().label = plan->labels[index];
  }
  return best;
}

}  // namespace splitcnn::inline v0
