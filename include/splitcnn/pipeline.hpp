#pragma once
/// Frames in, results out, in order, with bounded memory.
///
///     Pipeline cam{plan, Devices::open("dpu:0,gpu:0"), {.overflow = Overflow::drop_oldest}};
///     std::jthread grab{[&] {
///       while (camera.read(frame) && cam.push(frame) != Push::closed) {}
///       cam.close();
///     }};
///     while (auto result = cam.pop()) {
///       if (result->ok()) show(result->top(5)); else warn(result->status().message);
///     }
///
/// Several cameras:
///
///     Source front = cam.source({.name = "front", .overflow = Overflow::drop_oldest});
///     Source rear = cam.source({.name = "rear", .overflow = Overflow::block});
///     front.push(frame, {.tag = 7});
///
/// A frame in flight is a token; there are `depth` of them, and a Result keeps its token until it is destroyed. That bounds
/// everything: no queue between stages can fill up, and none can dead-lock. Every pushed frame comes out exactly once:
/// delivered, failed (both as a Result, in order per source) or dropped (counted).
///
/// A watchdog thread sees to deadlines, also while a stage hangs inside submit() or wait(). A batch that misses its deadline
/// fails at once, but its stage may still write to its buffers: those tokens stay out of use until the stage reports the batch
/// complete, or the pipeline is gone. A stage that hangs can so take up every token; push then follows its overflow policy,
/// and frames that already wait for that stage fail after a deadline of their own. What no watchdog can do is end a call: the
/// destructor waits until a stage's submit() or wait() returns. A device whose driver hangs for ever wants a process of its own.
///
/// Switching between routes. Every route of the plan is loaded when the pipeline is built: those with a weight share the frames,
/// those with weight 0 stand by. set_shares() changes the weights while frames flow, from any thread. Besides,
/// the pipeline itself leaves a route when one of its stages
///   - failed `failures_to_leave` batches in a row, or missed a deadline: the stage rests. While it does, its own worker runs a
///     check through it every `check_interval` (one frame of zeros, in buffers of its own); after `checks_to_return` that
///     passed in a row it is back in service, and so are its routes;
///   - reported device_failed: it is lost for good.
/// New frames then go along a route that works, by weight first, standby routes in their order next. Frames that a
/// stage failed, was too late for, or has in its queue when it is left, start again on such a route with the inputs they came
/// with, or go on from where the routes part; each goes along a route at most once. A frame fails only when no route is
/// left for it. Order per source is kept throughout. Every switch is a warning to the log handler and is counted in stats().
///
/// Re-planning while frames flow (PipelineOptions::replan). Devices drift: they get hot, or somebody else uses them. The pipeline compares the
/// time each device takes for its full batches with Segment::expected_ms, and when that has changed it shares the frames anew among the routes
/// it has loaded: any two of those whose stages all work, so that the busiest device is least busy. Give it something to choose
/// from with Partitioner::with_alternatives.
///
/// After fork() only the parent's pipeline works; the child must not touch it, nor destroy it (no worker threads are there).
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/device.hpp"
#include "splitcnn/input_transform.hpp"
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"
#include "splitcnn/trace.hpp"

