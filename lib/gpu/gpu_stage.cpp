// GpuStage: the plug-in where it and a GPU are there, the CPU in FP16-storage mode where not.
#include "splitcnn/gpu_stage.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <set>

#include "core/log.hpp"
#include "gpu/engine.hpp"
#include "gpu/piece_chain.hpp"
#include "gpu/plugin.hpp"
#include "gpu/tail/build.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/cpu_stage.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Once per process and device: a pipeline has many segments and says this once.
void warn_stand_in(const std::string& device, const std::string& reason) {
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

int index_of(const std::string& device) {
  const std::size_t colon = device.find(':');
  int index = 0;
  if (colon != std::string::npos)
    std::from_chars(device.data() + colon + 1, device.data() + device.size(), index);
  return index;
}

std::int64_t remaining_ns(Clock::time_point deadline) {
  if (deadline == Clock::time_point::max()) return -1;
  return std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count());
}

}  // namespace

struct GpuStage::Impl {
  /// A batch in flight: its views, kept so that it can run again.
  struct Flight {
    std::uint64_t ticket = 0;
    std::size_t frames = 0;
    std::vector<TensorView> in, out;
    Status refused;  // not ok: never reached the device
  };

  struct Free {
    void operator()(std::byte* p) const noexcept { std::free(p); }
  };
  using Buffer = std::unique_ptr<std::byte, Free>;
  static constexpr std::size_t page = 4096;

  const Plan plan;
  const Segment segment;
  const GpuStageOptions options;
  std::string name;
  SegmentIo io;
  std::vector<TensorSpec> inputs, outputs;
  gpu::GpuPlugin plugin;
  gpu::TailProgram program;
  std::vector<std::pair<Buffer, std::size_t>> buffers;  // offered to the producer
  std::size_t carved = 0;                               // of options.direct, offered
  bool reachable = false;                               // options.direct, by the GPU
  bool direct = true;
  std::unique_ptr<gpu::Engine> engine;     // the GPU ...
  std::unique_ptr<gpu::PieceChain> chain;  // ... or the GPU and the CPU by turns ...
  std::unique_ptr<CpuStage> cpu;           // ... or the CPU
  std::vector<std::string> pieces;
  std::vector<Flight> flights;  // oldest first; at most a handful
  std::vector<Flight> spare;    // their vectors are used again
  std::uint64_t submitted = 0;
  bool rebuilt = false;
  std::uint64_t good = 0;  // batches in a row without a failure
  static constexpr std::uint64_t trust_after = 1000;

  Impl(const Plan& p, const Segment& s, const GpuStageOptions& o)
      : plan{p},
        segment{s},
        options{o},
        name{fmt::format("{}[{},{})", s.device, s.first, s.last)},
        io{segment_io(p, s)} {
    for (const EdgeTensor& e : io.inputs) inputs.push_back(e.spec);
    for (const EdgeTensor& e : io.outputs) outputs.push_back(e.spec);
    const auto& sizes = gpu::tail_batches;
    if (std::find(std::begin(sizes), std::end(sizes), static_cast<std::uint32_t>(options.max_batch)) ==
        std::end(sizes))
      throw Error{Errc::bad_argument,
                  fmt::format("{}: max_batch {}; use 1, 2, 3, 4, 6, 8, 12 or 16", name, options.max_batch)};
    std::string why;
    if (!start_gpu(why)) start_cpu(why);
  }

  gpu::GpuDeviceOptions device_options() const {
    return {.tune = static_cast<gpu::GpuTune>(options.tune),
            .deterministic = options.deterministic,
            .batch_invariant = options.batch_invariant,
            .spin = options.spin,
            .cache_dir = options.cache_dir.empty() ? nullptr : options.cache_dir.c_str()};
  }

  /// False with the reason when there is no GPU to use.
  bool start_gpu(std::string& why) {
    plugin = gpu::load_plugin();
    gpu::GpuDeviceInfo info{};
    if (!gpu::device_usable(plugin, index_of(segment.device), info, why)) return false;
    try {
      const auto split = split_by_device();
      const bool all_gpu = split.size() == 1 && split[0].on_gpu;
      const bool none = split.size() == 1 && !split[0].on_gpu;
      for (const gpu::TailPiece& piece : split) {
        pieces.push_back(piece.on_gpu
                             ? fmt::format("{} nodes [{}, {})", segment.device, piece.first, piece.last)
                             : "cpu " + piece.reason);
        if (!piece.on_gpu) log(LogLevel::warning, fmt::format("{}: {}", name, piece.reason));
      }
      if (none) {
        why = split[0].reason;
        return false;
      }
      if (!all_gpu) {
        chain = std::make_unique<gpu::PieceChain>(plan, segment, split, options);
        return true;
      }
      program = gpu::build_tail(plan, segment);
      rebuild();
      return true;
    } catch (const Error& e) {
      why = e.what();
      return false;
    }
  }

