#pragma once
/// What a Pipeline is inside: tokens, one worker per device, and the order of each source.
/// docs/design/0001-pipeline-tokens.md says why it is built this way.
///
/// One mutex guards everything that says "under the lock". It is held for bookkeeping only, never while a
/// stage, a copy or a conversion runs. Members of a frame are guarded too, except its buffers and status,
/// which belong to whoever the state says: the pusher (filling), the worker (running) or the Result (leased).
#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/trace_buffer.hpp"
#include "pipeline/frame.hpp"
#include "pipeline/replan.hpp"
#include "pipeline/stats.hpp"
#include "pipeline/wiring.hpp"
#include "splitcnn/pipeline.hpp"

namespace splitcnn::inline v0 {

struct PipelineCore;

/// Someone in line for a token, first come, first served: a push that blocks (on its thread's stack), or the
/// claim of a source that drops, so that sources that block cannot keep it out for ever.
struct TokenWaiter {
  PipelineSource* source = nullptr;
  bool is_claim = false;
  std::condition_variable changed;
  PipelineFrame* frame = nullptr;
  bool closed = false;
  TokenWaiter* next = nullptr;
};

/// State behind the Source handles.
struct PipelineSource {
  std::weak_ptr<PipelineCore> core;
  std::string name;
  Overflow overflow = Overflow::block;

  // Under the lock.
  OrderList unfinished;  ///< accepted frames in push order, without those that are ready for pop
  std::uint64_t next_id = 0, delivered = 0, failed = 0, dropped = 0;
  std::size_t undelivered = 0;  ///< accepted, not popped
  bool closed = false;
  TokenWaiter claim;  ///< in line while `claiming`
  bool claiming = false;
  PipelineFrame* reserved = nullptr;  ///< what the claim got: the next push takes it
  Clock::time_point reserved_at;
  std::uint16_t track = 0;  ///< in the trace

  /// Camera frames are converted outside the pipeline's lock; a converter serves one thread at a time.
  std::mutex converting;
  std::vector<std::optional<FrameConverter>> converters;  ///< by route
};

/// Frames a stage works on between submit and wait.
struct BatchInFlight {
  std::vector<PipelineFrame*> frames;  ///< fixed size; the first `count` are used
  std::size_t count = 0;
  Ticket ticket;
  Clock::time_point submitted_at, deadline;
  Clock::duration busy{};  ///< inside submit and wait
  bool overdue = false;    ///< its frames have left it; the stage has not given the buffers back
  bool check = false;      ///< a health check: no frames, buffers of the node's own
  std::uint64_t number = 0;  ///< counts the batches of a device, for the trace
};

struct Worker;

struct StageNode {
  std::unique_ptr<Stage> stage;
  std::string name, device;  ///< outlive the stage: Results show them
  std::size_t position = 0;  ///< the furthest one on any route; downstream stages go first
  std::size_t batch = 1;     ///< frames that make a batch full
  std::size_t n_inputs = 0, n_outputs = 0;

  // Under the lock.
  QueueList queue;
  std::vector<BatchInFlight> ring;  ///< as long as the stage's max_in_flight
  std::size_t first = 0, in_flight = 0;
  bool lost = false;
  Status lost_status;
  Clock::time_point asked_at;              ///< when wait was last called
  Clock::time_point poll_at, stuck_since;  ///< while the oldest batch is overdue
  bool resting = false;                    ///< out of service until checks pass
  Clock::time_point check_at;
  std::size_t failures_in_row = 0, checks_in_row = 0;
  std::uint64_t frames = 0, batches = 0, failed = 0, timeouts = 0, rerouted = 0, left = 0, checks = 0;
  Clock::duration busy{};
  Recent<float> run_ms;
  std::uint64_t full_batches = 0;  ///< that were complete in time, with every place taken
  Clock::duration full_busy{};     ///< of these
  Clock::time_point let_go_at;     ///< when the last batch was complete