namespace splitcnn::inline v0 {

/// What push does when every token is taken.
enum class Overflow : std::uint8_t {
  block,        ///< wait for one
  drop_oldest,  ///< give up the oldest frame of this source that no stage has started, else its oldest result nobody has popped, else this frame
  drop_newest,  ///< give up this frame
};

enum class Push : std::uint8_t {
  queued,   ///< accepted (with drop_oldest perhaps at an older frame's cost)
  dropped,  ///< this frame was given up
  closed,   ///< the pipeline or source is closed; nothing was taken
};

/// Deadline of the stages of one device or of one stage.
struct StageDeadline {
  std::string stage_or_device{};  ///< Stage::name() or Stage::device(); the name wins
  Millis deadline{};
};

/// When and how shares are chosen anew. Wants a plan of several routes with expected times in every segment, else bad_argument. The default
/// depth is for the shares at the start; where standby routes are much slower, give more (PipelineOptions::depth).
struct ReplanOptions {
  double drift = 0.15;    ///< by which a device's time must differ from what the shares were chosen by, in two windows in a row
  Millis window{400};     ///< times are averaged over this; it should hold a few batches
  double gain = 0.05;     ///< new shares must promise an interval this much shorter (hysteresis)
  Millis hold{1000};      ///< shares stay at least this long
  /// A device that was left altogether for being slow is not seen any more: after this long it is believed to be as planned, and tried.
  /// Doubles every time that turns out wrong, up to 32 times.
  Millis retry{10'000};
};

struct PipelineOptions {
  Overflow overflow = Overflow::block;                  ///< of the default source
  /// Tokens. 0: 4 x the largest preferred batch (2 where none is above 1) + the number of stages; where routes share the frames, as many more (256 at most) as come in,
  /// by the plan's expected times, while one batch of a route fills and another one runs: results are in order, so those that overtake wait.
  std::size_t depth = 0;
  Millis batch_timeout{20};                             ///< a started batch waits this long for more frames
  Millis stage_deadline{std::chrono::seconds{30}};      ///< per batch; over it the frames fail with Errc::timeout
  std::vector<StageDeadline> deadlines{};               ///< where it is not stage_deadline
  std::size_t failures_to_leave = 3;                    ///< batches in a row after which a stage that can be avoided rests
  std::size_t checks_to_return = 3;                     ///< checks in a row that bring it back
  Millis check_interval{200};
  /// A route whose first device has nothing to do takes the next frame when the one whose turn it is has two batches waiting there: no device
  /// idles while another is behind, at the price of shares that are kept only as far as the devices keep up.
  bool work_conserving = false;
  std::optional<ReplanOptions> replan{};                ///< share frames anew when devices drift
  /// Each stage, once loaded, is replaced by what this makes of it: to measure, to record, to inject faults.
  std::function<std::unique_ptr<Stage>(std::unique_ptr<Stage>)> wrap{};
  std::optional<Trace> trace{};                         ///< where to write what happens
};

struct SourceOptions {
  std::string name{};
  Overflow overflow = Overflow::block;
};

/// Travels with the frame and comes back on its Result.
struct FrameInfo {
  std::int64_t timestamp_ns = 0;  ///< the caller's clock, not interpreted
  std::uint64_t tag = 0;          ///< the caller's
};

/// One frame's outcome. Leases its buffers and its token from the pipeline until destroyed or moved from; may outlive the
/// Pipeline. Move-only.
class SPLITCNN_API Result {
 public:
  Result(Result&&) noexcept;
  Result& operator=(Result&&) noexcept;
  ~Result();

  [[nodiscard]] bool ok() const noexcept { return status().ok(); }
  /// Why it failed, the message names the stage.
  [[nodiscard]] const Status& status() const& noexcept;
  const Status& status() && = delete;
  /// Name of the stage that failed; empty when ok.
  [[nodiscard]] const std::string& failed_stage() const& noexcept;

  [[nodiscard]] std::uint64_t id() const noexcept;          ///< counts this source's pushes from 0; gaps are drops
  [[nodiscard]] const std::string& source() const& noexcept;
  [[nodiscard]] const FrameInfo& info() const noexcept;
  [[nodiscard]] Millis latency() const noexcept;            ///< push accepted to result ready

  /// Output i of the pipeline. Views die with the Result. Throws bad_argument for a wrong index or a failed result.
  [[nodiscard]] const TensorSpec& spec(std::size_t i = 0) const&;
  [[nodiscard]] std::size_t outputs() const noexcept;
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t i = 0) const&;
  std::span<const std::byte> bytes(std::size_t i = 0) && = delete;
  /// Output i as float; throws bad_argument when it is not f32.
  [[nodiscard]] std::span<const float> floats(std::size_t i = 0) const&;
  std::span<const float> floats(std::size_t i = 0) && = delete;
  /// The k largest values of output 0, largest first, with labels where the plan has them. Allocates.
  [[nodiscard]] std::vector<Score> top(std::size_t k, std::size_t output = 0) const;

