// Does the pipeline keep its promises for a long time, under faults? One line of JSON.
//
//     soak --frames N --sources S --faults RATE --json [--seed X] [--trace FILE]
//         A small network, split over the software DPU and the stand-in of the GPU, with standby routes. S sources of every
//         policy push as fast as they can, leave and come back; about RATE of the batches throw, fail, are slow or hang beyond
//         their deadline, inside submit or inside wait. Every frame is followed from push to result.
//     soak --overload SECONDS --json
//         One drop_oldest camera at five times what the stage can take: the age of what comes out.
//
// Exits with 1 when a promise is broken: a frame lost or doubled, out of order, with another frame's result.
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "splitcnn/splitcnn.hpp"

namespace sc = splitcnn;

namespace {

struct Options {
  std::uint64_t frames = 100'000, seed = 1;
  std::size_t sources = 8;
  double faults = 0.001, overload_s = 0;
  bool json = false;
  std::string trace;
};

long resident_kb() {
  std::ifstream statm{"/proc/self/statm"};
  long total = 0, resident = 0;
  statm >> total >> resident;
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/// Counts by 2 % steps from 1 us on: percentiles of ten million numbers in 8 KB.
class Histogram {
 public:
  void add(double us) {
    const double step = us <= 1 ? 0 : std::log(us) / std::log(1.02);
    ++counts_[std::min(counts_.size() - 1, static_cast<std::size_t>(step))];
    ++total_;
  }
  [[nodiscard]] double percentile(double share) const {
    auto left = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return std::pow(1.02, static_cast<double>(i + 1));
      left -= counts_[i];
    }
    return 0;
  }

 private:
  std::array<std::uint64_t, 1024> counts_{};
  std::uint64_t total_ = 0;
};

// ---- the network: two convolutions, so small that the pipeline itself is most of the work

constexpr int levels = 16;
constexpr std::size_t pixels = 3 * 8 * 8;

sc::Graph network() {
  const auto noise = [](std::size_t n, float scale) {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = scale * (0.2f + static_cast<float>(i * 2654435761u % 97) / 97);
    return values;
  };
  const auto conv = [](sc::TensorId x, sc::TensorId w) {
    return sc::Node{.op = sc::Op::conv,
                    .inputs = {x, w},
                    .window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}};
  };
  sc::GraphBuilder b{"soak"};
  auto x = b.input("x", {1, 3, 8, 8});
  x = b.add({.op = sc::Op::relu, .inputs = {b.add(conv(x, b.constant("w0", {4, 3, 3, 3}, noise(108, 0.05f))))}});
  x = b.add({.op = sc::Op::relu, .inputs = {b.add(conv(x, b.constant("w1", {2, 4, 3, 3}, noise(72, 0.05f))))}});
  b.output(b.add({.op = sc::Op::global_average_pool, .inputs = {x}}));
  return std::move(b).build();
}

/// A frame of one level; what comes out grows with it.
std::vector<float> image(int level) { return std::vector<float>(pixels, static_cast<float>(level) / levels); }

sc::QuantizedGraph calibrated(const sc::Graph& graph) {
  std::vector<sc::Tensor> frames;
  for (int level = 0; level < levels; ++level) {
    sc::Tensor& t = frames.emplace_back(sc::TensorSpec{.name = "x", .shape = {1, 3, 8, 8}});
    const std::vector<float> values = image(level);
    std::memcpy(t.bytes().data(), values.data(), values.size() * sizeof(float));
  }
  return sc::Quantizer{}.calibrate(graph, frames);
}

// ---- faults

struct Faults {
  double rate = 0;
  std::atomic<std::uint64_t> thrown{0}, failed{0}, slow{0}, hung_submit{0}, hung_wait{0};
  std::atomic<bool> armed{false};
};

constexpr sc::Millis deadline{20};

/// Another stage with bad days.
class FaultyStage : public sc::Stage {
 public:
  FaultyStage(std::unique_ptr<sc::Stage> stage, Faults& faults, std::uint64_t seed) : stage_{std::move(stage)}, faults_{faults}, random_{seed} {}

  const std::string& name() const noexcept override { return stage_->name(); }
  const std::string& device() const noexcept override { return stage_->device(); }
  std::span<const sc::TensorSpec> inputs() const noexcept override { return stage_->inputs(); }
  std::span<const sc::TensorSpec> outputs() const noexcept override { return stage_->outputs(); }
  std::size_t preferred_batch() const noexcept override { return stage_->preferred_batch(); }
  std::size_t max_in_flight() const noexcept override { return stage_->max_in_flight(); }
  void prepare() override { stage_->prepare(); }