  std::vector<gpu::TailPiece> split_by_device() const {
    const gpu::GpuApi& api = *plugin.api;
    gpu::GpuDevice* device = nullptr;
    gpu::GpuError e{};
    const gpu::GpuDeviceOptions device_opts = device_options();
    if (api.open(index_of(segment.device), &device_opts, &device, &e) != gpu::GpuCode::ok)
      throw Error{Errc::no_device, gpu::explain(e)};
    const auto refuse = [&](gpu::TailProgram& p, std::size_t i) {
      const gpu::TailView view = p.view();
      gpu::GpuError said{};
      return api.supports(device, &view, i, &said) == gpu::GpuCode::ok ? std::string{} : gpu::explain(said);
    };
    std::vector<gpu::TailPiece> split;
    try {
      split = gpu::split_tail(plan.graph(), segment.first, segment.last, refuse);
    } catch (...) {
      api.close(device);
      throw;
    }
    api.close(device);
    return split;
  }

  void rebuild() {
    engine.reset();  // first: two copies of the weights may not fit
    engine = std::make_unique<gpu::Engine>(*plugin.api, index_of(segment.device), device_options(), program,
                                           static_cast<std::uint32_t>(options.max_batch));
    adopt_buffers();
    engine->ring().use_direct(direct);
  }

  /// What cannot be pinned or imported is staged.
  void adopt_buffers() {
    gpu::Ring& ring = engine->ring();
    for (const auto& [memory, bytes] : buffers) ring.adopt(memory.get(), bytes);
    const GpuDirectMemory& d = options.direct;
    if (!d.mapped) return;
    reachable = d.dmabuf >= 0 ? ring.adopt_dmabuf(d.dmabuf, d.mapped, d.bytes)
                              : ring.adopt(d.mapped, d.bytes, gpu::GpuHostMemory::io);
  }

  void start_cpu(const std::string& why) {
    if (options.backend == GpuBackend::cudnn)
      throw Error{Errc::no_device, fmt::format("{}: {}; use GpuBackend::automatic to run on the CPU instead",
                                               segment.device, why)};
    warn_stand_in(segment.device, why);
    if (pieces.empty())
      pieces.push_back(fmt::format("cpu nodes [{}, {}): {}", segment.first, segment.last, why));
    make_cpu();
  }
  void make_cpu() {
    cpu = std::make_unique<CpuStage>(plan, segment,
                                     CpuStageOptions{.storage = DType::f16, .threads = options.threads});
  }

