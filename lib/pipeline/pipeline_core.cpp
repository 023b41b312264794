#include "pipeline/pipeline_core.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "pipeline/depth.hpp"

namespace splitcnn::inline v0 {
namespace {

void check_options(const PipelineOptions& options) {
  if (!(options.batch_timeout.count() >= 0)) {
    throw Error{Errc::bad_argument, "PipelineOptions::batch_timeout: negative; 0 sends every batch as it is"};
  }
  if (!(options.stage_deadline.count() > 0)) {
    throw Error{Errc::bad_argument,
                "PipelineOptions::stage_deadline: not positive; give the time a batch may take"};
  }
  if (options.failures_to_leave == 0 || options.checks_to_return == 0 || !(options.check_interval.count() > 0)) {
    throw Error{Errc::bad_argument,
                "PipelineOptions: failures_to_leave, checks_to_return and check_interval must be above 0"};
  }
}

/// The deadline of a stage: its own, else its device's, else that of all.
Millis deadline_of(const StageNode& node, const PipelineOptions& options) {
  for (const std::string* name : {&node.name, &node.device}) {
    for (const StageDeadline& d : options.deadlines) {
      if (d.stage_or_device == *name) return d.deadline;
    }
  }
  return options.stage_deadline;
}

void check_deadlines(const std::vector<StageNode>& nodes, const PipelineOptions& options) {
  for (const StageDeadline& d : options.deadlines) {
    const bool known = std::any_of(nodes.begin(), nodes.end(), [&](const StageNode& n) {
      return n.name == d.stage_or_device || n.device == d.stage_or_device;
    });
    if (known && d.deadline.count() > 0) continue;
    throw Error{Errc::bad_argument, "PipelineOptions::deadlines: '" + d.stage_or_device +
                                        (known ? "': not positive; give the time a batch may take"
                                               : "' is no stage and no device of this pipeline")};
  }
}

}  // namespace

Clock::duration to_clock(Millis duration) noexcept {
  constexpr Millis longest = std::chrono::hours{24 * 365 * 10};
  return std::chrono::duration_cast<Clock::duration>(std::clamp(duration, Millis{0}, longest));
}

PipelineCore::PipelineCore(Stages stages, Wiring wired, const PipelineOptions& options,
                           std::optional<Plan> for_plan)
    : plan{std::move(for_plan)},
      wiring{std::move(wired)},
      depth{choose_depth(stages, wiring, plan ? &*plan : nullptr, options.depth)},
      batch_timeout_{to_clock(options.batch_timeout)},
      check_interval_{to_clock(options.check_interval)},
      failures_to_leave_{options.failures_to_leave},
      checks_to_return_{options.checks_to_return},
      work_conserving_{options.work_conserving},
      nodes_(stages.size()),
      worker_of_(stages.size()),
      served_(wiring.routes.size()),
      route_frames_(wiring.routes.size()) {
  check_options(options);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    StageNode& node = nodes_[s];
    node.stage = std::move(stages[s]);
    node.name = node.stage->name();
    node.device = node.stage->device();
    node.n_inputs = node.stage->inputs().size();
    node.n_outputs = node.stage->outputs().size();
    if (node.stage->preferred_batch() == 0 || node.stage->max_in_flight() == 0) {
      throw Error{Errc::bad_argument,
                  "stage '" + node.name + "': preferred_batch() and max_in_flight() must be at least 1"};
    }
    // A batch larger than depth could never fill.
    node.batch = std::min(node.stage->preferred_batch(), depth);
    node.ring.resize(std::min(node.stage->max_in_flight(), depth));
    for (BatchInFlight& batch : node.ring) batch.frames.resize(node.batch);
    node.inputs.resize(node.batch * node.n_inputs);
    node.outputs.resize(node.batch * node.n_outputs);
  }
  check_deadlines(nodes_, options);
  shortest_deadline_ = to_clock(options.stage_deadline);
  for (StageNode& node : nodes_) {
    node.deadline = to_clock(deadline_of(node, options));
    shortest_deadline_ = std::min(shortest_deadline_, node.deadline);
  }
  for (std::size_t r = 0; r < wiring.routes.size(); ++r) {
    const WiredRoute& route = wiring.routes[r];
    shares_.push_back(route.weight);
    fed_alike_.push_back(0);
    for (std::size_t other = 0; other < wiring.routes.size(); ++other) {
      if (wiring.routes[other].inputs == route.inputs) fed_alike_[r] |= std::uint64_t{1} << other;
    }
    has_standby_ = has_standby_ || route.weight == 0;
    for (std::size_t k = 0; k < route.steps.size(); ++k) {
      StageNode& node = nodes_[route.steps[k].stage];
      node.position = std::max(node.position, k);
      node.routes |= std::uint64_t{1} << r;
    }
  }
  for (StageNode& node : nodes_) {
    node.avoidable = static_cast<std::size_t>(std::popcount(node.routes)) < wiring.routes.size();
  }
  make_frames();
  make_check_buffers();
  if (options.trace) trace_ = TraceAccess::buffer(*options.trace);
  if (trace_) open_trace();
}