  sc::Ticket submit(const sc::Batch& batch) override {
    fault_ = faults_.armed && std::uniform_real_distribution{}(random_) < faults_.rate ? 1 + static_cast<int>(random_() % 16) : 0;
    if (fault_ >= 1 && fault_ <= 6) {
      ++faults_.thrown;
      throw std::runtime_error{"thrown on purpose"};
    }
    const sc::Ticket ticket = stage_->submit(batch);
    if (fault_ >= 13 && fault_ <= 14) {
      ++faults_.slow;
      std::this_thread::sleep_for(deadline / 4);
    }
    if (fault_ == 15) {
      ++faults_.hung_submit;
      std::this_thread::sleep_for(deadline * 2);
    }
    return ticket;
  }

  sc::Status wait(sc::Ticket ticket, sc::Clock::time_point until) override {
    if (fault_ == 16) {
      ++faults_.hung_wait;
      std::this_thread::sleep_for(deadline * 2);  // without a look at `until`
    }
    sc::Status status = stage_->wait(ticket, until);
    if (fault_ >= 7 && fault_ <= 12 && status.ok()) {
      ++faults_.failed;
      status = {sc::Errc::stage_failed, "failed on purpose"};
    }
    fault_ = 0;
    return status;
  }

 private:
  std::unique_ptr<sc::Stage> stage_;
  Faults& faults_;
  std::mt19937_64 random_;
  int fault_ = 0;
};

// ---- sources and what came of their frames

/// One stay of a source: it may leave and come back as another one.
struct Stay {
  std::atomic<std::uint64_t> accepted{0}, dropped_at_push{0};
  std::uint64_t results = 0, failed = 0, next = 0;  // the popper's
};

struct Books {
  std::mutex mutex;
  std::vector<std::unique_ptr<Stay>> stays;

  std::size_t open() {
    const std::lock_guard lock{mutex};
    stays.push_back(std::make_unique<Stay>());
    return stays.size() - 1;
  }
  Stay& stay(std::size_t i) {
    const std::lock_guard lock{mutex};
    return *stays[i];
  }
};

/// The tag carries stay and level; the id in the pipeline is checked against the order.
void push_frames(sc::Pipeline& pipe, Books& books, std::size_t number, std::uint64_t frames, std::uint64_t seed,
                 std::atomic<std::uint64_t>& pushed) {
  std::mt19937_64 random{seed};
  std::vector<std::vector<float>> images;
  for (int level = 0; level < levels; ++level) images.push_back(image(level));
  const auto policy = static_cast<sc::Overflow>(number % 3);
  std::optional<sc::Source> source;
  std::size_t stay = 0;
  std::uint64_t leave_at = 0;
  for (std::uint64_t n = 0; n < frames; ++n) {
    if (n >= leave_at) {
      if (source) source->close();
      stay = books.open();
      source = pipe.source({.name = "camera " + std::to_string(number), .overflow = policy});
      leave_at = n + frames / 8 + random() % (frames / 8 + 1);
    }
    const int level = static_cast<int>(random() % levels);
    const auto outcome = source->push(images[static_cast<std::size_t>(level)],
                                      {.timestamp_ns = static_cast<std::int64_t>(n), .tag = stay * levels + static_cast<std::uint64_t>(level)});
    Stay& book = books.stay(stay);
    ++(outcome == sc::Push::queued ? book.accepted : book.dropped_at_push);
    ++pushed;
    // A camera that drops waits for its next frame, or it would do nothing but drop.
    if (policy != sc::Overflow::block && random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds{200});
  }
  if (source) source->close();
}

struct Report {
  std::uint64_t pushed = 0, delivered = 0, dropped = 0, failed = 0, out_of_order = 0, wrong = 0, uncounted = 0;
  long drift_kb = 0;
  double p999_us = 0, seconds = 0;
};

std::vector<float> expected_results(const sc::Plan& plan) {
  const sc::Plan alone{plan.graph(), {}, {sc::Route{{{.device = "cpu", .first = 0, .last = static_cast<sc::NodeId>(plan.graph().nodes().size())}}}}};
  sc::Pipeline pipe{alone, sc::Devices::open("cpu")};
  std::vector<float> values;
  for (int level = 0; level < levels; ++level) {
    const sc::Result result = pipe.infer(image(level));
    values.push_back(result.floats()[0]);
  }
  return values;
}