  // The worker's own.
  std::vector<TensorView> inputs, outputs;

  // Fixed.
  Worker* worker = nullptr;
  Clock::duration deadline{};
  std::uint64_t routes = 0;  ///< bits of the routes it is on
  bool avoidable = false;    ///< some route does without it
  const char* trace_name = nullptr;
  std::vector<TensorView> check_views;  ///< inputs, then outputs, of a health check; of avoidable stages only

  [[nodiscard]] BatchInFlight& oldest() noexcept { return ring[first]; }
  [[nodiscard]] bool stuck() const noexcept { return in_flight > 0 && ring[first].overdue; }
  [[nodiscard]] bool has_room() const noexcept { return in_flight < ring.size() && !stuck(); }
};

/// One thread for the stages of one device.
struct Worker {
  std::string device;
  std::vector<StageNode*> stages;  ///< downstream first
  std::condition_variable wake;
  bool prepared = false;
  std::optional<Error> prepare_error;
  std::uint16_t track = 0;  ///< in the trace
  std::uint64_t batches = 0;
  Clock::time_point back_by = Clock::time_point::max();  ///< while in a call of a stage: when it should be over
  bool hung = false;                                     ///< it is not, says the watchdog
  Clock::time_point hung_since;
  bool idle = false;
  Clock::time_point idle_since;
  Clock::duration idle_time{};
  std::thread thread;
};

struct AlignedFree {
  void operator()(std::byte* p) const noexcept;
};
using AlignedBuffer = std::unique_ptr<std::byte, AlignedFree>;

struct PipelineCore : std::enable_shared_from_this<PipelineCore> {
  PipelineCore(Stages stages, Wiring wiring, const PipelineOptions& options, std::optional<Plan> plan);
  ~PipelineCore();

  /// Starts the workers and waits until every stage is prepared; throws what prepare() threw.
  void start(const PipelineOptions& options);
  /// Closes, gives up what is in flight, joins, lets go of the stages. Once.
  void shutdown() noexcept;

  // Any thread, without the lock.
  std::shared_ptr<PipelineSource> add_source(const SourceOptions& options);
  struct Granted {
    PipelineFrame* frame = nullptr;
    Push outcome = Push::closed;  ///< why there is none
  };
  Granted acquire(PipelineSource& source, Overflow overflow);
  Push accept(PipelineFrame& frame, PipelineSource& source, const FrameInfo& info);
  void give_back(PipelineFrame& frame);    ///< a filling frame that is not pushed
  void run_private(PipelineFrame& frame);  ///< infer: returns when the frame is leased; throws closed
  PipelineFrame* pop(
      std::optional<Clock::duration> timeout);  ///< nullopt: for ever; throws device_failed once
  void release(PipelineFrame& frame);           ///< of a Result
  void close() noexcept;
  void close(PipelineSource& source) noexcept;
  void warm_up(std::size_t frames);
  void set_shares(std::span<const double> shares);
  PipelineStats stats() const;

  /// Routes (bits) that take their inputs from the same buffers as this one.
  [[nodiscard]] std::uint64_t fed_alike(std::size_t route) const noexcept { return fed_alike_[route]; }
  /// A plan with standby routes: camera frames are converted for every route, so that they can change over.
  [[nodiscard]] bool has_standby() const noexcept { return has_standby_; }

  /// Where input i of the frame's route lies.
  [[nodiscard]] TensorView& input(PipelineFrame& frame, std::size_t i) const noexcept {
    return frame.tensors[wiring.routes[frame.route].inputs[i]];
  }

  // Fixed after construction.
  std::optional<Plan> plan;
  Wiring wiring;
  std::size_t depth = 0;
  std::shared_ptr<PipelineSource> default_source, infer_source;

 private:
  // buffers.cpp
  void make_frames();
  void make_check_buffers();
  void take_offers();
  void take_offer(std::size_t stage, std::size_t slot, std::size_t input, const TensorView& view);
  [[nodiscard]] std::optional<std::size_t> only_tensor(std::size_t stage, std::size_t input) const;