 private:
  friend class Pipeline;
  explicit Result(struct PipelineFrame* frame) noexcept;
  struct PipelineFrame* frame_;  // the token itself, so that a Result costs no allocation; it keeps the buffers alive
};

/// An input buffer to fill in place (zero-copy capture). Destroying it without push gives the token back.
class SPLITCNN_API Slot {
 public:
  Slot(Slot&&) noexcept;
  Slot& operator=(Slot&&) noexcept;
  ~Slot();
  /// Input i of the pipeline, to be written by the caller; an empty view when there is no such input.
  [[nodiscard]] TensorView input(std::size_t i = 0) noexcept;

 private:
  friend class Source;
  friend class Pipeline;
  explicit Slot(struct PipelineFrame* frame) noexcept;
  struct PipelineFrame* frame_;
};

/// A producer of frames with its own order, ids, drop policy and counters. A cheap handle; copies name the same source. Safe
/// from any thread. May outlive the pipeline (push then says closed).
class SPLITCNN_API Source {
 public:
  /// Copies the inputs (one span per pipeline input, exact size). A wrong size throws mismatch, and so does a plan whose routes
  /// take their input in different types (it wants camera frames or slots); nothing else throws.
  Push push(std::span<const std::span<const std::byte>> inputs, const FrameInfo& info = {});
  Push push(std::span<const float> input, const FrameInfo& info = {});  ///< pipelines with one f32 input
  /// Converts with the plan's input transform, on the calling thread, straight into the head's input. Throws bad_argument for a
  /// frame that cannot be used or a plan without transform.
  Push push(const CameraFrame& frame, const FrameInfo& info = {});

  /// A token to fill in place, by this source's overflow policy; nullopt when dropped or closed.
  [[nodiscard]] std::optional<Slot> acquire();
  /// Throws bad_argument for a slot that was moved from or belongs to another pipeline.
  Push push(Slot slot, const FrameInfo& info = {});

  /// No more frames from this source; the others go on.
  void close() noexcept;
  [[nodiscard]] const std::string& name() const noexcept;

 private:
  friend class Pipeline;
  explicit Source(std::shared_ptr<struct PipelineSource> state) noexcept;
  std::shared_ptr<struct PipelineSource> state_;
};

enum class Health : std::uint8_t {
  good,
  resting,  ///< failed or was late; frames avoid it until its checks pass
  hung,     ///< a batch of it is overdue
  lost,     ///< reported device_failed
};
[[nodiscard]] SPLITCNN_API const char* to_string(Health health) noexcept;

struct StageStats {
  std::string name, device;
  std::uint64_t frames = 0, batches = 0, failed = 0;
  double busy_ms = 0;                  ///< time inside submit and wait, in all
  double wait_ms = 0;                  ///< time the stage's worker had nothing to do, in all
  double run_ms_p50 = 0, run_ms_p99 = 0;  ///< per batch, over the last 1024
  Health health = Health::good;
  std::uint64_t timeouts = 0;          ///< batches over their deadline
  std::uint64_t rerouted = 0;          ///< frames that went on along another route instead of failing here
  std::uint64_t left = 0, checks = 0;  ///< times it was taken out of service; checks run since
};

/// One worker's device, with PipelineOptions::replan.
struct DeviceStats {
  std::string device;
  double drift = 1;          ///< measured over expected time per full batch, in the last window that saw the device
};

struct RouteStats {
  std::string devices;       ///< "dpu:0,gpu:0"
  double share = 0;          ///< of new frames while all routes work; 0 stands by
  bool works = true;         ///< every stage in good health
  std::uint64_t frames = 0;  ///< that came to their end along it, failed ones included
};

struct SourceStats {
  std::string name;
  std::uint64_t pushed = 0;      ///< accepted, plus dropped; pushed = delivered + failed + dropped + still in flight
  std::uint64_t delivered = 0, failed = 0, dropped = 0;
};

struct PipelineStats {
  std::vector<StageStats> stages;
  std::vector<SourceStats> sources;
  std::vector<RouteStats> routes;
  std::vector<DeviceStats> devices;               ///< empty without PipelineOptions::replan
  std::uint64_t replans = 0;                      ///< times the shares were chosen anew for a drift
  std::uint64_t rerouted = 0;                     ///< times a frame changed its route
  std::uint64_t switches = 0;                     ///< times a route was left or came back
  std::size_t depth = 0, in_flight = 0;
  double interval_ms = 0;                         ///< between results, mean over the last 1024
  double latency_ms_p50 = 0, latency_ms_p99 = 0;  ///< over the last 1024
};

/// Move-only. push, pop, close, stats, source: from any thread. The destructor closes, gives up what is in flight, joins;
/// it never throws. It waits for batches that a stage has begun, each until its deadline at most.
class SPLITCNN_API Pipeline {
 public:
  /// Loads every segment on its device. `after` runs behind the plan's last segment, for example a HostStage that decodes
  /// boxes; its inputs are found by name, else by position in the plan's outputs, and its outputs are the pipeline's. Throws
  /// what loading and Stage::prepare() throw, bad_argument for options that make no sense; mismatch names both neighbours.
  Pipeline(const Plan& plan, const Devices& devices, const PipelineOptions& options = {},
           std::vector<std::unique_ptr<Stage>> after = {});
  /// A chain of the caller's own stages. Inputs of a stage are found by name among what came before, else by position in
  /// the outputs of the stage right before it. The nearest name wins; a stage nobody reads from is a mismatch.
  explicit Pipeline(std::vector<std::unique_ptr<Stage>> stages, const PipelineOptions& options = {});
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;
  ~Pipeline();