Report soak(const Options& options, Faults& faults, sc::PipelineStats& stats) {
  const sc::Graph graph = network();
  const sc::Partitioner parts{calibrated(graph)};
  const sc::Plan plan = parts.split_at(1, "dpu:0", "gpu:0").with_fallback();
  const std::vector<float> expected = expected_results(plan);
  const float tolerance = (expected[1] - expected[0]) * 0.45f;

  std::uint64_t wrapped = 0;
  std::optional<sc::Trace> trace;
  if (!options.trace.empty()) trace.emplace();
  sc::Pipeline pipe{plan, sc::Devices::open("dpu:0,gpu:0,cpu"),
                    {.depth = 32,
                     .batch_timeout = sc::Millis{0.2},
                     .stage_deadline = deadline,
                     .check_interval = sc::Millis{1},
                     .wrap = [&](std::unique_ptr<sc::Stage> stage) -> std::unique_ptr<sc::Stage> {
                       return std::make_unique<FaultyStage>(std::move(stage), faults, options.seed * 1000 + ++wrapped);
                     },
                     .trace = trace}};
  pipe.warm_up();
  faults.armed = true;

  Books books;
  std::atomic<std::uint64_t> pushed{0};
  Report report;
  Histogram queueing;
  long warm_kb = 0;
  const auto start = sc::Clock::now();
  {
    std::vector<std::jthread> pushers;
    std::jthread popper{[&] {
      std::uint64_t results = 0;
      double run_us = 0;
      while (auto result = pipe.pop()) {
        const std::size_t stay = result->info().tag / levels, level = result->info().tag % levels;
        Stay& book = books.stay(stay);
        if (result->id() < book.next) ++report.out_of_order;
        book.next = result->id() + 1;
        ++book.results;
        if (!result->ok()) {
          ++book.failed;
        } else if (std::abs(result->floats()[0] - expected[level]) > tolerance) {
          ++report.wrong;
        }
        if (results % 16'384 == 0) {  // what the frame would take alone: the medians of its stages
          run_us = 0;
          const sc::PipelineStats now = pipe.stats();
          for (std::size_t s = 0; s < 2; ++s) run_us += now.stages[s].run_ms_p50 * 1000;
        }
        if (results++ % 256 == 0 && warm_kb == 0 && pushed >= options.frames / 5) warm_kb = resident_kb();
        queueing.add(std::max(0.0, result->latency().count() * 1000 - run_us));
      }
    }};
    for (std::size_t s = 0; s < options.sources; ++s) {
      pushers.emplace_back(push_frames, std::ref(pipe), std::ref(books), s, options.frames / options.sources, options.seed * 77 + s, std::ref(pushed));
    }
    pushers.clear();
    pipe.close();
  }
  report.seconds = sc::Millis{sc::Clock::now() - start}.count() / 1000;
  report.drift_kb = warm_kb == 0 ? 0 : resident_kb() - warm_kb;
  report.p999_us = queueing.percentile(0.999);
  stats = pipe.stats();
  if (trace) trace->save(options.trace);

  for (const sc::SourceStats& s : stats.sources) {
    report.pushed += s.pushed;
    report.delivered += s.delivered;
    report.failed += s.failed;
    report.dropped += s.dropped;
  }
  std::uint64_t results = 0, failed = 0;
  for (const auto& book : books.stays) {
    results += book->results;
    failed += book->failed;
  }
  // Every push was counted, every result seen here is one the pipeline counted, and nothing is still in flight.
  const auto differ = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; };
  report.uncounted = differ(pushed, report.pushed) + differ(results, report.delivered + report.failed) + differ(failed, report.failed) +
                     differ(report.pushed, report.delivered + report.failed + report.dropped) + stats.in_flight;
  return report;
}