PipelineCore::~PipelineCore() = default;

void PipelineCore::start(const PipelineOptions& options) {
  default_source = add_source({.name = "default"});
  infer_source = add_source({.name = "infer"});

  std::vector<std::vector<std::size_t>> groups;  // stages that share a device share a thread
  for (std::size_t s = 0; s < nodes_.size(); ++s) {
    const auto shares = [&](const std::vector<std::size_t>& g) {
      return !nodes_[s].device.empty() && nodes_[g.front()].device == nodes_[s].device;
    };
    const auto group = std::find_if(groups.begin(), groups.end(), shares);
    if (group == groups.end()) {
      groups.push_back({s});
    } else {
      group->push_back(s);
    }
  }
  workers_ = std::vector<Worker>(groups.size());
  for (std::size_t w = 0; w < groups.size(); ++w) {
    Worker& worker = workers_[w];
    worker.device = nodes_[groups[w].front()].device;
    for (const std::size_t s : groups[w]) {
      worker.stages.push_back(&nodes_[s]);
      worker_of_[s] = &worker;
      nodes_[s].worker = &worker;
    }
    if (trace_) worker.track = trace_->add_track(trace_pipeline_, TraceBuffer::TrackKind::device, worker.device);
    // Downstream first: what is nearly done frees its token soonest.
    std::stable_sort(worker.stages.begin(), worker.stages.end(),
                     [](const StageNode* a, const StageNode* b) { return a->position > b->position; });
  }
  if (options.replan) plan_for_drift(*options.replan);
  for (Worker& worker : workers_) worker.thread = std::thread{[this, &worker] { run(worker); }};

  std::unique_lock lock{mutex_};
  for (Worker& worker : workers_) {
    prepared_.wait(lock, [&] { return worker.prepared; });
    if (worker.prepare_error) throw Error{*worker.prepare_error};
  }
  watchdog_ = std::thread{[this] { watch(); }};
}

void PipelineCore::shutdown() noexcept {
  {
    const std::lock_guard lock{mutex_};
    closed_ = stopping_ = true;
    cancel_waiters(nullptr);
    popped_.notify_all();
    watch_.notify_all();
    wake_all();
  }
  for (Worker& worker : workers_) {
    if (worker.thread.joinable()) worker.thread.join();
  }
  if (watchdog_.joinable()) watchdog_.join();
  bool filling = false;
  {
    const std::lock_guard lock{mutex_};
    abandon_frames();
    filling = std::any_of(frames_.begin(), frames_.end(),
                          [](const auto& f) { return f.state == FrameState::filling; });
  }
  // A push or a Slot may be writing to memory a stage offered; then the stages stay as long as the buffers.
  if (filling) return;
  for (StageNode& node : nodes_) node.stage.reset();
}

std::shared_ptr<PipelineSource> PipelineCore::add_source(const SourceOptions& options) {
  auto source = std::make_shared<PipelineSource>();
  source->core = weak_from_this();
  source->overflow = options.overflow;
  source->converters.resize(wiring.routes.size());
  source->claim.source = source.get();
  source->claim.is_claim = true;
  const std::lock_guard lock{mutex_};
  if (closed_)
    throw Error{Errc::closed,
                "source '" + options.name + "': the pipeline is closed; add sources before close()"};
  source->name = options.name.empty() ? "source " + std::to_string(sources_.size()) : options.name;
  if (trace_) source->track = trace_->add_track(trace_pipeline_, TraceBuffer::TrackKind::source, source->name);
  sources_.push_back(source);
  return source;
}