  /// After a failure of the device: everything anew, once, and what is in flight again; if that fails, too,
  /// the CPU. A device that has worked long enough since is trusted with another rebuild.
  void recover(const std::string& what) {
    const bool again = !rebuilt || good >= trust_after;
    rebuilt = true;
    good = 0;
    log(LogLevel::error, fmt::format("{}: {}; {}", name, what,
                                     again ? "building everything anew and running the frames in flight again"
                                           : "the CPU takes over for good"));
    if (again && try_rebuild()) return;
    if (again) log(LogLevel::error, name + ": the GPU did not come back; the CPU takes over for good");
    engine.reset();
    make_cpu();
    cpu->prepare();
  }
  bool try_rebuild() {
    try {
      rebuild();
      for (Flight& f : flights) {
        if (f.refused.ok() && engine->ring().submit(f.frames, f.in, f.out, nullptr) != gpu::GpuCode::ok)
          return false;
      }
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  /// One input of one slot for the producer: in the memory of its own device while that lasts, else pinned
  /// memory of ours.
  std::byte* add_buffer(std::size_t bytes) {
    const std::size_t whole = (bytes + page - 1) / page * page;
    if (reachable && carved + bytes <= options.direct.bytes) {
      std::byte* at = static_cast<std::byte*>(options.direct.mapped) + carved;
      carved += whole;
      return at;
    }
    Buffer buffer{static_cast<std::byte*>(std::aligned_alloc(page, whole))};
    if (!buffer || !engine->ring().adopt(buffer.get(), whole)) return nullptr;
    buffers.emplace_back(std::move(buffer), whole);
    return buffers.back().first.get();
  }

  Flight& fly(const Batch& batch) {
    if (spare.empty()) spare.emplace_back();
    flights.push_back(std::move(spare.back()));
    spare.pop_back();
    Flight& f = flights.back();
    f.ticket = ++submitted;
    f.frames = batch.frames;
    f.in.assign(batch.inputs.begin(), batch.inputs.end());
    f.out.assign(batch.outputs.begin(), batch.outputs.end());
    f.refused = {};
    return f;
  }

  void land() {
    spare.push_back(std::move(flights.front()));
    flights.erase(flights.begin());
  }

  Status run_on_cpu(const Flight& f, Clock::time_point deadline) {
    return cpu->wait(cpu->submit({f.frames, f.in, f.out}), deadline);
  }
};

GpuStage::GpuStage(const Plan& plan, const Segment& segment, const GpuStageOptions& options)
    : impl_{std::make_unique<Impl>(plan, segment, options)} {}
GpuStage::~GpuStage() = default;

bool GpuStage::available(std::string* why, int index) {
  gpu::GpuDeviceInfo info{};
  std::string reason;
  const bool usable = gpu::device_usable(gpu::load_plugin(), index, info, reason);
  if (why) *why = usable ? fmt::format("{}, {}", info.name, info.libraries) : reason;
  return usable;
}
const char* GpuStage::backend() const noexcept { return impl_->cpu ? "cpu-f16" : "cudnn"; }
const std::vector<std::string>& GpuStage::pieces() const noexcept { return impl_->pieces; }

const std::string& GpuStage::name() const noexcept { return impl_->name; }
const std::string& GpuStage::device() const noexcept { return impl_->segment.device; }
std::span<const TensorSpec> GpuStage::inputs() const noexcept { return impl_->inputs; }
std::span<const TensorSpec> GpuStage::outputs() const noexcept { return impl_->outputs; }
std::size_t GpuStage::preferred_batch() const noexcept {
  return impl_->engine ? static_cast<std::size_t>(impl_->options.max_batch) : 1;
}
std::size_t GpuStage::max_in_flight() const noexcept { return impl_->engine ? 4 : 1; }

void GpuStage::prepare() {
  Impl& s = *impl_;
  if (s.cpu) return s.cpu->prepare();
  if (!s.engine) return;
  gpu::GpuError e{};
  gpu::GpuCode code = s.engine->ring().prepare(&e);
  if (code == gpu::GpuCode::ok) code = s.engine->ring().choose_path(&e);
  if (code != gpu::GpuCode::ok) return s.recover(gpu::explain(e));
  s.direct = s.engine->ring().direct();
}

std::string GpuStage::transfer() const {
  const Impl& s = *impl_;
  if (!s.engine) return "none";
  const gpu::PathTimes times = s.engine->ring().path_times();
  const char* path = s.engine->ring().direct() ? "direct" : "staged";
  if (times.direct_ns == 0) return path;
  return fmt::format("{}: one frame {:.1f} us direct, {:.1f} us staged", path,
                     static_cast<double>(times.direct_ns) / 1e3, static_cast<double>(times.staged_ns) / 1e3);
}

Ticket GpuStage::submit(const Batch& batch) {
  Impl& s = *impl_;
  Impl::Flight& f = s.fly(batch);
  if (batch.inputs.size() != batch.frames * s.inputs.size() ||
      batch.outputs.size() != batch.frames * s.outputs.size()) {
    f.refused = {Errc::bad_argument, s.name + ": the number of views does not fit the number of frames"};
    return {f.ticket};
  }
  if (s.chain) f.refused = s.chain->run(batch);
  if (!s.engine) return {f.ticket};  // the chain has run; the CPU computes in wait()
  gpu::GpuError e{};
  const gpu::GpuCode code = s.engine->ring().submit(f.frames, f.in, f.out, &e);
  if (code == gpu::GpuCode::bad_argument || code == gpu::GpuCode::not_ready) {
    f.refused = {Errc::bad_argument,
                 fmt::format("{}: a batch of {} frames with {} in flight; at most {} frames and 4 batches",
                             s.name, f.frames, s.engine->ring().in_flight(), s.options.max_batch)};
  } else if (code != gpu::GpuCode::ok) {
    s.recover(gpu::explain(e));  // this batch is among those in flight
  }
  return {f.ticket};
}

Status GpuStage::wait(Ticket ticket, Clock::time_point deadline) {
  Impl& s = *impl_;
  if (s.flights.empty() || s.flights.front().ticket != ticket.id)
    return {Errc::bad_argument, s.name + ": waited for a batch that is not the next in flight"};
  Impl::Flight& f = s.flights.front();
  Status status = f.refused;
  while (status.ok() && s.engine) {
    gpu::GpuError e{};
    const gpu::GpuCode code = s.engine->ring().wait(remaining_ns(deadline), &e);
    if (code == gpu::GpuCode::ok) {
      ++s.good;
      break;
    }
    if (code == gpu::GpuCode::timeout)
      return {Errc::timeout, s.name + ": the GPU has not finished by the deadline"};
    s.recover(gpu::explain(e));
  }
  if (status.ok() && s.cpu) status = s.run_on_cpu(f, deadline);
  s.land();
  return status;
}

/// The memory is the stage's and pinned where it lies: it survives a device that is built anew.
std::optional<std::vector<TensorView>> GpuStage::try_input_buffers(std::size_t) {
  Impl& s = *impl_;
  if (!s.engine) return std::nullopt;
  std::vector<TensorView> views;
  for (const TensorSpec& spec : s.inputs) {
    std::byte* data = s.add_buffer(spec.bytes());
    if (!data) return std::nullopt;
    views.push_back({data, &spec, 1, Memory::pinned});
  }
  return views;
}

}  // namespace splitcnn::inline v0