  // tokens.cpp; all under the lock
  PipelineFrame* take_free() noexcept;
  PipelineFrame* start_filling(PipelineFrame* frame, Clock::time_point asked);
  PipelineFrame* oldest_to_drop(PipelineSource& source) noexcept;
  void drop(PipelineFrame& frame);
  PipelineFrame* wait_for_token(std::unique_lock<std::mutex>& lock, PipelineSource& source);
  void line_up(TokenWaiter& waiter) noexcept;
  void claim(PipelineSource& source) noexcept;
  void reserve(PipelineSource& source, PipelineFrame& frame) noexcept;
  void return_reserve(PipelineSource& source);
  void expire_reserves();
  void cancel_waiters(const PipelineSource* source) noexcept;  ///< nullptr: all
  void recycle(PipelineFrame& frame);
  void choose_route(PipelineFrame& frame);
  void unchoose_route(const PipelineFrame& frame);

  // health.cpp; all under the lock
  [[nodiscard]] bool in_service(const StageNode& node) const noexcept;
  [[nodiscard]] Health health(const StageNode& node) const noexcept;
  [[nodiscard]] int fitness(std::size_t route) const noexcept;
  std::size_t pick_route();
  [[nodiscard]] std::size_t one_that_idles(std::size_t due, int fit) const noexcept;
  [[nodiscard]] std::optional<std::size_t> way_around(const PipelineFrame& frame, const StageNode& node) const noexcept;
  [[nodiscard]] std::size_t where_routes_part(const PipelineFrame& frame, std::size_t other) const noexcept;
  bool reroute(PipelineFrame& frame, StageNode& node, Clock::time_point now);
  void take_out(StageNode& node, Clock::time_point now);
  void take_back(StageNode& node);
  void judge(StageNode& node, const Status& status, bool check, Clock::time_point now);
  void empty_queue(StageNode& node, Clock::time_point now);
  StageNode* next_to_check(const Worker& worker, Clock::time_point now);
  void submit_check(StageNode& node, std::unique_lock<std::mutex>& lock);

  // watchdog.cpp
  void watch();
  void look_after(Worker& worker, Clock::time_point now);
  void announce(const StageNode& node, Health before);
  void report(std::unique_lock<std::mutex>& lock);

  // drift.cpp
  void plan_for_drift(const ReplanOptions& options);
  void look_for_drift(std::unique_lock<std::mutex>& lock, Clock::time_point now);
  [[nodiscard]] Replanner::Seen seen_in_window(const Worker& worker, Clock::time_point now) noexcept;

  // tracing.cpp; only called with a trace
  void open_trace();
  void trace_fill(const PipelineFrame& frame) noexcept;
  void trace_batch(const StageNode& node, const BatchInFlight& batch, Clock::time_point now, bool failed) noexcept;
  void trace_result(const PipelineFrame& frame) noexcept;
  void trace_drop(const PipelineSource& source, std::uint64_t id) noexcept;
  void trace_health(const StageNode& node, Health health) noexcept;
  void trace_replan() noexcept;

  // delivery.cpp; all under the lock
  void enqueue(PipelineFrame& frame, Clock::time_point now);
  void advance(PipelineFrame& frame, Clock::time_point now);
  void fail(PipelineFrame& frame, StageNode& node, const Status& status, Clock::time_point now);
  void reroute_or_fail(PipelineFrame& frame, StageNode& node, const Status& status, Clock::time_point now);
  void complete(PipelineFrame& frame, Clock::time_point now);
  void release_in_order(PipelineSource& source, Clock::time_point now);
  void record_result(PipelineFrame& frame, Clock::time_point now);
  void lease(PipelineFrame& frame);
  void abandon_frames();
  void check_drained() noexcept;

