#include "partition/pieces.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/half.hpp"
#include "partition/measured_so_far.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

void fill_with_noise(Tensor& tensor, std::mt19937_64& random) {
  std::uniform_real_distribution<float> unit{-1, 1};
  switch (tensor.spec().dtype) {
    case DType::f32:
      for (float& v : tensor.as<float>()) v = unit(random);
      break;
    case DType::f16:
      for (std::uint16_t& v : tensor.as<std::uint16_t>()) v = to_half(unit(random));
      break;
    case DType::i8:
    case DType::u8:
      for (std::uint8_t& v : tensor.as<std::uint8_t>()) v = static_cast<std::uint8_t>(random());
      break;
  }
}

double quantile(std::vector<double>& values, std::size_t quarter) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) * quarter / 4);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

NoiseBatch::NoiseBatch(const Stage& stage, std::size_t frames)
    : frames_{frames > 0 ? frames : std::max<std::size_t>(stage.preferred_batch(), 1)} {
  std::mt19937_64 random{1};
  const auto make = [&](std::span<const TensorSpec> specs, std::vector<Tensor>& tensors,
                        std::vector<TensorView>& views) {
    for (std::size_t f = 0; f < frames_; ++f) {
      for (const TensorSpec& spec : specs) tensors.emplace_back(spec);
    }
    for (Tensor& t : tensors) views.push_back(t.view());
  };
  make(stage.inputs(), in_, in_views_);
  make(stage.outputs(), out_, out_views_);
  for (Tensor& t : in_) fill_with_noise(t, random);
}

double run_once(Stage& stage, const NoiseBatch& noise) {
  const Clock::time_point start = Clock::now();
  const Status status = stage.wait(stage.submit(noise.batch()), start + std::chrono::minutes{5});
  const double ms = Millis{Clock::now() - start}.count() / static_cast<double>(noise.frames());
  if (!status.ok())
    throw Error{status.code, fmt::format("profile of '{}': {}", stage.name(), status.message)};
  return ms;
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return values.size() % 2 == 1 ? *middle : (*std::max_element(values.begin(), middle) + *middle) / 2;
}

double spread_of(std::vector<double> values) {
  if (values.size() < 2) return 0;
  const double middle = median_of(values);
  return middle > 0 ? (quantile(values, 3) - quantile(values, 1)) / 2 / middle : 0;
}

Pieces::Pieces(const Partitioner& parts, const Devices& devices, const DeviceInfo& info, int runs,
               MeasuredSoFar* so_far)
    : parts_{parts}, devices_{devices}, info_{info}, runs_{std::max(runs, 1)}, so_far_{so_far} {
  const bool dpu = device_kind(info.name) == DeviceKind::dpu;
  for (const DeviceInfo& other : devices.list()) {
    const bool other_dpu = device_kind(other.name) == DeviceKind::dpu;
    if (other_dpu == dpu) continue;
    (other_dpu ? dpu_neighbour_ : float_neighbour_) = other.name;
    break;
  }
}

std::string Pieces::key_of(int first, int last) const {
  return fmt::format("{} {}-{}", info_.name, first, last);
}

PieceTime Pieces::again(int first, int last) {
  const PieceTime before = time(first, last), now = measure(first, last);
  if (!(now.ms < before.ms)) return before;
  if (so_far_) so_far_->add(key_of(first, last), now);
  return now;
}

PieceTime Pieces::time(int first, int last) {
  if (first == last) return {.ms = 0};
  const std::string key = key_of(first, last);
  if (so_far_) {
    if (const auto known = so_far_->find(key)) return *known;
  }
  const PieceTime time = measure(first, last);
  if (so_far_) so_far_->add(key, time);
  return time;
}

PieceTime Pieces::measure(int first, int last) const {
  const std::unique_ptr<Stage> stage = load(first, last);
  if (!stage) return {};
  const NoiseBatch noise{*stage};
  stage->prepare();
  run_once(*stage, noise);
  std::vector<double> ms;
  for (int run = 0; run < runs_; ++run) ms.push_back(run_once(*stage, noise));
  const double spread = spread_of(ms);
  return {median_of(std::move(ms)), spread, noise.frames()};
}

std::unique_ptr<Stage> Pieces::load(int first, int last) const {
  if (device_kind(info_.name) == DeviceKind::dpu) {
    if (!parts_.quant() || (first == 0 && !parts_.cuts()[static_cast<std::size_t>(last)].legal))
      return nullptr;
  }
  try {
    const Plan plan = plan_of(first, last);
    const auto& segments = plan.route(0).segments;
    const auto mine = [&](const Segment& s) { return s.first_unit == first && s.device == info_.name; };
    return devices_.load(plan, *std::find_if(segments.begin(), segments.end(), mine));
  } catch (const Error& e) {
    if (e.code() == Errc::unsupported || e.code() == Errc::not_calibrated) return nullptr;
    throw;
  }
}

Plan Pieces::plan_of(int first, int last) const {
  std::vector<std::string> device(parts_.units().size());
  const bool dpu_before =
      !dpu_neighbour_.empty() && parts_.quant() && parts_.cuts()[static_cast<std::size_t>(first)].legal;
  for (int u = 0; u < units(); ++u) {
    const bool inside = u >= first && u < last;
    device[static_cast<std::size_t>(u)] = inside                    ? info_.name
                                          : u < first && dpu_before ? dpu_neighbour_
                                                                    : float_neighbour_;
  }
  return parts_.switched(device);
}

}  // namespace splitcnn::inline v0
