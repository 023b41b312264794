#include "gpu/cuda/tuner.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "gpu/cuda/kernels/launch.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

constexpr int repeats = 20, launches = 5;
constexpr double runtime_must_win =
    0.95;  // of the time: a runtime-compiled plan is slow to build and to load
constexpr std::uint64_t most_rotated = std::uint64_t{512} << 20;

bool takes_part(const TailOp& op) { return op.kind == TailKind::conv || op.kind == TailKind::fc; }

std::uint64_t frame_bytes(const GpuSegment& segment, std::uint32_t tensor) {
  return tensor == no_tensor ? 0 : static_cast<std::uint64_t>(segment.tensors[tensor].frame_elements) * 2;
}

/// FP16 noise in [-1, 1), the same every time.
std::vector<std::uint16_t> noise(std::uint64_t bytes) {
  std::mt19937 engine{1};
  std::vector<std::uint16_t> values(bytes / 2);
  for (std::uint16_t& v : values) {
    const std::uint32_t r = engine();
    v = static_cast<std::uint16_t>((r & 0x8000u) | (r % 0x3c00u));  // any number below 1
  }
  return values;
}

/// The same numbers up to the order of FP32 sums and one rounding; NaN is wrong.
bool close_enough(const std::vector<std::uint16_t>& got, const std::vector<std::uint16_t>& want) {
  float largest = 0;
  for (const std::uint16_t w : want) largest = std::max(largest, std::fabs(from_half(w)));
  for (std::size_t i = 0; i < want.size(); ++i) {
    const float g = from_half(got[i]), w = from_half(want[i]);
    if (!(std::fabs(g - w) <= 0x1p-9f * std::fabs(w) + 0x1p-11f * largest + 0x1p-20f)) return false;
  }
  return true;
}

std::vector<std::uint16_t> fetch(const DeviceMemory& from, std::uint64_t bytes, cudaStream_t stream) {
  std::vector<std::uint16_t> values(bytes / 2);
  check(cudaMemcpyAsync(values.data(), from.data(), bytes, cudaMemcpyDeviceToHost, stream),
        "a result cannot be read");
  check(cudaStreamSynchronize(stream), "a candidate for a convolution fails");
  return values;
}

}  // namespace

Tuner::Tuner(GpuSegment& segment, std::uint32_t batch)
    : segment_{segment},
      device_{*segment.device},
      batch_{batch},
      stream_{make_stream()},
      start_{make_event(cudaEventDefault)},
      stop_{make_event(cudaEventDefault)},
      handle_{make_dnn_handle()},
      workspace_{static_cast<std::uint64_t>(device_.workspace_cap)} {
  check(cudnnSetStream(handle_.get(), stream_.get()), "cuDNN does not take a stream");
  for (const TailOp& op : segment_.ops) {
    if (!takes_part(op)) continue;
    x_bytes_ = std::max(x_bytes_, frame_bytes(segment_, op.x[0]) * batch);
    y_bytes_ = std::max(y_bytes_, frame_bytes(segment_, op.y) * batch);
  }
  while (rotate_ < 4 && (rotate_ + 1) * (x_bytes_ + y_bytes_) <= most_rotated) ++rotate_;
  x_ = DeviceMemory{x_bytes_ * rotate_};
  y_ = DeviceMemory{y_bytes_ * rotate_};
  z_ = DeviceMemory{y_bytes_};
  expected_ = DeviceMemory{y_bytes_};
  const auto values = noise(std::max(x_bytes_, y_bytes_));
  for (std::size_t i = 0; i < rotate_; ++i)
    check(cudaMemcpy(x_.data() + i * x_bytes_, values.data(), x_bytes_, cudaMemcpyHostToDevice),
          "test data cannot be uploaded");
  if (y_bytes_ != 0)
    check(cudaMemcpy(z_.data(), values.data(), y_bytes_, cudaMemcpyHostToDevice),
          "test data cannot be uploaded");
}

OpCall Tuner::call_of(const TailOp& op) const {
  OpCall call;
  call.op = &op;
  call.frames = batch_;
  call.x[0] = reinterpret_cast<const std::uint16_t*>(x_.data());
  if (op.kind == TailKind::conv && op.x[1] != no_tensor)
    call.x[1] = reinterpret_cast<const std::uint16_t*>(z_.data());
  call.y = reinterpret_cast<std::uint16_t*>(y_.data());
  call.frame_x[0] = segment_.tensors[op.x[0]].frame_elements;
  call.frame_y = segment_.tensors[op.y].frame_elements;
  call.padded_x = segment_.tensors[op.x[0]].padded;
  call.padded_y = segment_.tensors[op.y].padded;
  call.weights = segment_.weights.data();
  return call;
}

void Tuner::own_kernel(const OpCall& call) const {
  with_kernel(call, [&](const auto& body, std::uint32_t blocks, std::uint32_t shared) {
    check(launch(body, blocks, shared, stream_.get()), "a kernel cannot be started");
  });
}