/// Frames carry the time of their push; the stage takes 2 ms, the camera gives a frame every 0.4.
bool overload(const Options& options) {
  constexpr auto run_time = std::chrono::microseconds{2000};
  constexpr std::size_t depth = 4;
  std::vector<std::unique_ptr<sc::Stage>> stages;
  stages.push_back(std::make_unique<sc::HostStage>("busy", std::vector<sc::TensorSpec>{{.name = "x", .shape = {1, 4}}},
                                                   std::vector<sc::TensorSpec>{{.name = "y", .shape = {1, 4}}}, [&](auto, auto) {
                                                     const auto until = sc::Clock::now() + run_time;
                                                     while (sc::Clock::now() < until) {
                                                     }
                                                   }));
  sc::Pipeline pipe{std::move(stages), {.overflow = sc::Overflow::drop_oldest, .depth = depth}};
  std::uint64_t last_pushed = 0, last_seen = 0, delivered = 0;
  double oldest_ms = 0, age_sum = 0;
  Histogram ages;
  const auto start = sc::Clock::now();
  std::jthread camera{[&] {
    const std::array<float, 4> frame{};
    auto due = start;
    for (std::uint64_t n = 0; sc::Millis{due - start}.count() < options.overload_s * 1000; ++n) {
      std::this_thread::sleep_until(due += run_time / 5);
      if (pipe.push(frame, {.timestamp_ns = sc::Clock::now().time_since_epoch().count(), .tag = n}) == sc::Push::queued) last_pushed = n;
    }
    pipe.close();
  }};
  sc::Clock::time_point first{}, last{};
  while (const auto result = pipe.pop()) {
    last = sc::Clock::now();
    if (delivered++ == 0) first = last;
    const double age = sc::Millis{last.time_since_epoch() - std::chrono::nanoseconds{result->info().timestamp_ns}}.count();
    oldest_ms = std::max(oldest_ms, age);
    age_sum += age;
    ages.add(age * 1000);
    last_seen = result->info().tag;
  }
  camera.join();
  const sc::PipelineStats stats = pipe.stats();
  const double interval = sc::Millis{last - first}.count() / static_cast<double>(delivered - 1), bound = (depth + 1) * interval;
  std::printf(
      "{\"name\": \"overload\", \"seconds\": %.0f, \"pushed\": %llu, \"delivered\": %llu, \"dropped\": %llu, \"depth\": %zu, \"interval_ms\": %.3f, "
      "\"age_bound_ms\": %.3f, \"age_mean_ms\": %.3f, \"age_p999_ms\": %.3f, \"age_max_ms\": %.3f, \"newest_delivered\": %s, \"version\": \"%s\"}\n",
      options.overload_s, static_cast<unsigned long long>(stats.sources[0].pushed), static_cast<unsigned long long>(delivered),
      static_cast<unsigned long long>(stats.sources[0].dropped), depth, interval, bound, age_sum / static_cast<double>(delivered),
      ages.percentile(0.999) / 1000, oldest_ms, last_seen == last_pushed ? "true" : "false", sc::version());
  return last_seen == last_pushed;
}

bool run(const Options& options) {
  if (options.overload_s > 0) return overload(options);
  sc::set_log_handler([](sc::LogLevel level, std::string_view text) {  // thousands of switches are on purpose here
    if (level == sc::LogLevel::error) std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  });
  Faults faults;
  faults.rate = options.faults;
  sc::PipelineStats stats;
  const Report r = soak(options, faults, stats);
  const auto n = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
  const char* format =
      options.json
          ? "{\"name\": \"soak\", \"pushed\": %llu, \"delivered\": %llu, \"dropped\": %llu, \"failed\": %llu, \"out_of_order\": %llu, \"rss_drift_kb\": "
            "%ld, \"p999_queue_us\": %.0f, \"wrong\": %llu, \"uncounted\": %llu, \"rerouted\": %llu, \"switches\": %llu, \"faults_thrown\": %llu, "
            "\"faults_failed\": %llu, \"faults_slow\": %llu, \"faults_hung\": %llu, \"sources\": %zu, \"seed\": %llu, \"seconds\": %.1f, \"version\": "
            "\"%s\"}\n"
          : "pushed %llu, delivered %llu, dropped %llu, failed %llu, out of order %llu\nresident memory since a fifth of the frames %+ld KB, 99.9 %% of "
            "the frames queued for less than %.0f us\nwrong results %llu, uncounted %llu, rerouted %llu, switches %llu\nfaults: thrown %llu, failed "
            "%llu, slow %llu, hung %llu\n%zu sources, seed %llu, %.1f s, version %s\n";
  std::printf(format, n(r.pushed), n(r.delivered), n(r.dropped), n(r.failed), n(r.out_of_order), r.drift_kb, r.p999_us, n(r.wrong), n(r.uncounted),
              n(stats.rerouted), n(stats.switches), n(faults.thrown), n(faults.failed), n(faults.slow), n(faults.hung_submit + faults.hung_wait),
              options.sources, n(options.seed), r.seconds, sc::version());
  return r.out_of_order == 0 && r.wrong == 0 && r.uncounted == 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string key = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (key == "--json") {
      options.json = true;
      continue;
    }
    if (key == "--frames") options.frames = std::strtoull(value, nullptr, 10);
    if (key == "--sources") options.sources = std::strtoull(value, nullptr, 10);
    if (key == "--faults") options.faults = std::strtod(value, nullptr);
    if (key == "--seed") options.seed = std::strtoull(value, nullptr, 10);
    if (key == "--overload") options.overload_s = std::strtod(value, nullptr);
    if (key == "--trace") options.trace = value;
    ++i;
  }
  if (options.sources < 1 || options.frames < options.sources) {
    std::fprintf(stderr, "usage: soak [--frames N] [--sources S] [--faults RATE] [--overload SECONDS] [--seed X] [--trace FILE] [--json]\n");
    return 2;
  }
  try {
    return run(options) ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "soak: %s\n", e.what());
    return 2;
  }
}
