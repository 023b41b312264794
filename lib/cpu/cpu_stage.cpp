#include "splitcnn/cpu_stage.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "cpu/executor.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/trace.hpp"

namespace splitcnn::inline v0 {

namespace {

CpuExecutor make_executor(const Plan& plan, const Segment& segment, const CpuStageOptions& options) {
  if (options.storage != DType::f32 && options.storage != DType::f16) {
    throw Error{Errc::bad_argument,
                fmt::format("CPU stage: storage {}; use f32 or f16", to_string(options.storage))};
  }
  return {plan.graph(),
          segment.first,
          segment.last,
          {.f16_storage = options.storage == DType::f16,
           .reference = options.reference,
           .threads = options.threads}};
}

std::vector<TensorSpec> specs(const std::vector<EdgeTensor>& edges) {
  std::vector<TensorSpec> list;
  for (const EdgeTensor& e : edges) list.push_back(e.spec);
  return list;
}

std::size_t index_of(std::span<const TensorId> ids, TensorId id) {
  return static_cast<std::size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
}

}  // namespace

struct CpuStage::Impl {
  /// One conversion between an edge tensor and the executor's f32, channels last.
  struct Port {
    Shape logical;
    Representation edge;
    std::size_t index = 0;  // of the executor's input or output
  };

  std::string name, device;
  SegmentIo io;
  std::vector<TensorSpec> inputs, outputs;
  CpuExecutor executor;
  std::vector<Port> entry, exit;
  std::uint64_t submitted = 0;
  Status status;  // of the last batch

  Impl(const Plan& plan, const Segment& segment, const CpuStageOptions& options)
      : name{fmt::format("{}[{},{})", segment.device, segment.first, segment.last)},
        device{segment.device},
        io{segment_io(plan, segment)},
        inputs{specs(io.inputs)},
        outputs{specs(io.outputs)},
        executor{make_executor(plan, segment, options)} {
    const auto port = [&](const EdgeTensor& e, std::span<const TensorId> ids) {
      return Port{plan.graph().tensor(e.id).shape, e.representation, index_of(ids, e.id)};
    };
    for (const EdgeTensor& e : io.inputs) entry.push_back(port(e, executor.input_ids()));
    for (const EdgeTensor& e : io.outputs) exit.push_back(port(e, executor.output_ids()));
  }

  /// `compute` runs the executor.
  template <class Compute>
  void run_frame(std::span<const TensorView> in, std::span<const TensorView> out, Compute compute) {
    constexpr Representation own{};
    std::optional<TraceSpan> span{"convert in"};
    for (std::size_t i = 0; i < entry.size(); ++i) {
      convert(entry[i].logical, entry[i].edge, in[i].data, own,
              reinterpret_cast<std::byte*>(executor.input(entry[i].index).data()));
    }
    span.emplace("compute");
    compute();
    span.emplace("convert out");
    for (std::size_t i = 0; i < exit.size(); ++i) {
      const auto values = executor.output(exit[i].index);
      convert(exit[i].logical, own, reinterpret_cast<const std::byte*>(values.data()), exit[i].edge,
              out[i].data);
    }
  }
};

CpuStage::CpuStage(const Plan& plan, const Segment& segment, const CpuStageOptions& options)
    : impl_{std::make_unique<Impl>(plan, segment, options)} {}
CpuStage::~CpuStage() = default;

const std::string& CpuStage::name() const noexcept { return impl_->name; }
const std::string& CpuStage::device() const noexcept { return impl_->device; }
std::span<const TensorSpec> CpuStage::inputs() const noexcept { return impl_->inputs; }
std::span<const TensorSpec> CpuStage::outputs() const noexcept { return impl_->outputs; }

/// One run on what the buffers hold: OpenMP starts its threads and the weights are touched from the worker's
/// side.
void CpuStage::prepare() { impl_->executor.run(); }

Ticket CpuStage::submit(const Batch& batch) {
  Impl& s = *impl_;
  s.status = {};
  const std::size_t n_in = s.entry.size(), n_out = s.exit.size();
  if (batch.inputs.size() != batch.frames * n_in || batch.outputs.size() != batch.frames * n_out) {
    s.status = {Errc::bad_argument,
                fmt::format("{}: a batch of {} frames needs {} inputs and {} outputs, got {} and {}", s.name,
                            batch.frames, batch.frames * n_in, batch.frames * n_out, batch.inputs.size(),
                            batch.outputs.size())};
    return {++s.submitted};
  }
  try {
    for (std::size_t f = 0; f < batch.frames; ++f) {
      s.run_frame(batch.inputs.subspan(f * n_in, n_in), batch.outputs.subspan(f * n_out, n_out), [&] { s.executor.run(); });
    }
  } catch (const std::exception& e) {
    s.status = {Errc::stage_failed, s.name + ": " + e.what()};
  }
  return {++s.submitted};
}

Status CpuStage::wait(Ticket ticket, Clock::time_point) {
  Impl& s = *impl_;
  if (ticket.id == 0 || ticket.id != s.submitted) {
    return {Errc::bad_argument, s.name + ": waited for a batch that is not in flight"};
  }
  return std::move(s.status);
}

std::vector<NodeTime> CpuStage::time_nodes(const Batch& batch) {
  Impl& s = *impl_;
  if (batch.frames != 1 || batch.inputs.size() != s.entry.size() || batch.outputs.size() != s.exit.size()) return {};
  const Clock::time_point start = Clock::now();
  double before = 0;
  std::vector<NodeTime> times;
  s.run_frame(batch.inputs, batch.outputs, [&] {
    before = Millis{Clock::now() - start}.count();
    times = s.executor.run_timed();
  });
  for (NodeTime& t : times) t.ms += before;
  return times;
}

}  // namespace splitcnn::inline v0