  [[nodiscard]] std::span<const TensorSpec> inputs() const noexcept;
  [[nodiscard]] std::span<const TensorSpec> outputs() const noexcept;
  /// The plan it runs; nullptr for a chain of own stages.
  [[nodiscard]] const Plan* plan() const noexcept;

  /// A new source. Throws closed after close().
  [[nodiscard]] Source source(const SourceOptions& options);
  /// The default source's.
  Push push(std::span<const std::span<const std::byte>> inputs, const FrameInfo& info = {});
  Push push(std::span<const float> input, const FrameInfo& info = {});
  Push push(const CameraFrame& frame, const FrameInfo& info = {});
  [[nodiscard]] std::optional<Slot> acquire();
  Push push(Slot slot, const FrameInfo& info = {});

  /// The next result of any source, in order per source. pop() waits; nullopt = closed and drained. Throws device_failed once,
  /// after the last frame, when a device was lost for good.
  [[nodiscard]] std::optional<Result> pop();
  [[nodiscard]] std::optional<Result> try_pop();                 ///< nullopt also when nothing is ready
  [[nodiscard]] std::optional<Result> pop_for(Millis timeout);   ///< nullopt also after the timeout

  /// One frame through, waiting for it; its result does not appear in pop(). Takes a token like a push that blocks, so while others
  /// push it wants another thread to pop. Throws closed, mismatch.
  [[nodiscard]] Result infer(std::span<const std::span<const std::byte>> inputs);
  [[nodiscard]] Result infer(std::span<const float> input);
  [[nodiscard]] Result infer(const CameraFrame& frame);

  /// Runs `frames` frames of zeros through every stage of every route, so that the first real frame is as fast as the rest. Not
  /// counted. Waits for tokens like a blocking push. Throws closed, or the first failure that a stage reported.
  void warm_up(std::size_t frames = 0);  ///< 0 = depth

  /// New shares of the routes (of the plan, in its order): at least one above 0, any scale; 0 puts a route on standby. Frames
  /// already accepted go on where they are; nothing is lost or reordered. Re-planning may change them again. Throws bad_argument.
  void set_shares(std::span<const double> shares);

  /// No more frames. What is in flight is finished and can be popped.
  void close() noexcept;
  [[nodiscard]] PipelineStats stats() const;

 private:
  std::shared_ptr<struct PipelineCore> core_;
};

}  // namespace splitcnn::inline v0