  // worker.cpp; all but run() under the lock, which submit and wait give up meanwhile
  void run(Worker& worker);
  void prepare(Worker& worker);
  StageNode* next_to_submit(const Worker& worker, Clock::time_point now);
  StageNode* next_to_wait(const Worker& worker, Clock::time_point now);
  bool nothing_upstream(const StageNode& node) const;
  void expire(Worker& worker, Clock::time_point now);
  [[nodiscard]] Clock::time_point starves_at(const StageNode& node) const noexcept;
  void submit(StageNode& node, std::unique_lock<std::mutex>& lock);
  void start(StageNode& node, BatchInFlight& batch, std::unique_lock<std::mutex>& lock);
  void returned(Worker& worker) noexcept;
  void fill_views(StageNode& node, const BatchInFlight& batch) const;
  void wait(Worker& worker, StageNode& node, std::unique_lock<std::mutex>& lock);
  void overrun(StageNode& node, BatchInFlight& batch, Clock::time_point now);
  void settle(StageNode& node, BatchInFlight& batch, const Status& status, Clock::time_point now);
  void lose(StageNode& node, const Status& status, Clock::time_point now);
  std::optional<Clock::time_point> next_event(const Worker& worker) const;
  void sleep(Worker& worker, std::unique_lock<std::mutex>& lock);
  void wake_all() noexcept;

  Clock::duration batch_timeout_{}, stage_deadline_{}, shortest_deadline_{}, check_interval_{};
  std::size_t failures_to_leave_ = 0, checks_to_return_ = 0;
  bool work_conserving_ = false;
  bool has_standby_ = false;
  std::shared_ptr<TraceBuffer> trace_;  ///< nullptr: off
  std::uint32_t trace_pipeline_ = 0;

  // Order matters: the stages go before the buffers they may still write to.
  std::vector<AlignedBuffer> buffers_;
  std::vector<PipelineFrame> frames_;
  std::vector<StageNode> nodes_;
  std::vector<Worker> workers_;
  std::vector<Worker*> worker_of_;  ///< by stage

  mutable std::mutex mutex_;
  std::condition_variable popped_, prepared_;
  QueueList free_, ready_;
  TokenWaiter* first_waiter_ = nullptr;
  TokenWaiter* last_waiter_ = nullptr;
  std::vector<std::shared_ptr<PipelineSource>> sources_;
  std::vector<std::uint64_t> fed_alike_;
  std::vector<double> shares_;          ///< by route; 0 stands by
  std::vector<double> served_;          ///< by route: frames sent, over share, ahead of the others
  std::vector<std::uint64_t> route_frames_;
  std::uint64_t rerouted_ = 0, switches_ = 0;
  std::size_t taken_ = 0;        ///< tokens that are not free
  std::size_t reserved_ = 0;     ///< of these, set aside for a source
  std::size_t undelivered_ = 0;  ///< accepted for pop, not popped
  bool closed_ = false, stopping_ = false;
  StageNode* first_lost_ = nullptr;
  bool loss_thrown_ = false;
  Recent<float> latency_ms_;
  Recent<Clock::time_point> results_;

  /// What the watchdog has to tell the log handler; when it falls behind the oldest are forgotten, the counters know.
  struct Event {
    const StageNode* node = nullptr;
    Health before{}, after{};
  };
  std::array<Event, 64> events_{};
  std::size_t events_told_ = 0, events_made_ = 0;
  std::condition_variable watch_;
  std::thread watchdog_;

  std::optional<Replanner> replanner_;
  Clock::duration window_{};
  Clock::time_point window_ends_;
  std::vector<double> expected_ms_;  ///< by stage: of a full batch
  struct Noted {
    std::uint64_t batches = 0;
    Clock::duration busy{};
  };
  std::vector<Noted> noted_;  ///< by stage
  std::uint64_t replans_ = 0;
};

/// Millis to the clock's ticks, bounded so that adding it to now cannot overflow.
Clock::duration to_clock(Millis duration) noexcept;

}  // namespace splitcnn::inline v0