void Tuner::run(const LayerPlan& layer, const OpCall& call, std::size_t turn) {
  OpCall turned = call;
  turned.x[0] = reinterpret_cast<const std::uint16_t*>(x_.data() + turn % rotate_ * x_bytes_);
  turned.y = reinterpret_cast<std::uint16_t*>(y_.data() + turn % rotate_ * y_bytes_);
  if (layer.tier == Tier::own) return own_kernel(turned);
  execute(handle_.get(), layer,
          {.x = turned.x[0],
           .weights = call.weights + call.op->weights,
           .bias = call.weights + call.op->bias,
           .z = call.x[1],
           .y = turned.y},
          workspace_.data());
}

std::vector<LayerPlan> Tuner::candidates(const ConvShape& shape, std::int64_t engine) {
  const ConvGraph graph{shape, *device_.properties};
  const bool full = device_.options.tune == GpuTune::full;
  PlanFilter filter{
      .workspace_cap = device_.workspace_cap,
      .most = device_.options.tune == GpuTune::off ? std::size_t{1}
              : full                               ? std::size_t{16}
                                                   : std::size_t{6},
      .deterministic = device_.options.deterministic != 0 || device_.options.batch_invariant != 0};
  std::vector<LayerPlan> list;
  const auto add = [&](std::vector<ConvPlan> plans, Tier tier) {
    for (ConvPlan& p : plans) {
      if (engine < 0 || p.traits().engine == engine)
        list.push_back({.tier = tier, .plan = std::make_shared<const ConvPlan>(std::move(p))});
    }
  };
  if (engine >= 0) filter.most = 16;
  add(find_plans(graph, *device_.properties, filter), Tier::precompiled);
  if (full && engine < 0) {
    filter.runtime_compiled = true;
    filter.most = 4;
    add(find_plans(graph, *device_.properties, filter), Tier::runtime);
  }
  if (list.empty()) {
    if (auto legacy = LegacyConv::make(handle_.get(), shape, device_.workspace_cap))
      list.push_back(
          {.tier = Tier::legacy, .legacy = std::make_shared<const LegacyConv>(std::move(*legacy))});
  }
  return list;
}

bool Tuner::is_right(const LayerPlan& layer, const OpCall& call) try {
  const std::uint64_t bytes = static_cast<std::uint64_t>(call.frame_y) * 2 * batch_;
  check(cudaMemsetAsync(y_.data(), 0xff, bytes, stream_.get()),
        "a result cannot be poisoned");  // NaN where nothing is written
  run(layer, call, 0);
  return close_enough(fetch(y_, bytes, stream_.get()), fetch(expected_, bytes, stream_.get()));
} catch (const CudnnError&) {
  return false;  // this candidate only; CUDA's errors are the device's
}

std::optional<Tuner::Measured> Tuner::time(const LayerPlan& layer, const OpCall& call) {
  cudaGraph_t raw = nullptr;
  check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
        "a stream cannot be captured");
  bool captured = true;
  try {
    for (std::size_t i = 0; i < repeats; ++i) run(layer, call, i);
  } catch (const std::runtime_error&) {
    captured = false;
  }
  const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &raw);
  const Graph graph{raw};
  if (!captured || ended != cudaSuccess) return std::nullopt;
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, graph.get(), 0), "a graph of repeats cannot be made");
  const GraphExec owned{exec};
  std::vector<float> times;
  for (int i = 0; i <= launches; ++i) {  // the first warms up
    check(cudaEventRecord(start_.get(), stream_.get()), "timing");
    check(cudaGraphLaunch(exec, stream_.get()), "timing");
    check(cudaEventRecord(stop_.get(), stream_.get()), "timing");
    check(cudaEventSynchronize(stop_.get()), "timing");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start_.get(), stop_.get()), "timing");
    if (i > 0) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  const float median = times[times.size() / 2];
  // One outlier is no reason to doubt: the spread of the middle three.
  return Measured{static_cast<double>(median) * 1e3 / repeats, times[3] - times[1] <= 0.05f * median};
}

LayerPlan Tuner::choose(const TailOp& op, std::int64_t engine) {
  const OpCall call = call_of(op);
  OpCall reference = call;
  reference.plain = true;  // the naive convolution
  reference.y = reinterpret_cast<std::uint16_t*>(expected_.data());
  own_kernel(reference);
  std::vector<LayerPlan> list;
  if (is_conv(op)) list = candidates(conv_shape(op, batch_), engine);
  if (op.kind == TailKind::fc || list.empty())
    list.push_back({});  // our own kernel competes where it is meant to be fast
  const LayerPlan* best = nullptr;
  for (LayerPlan& c : list) {
    if (!is_right(c, call)) continue;
    if (device_.options.tune == GpuTune::off) return c;
    auto measured = time(c, call);
    if (measured && !measured->steady) measured = time(c, call);  // once more, then it counts as it is
    if (!measured) continue;
    c.micros = measured->micros;
    const double bar = best && c.tier == Tier::runtime ? runtime_must_win : 1;
    if (!best || c.micros < best->micros * bar) best = &c;
  }
  return best ? *best : LayerPlan{};
}

}  // namespace splitcnn::inline v0::gpu::cuda