void PipelineCore::warm_up(std::size_t frames) {
  PrivateWaiter waiter;
  bool closed = false;
  const std::size_t each = frames == 0 ? depth : frames;
  for (std::size_t n = 0; n < each * wiring.routes.size() && !closed; ++n) {
    const Granted granted = acquire(*infer_source, Overflow::block);
    if (!granted.frame) {
      closed = true;
      break;
    }
    PipelineFrame& frame = *granted.frame;
    {
      const std::lock_guard lock{mutex_};
      unchoose_route(frame);  // warm-up goes along every route and leaves the turns of the real frames alone
      frame.route = n / each;
      frame.filled = fed_alike(frame.route);
    }
    for (std::size_t i = 0; i < wiring.routes[frame.route].inputs.size(); ++i) {
      const TensorView& view = input(frame, i);
      std::memset(view.data, 0, view.bytes());
    }
    const std::lock_guard lock{mutex_};
    closed = closed_;
    if (closed) {
      recycle(frame);
      break;
    }
    frame.delivery = Delivery::warm_up;
    frame.waiter = &waiter;
    ++waiter.outstanding;
    enqueue(frame, Clock::now());
  }
  std::unique_lock lock{mutex_};
  waiter.changed.wait(lock, [&] { return waiter.outstanding == 0; });
  if (closed) throw Error{Errc::closed, "warm_up: the pipeline is closed; build a new one"};
  if (!waiter.failure.ok()) throw Error{waiter.failure.code, "warm_up: " + waiter.failure.message};
}

PipelineStats PipelineCore::stats() const {
  PipelineStats stats;
  std::vector<std::vector<float>> runs;
  std::vector<float> latencies;
  {
    const std::lock_guard lock{mutex_};
    const Clock::time_point now = Clock::now();
    for (std::size_t s = 0; s < nodes_.size(); ++s) {
      const StageNode& node = nodes_[s];
      const Worker& worker = *worker_of_[s];
      const Clock::duration idle =
          worker.idle_time + (worker.idle ? now - worker.idle_since : Clock::duration{});
      stats.stages.push_back({.name = node.name,
                              .device = node.device,
                              .frames = node.frames,
                              .batches = node.batches,
                              .failed = node.failed,
                              .busy_ms = to_ms(node.busy),
                              .wait_ms = to_ms(idle),
                              .health = health(node),
                              .timeouts = node.timeouts,
                              .rerouted = node.rerouted,
                              .left = node.left,
                              .checks = node.checks});
      runs.push_back(node.run_ms.values());
    }
    for (const auto& source : sources_) {
      if (source == infer_source && source->next_id == 0) continue;
      stats.sources.push_back({.name = source->name,
                               .pushed = source->next_id,
                               .delivered = source->delivered,
                               .failed = source->failed,
                               .dropped = source->dropped});
    }
    for (std::size_t r = 0; r < wiring.routes.size(); ++r) {
      RouteStats& route = stats.routes.emplace_back();
      for (const Step& step : wiring.routes[r].steps) route.devices += (route.devices.empty() ? "" : ",") + nodes_[step.stage].device;
      route.share = shares_[r];
      route.works = fitness(r) == 2;
      route.frames = route_frames_[r];
    }
    for (std::size_t w = 0; replanner_ && w < workers_.size(); ++w) {
      stats.devices.push_back({.device = workers_[w].device, .drift = replanner_->drift()[w]});
    }
    stats.replans = replans_;
    stats.rerouted = rerouted_;
    stats.switches = switches_;
    stats.depth = depth;
    stats.in_flight = taken_ - reserved_;
    if (results_.size() > 1) {
      stats.interval_ms =
          to_ms(results_.newest() - results_.oldest()) / static_cast<double>(results_.size() - 1);
    }
    latencies = latency_ms_.values();
  }
  for (std::size_t s = 0; s < runs.size(); ++s) {
    stats.stages[s].run_ms_p50 = percentile(runs[s], 0.50);
    stats.stages[s].run_ms_p99 = percentile(std::move(runs[s]), 0.99);
  }
  stats.latency_ms_p50 = percentile(latencies, 0.50);
  stats.latency_ms_p99 = percentile(std::move(latencies), 0.99);
  return stats;
}

}  // namespace splitcnn::inline v0
