// splitcnn bench: a split beside its baselines, with the same frames, overlap and buffers.
#include "bench.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

constexpr int alternations = 5;

struct BenchOptions {
  std::string model, devices = "dpu,gpu";
  std::optional<int> cut;
  std::size_t frames = 100, depth = 0;
  bool json = false;
  sc::Granularity granularity = sc::Granularity::block;
};

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

double median(const std::vector<double>& values) { return quantile(values, 0.5); }

/// A stage of its own, run on this thread with nothing else running, over as many buffers as a pipeline has.
class IsolatedStage {
 public:
  IsolatedStage(const sc::Devices& devices, const sc::Plan& plan, const sc::Segment& segment, double weight)
      : stage_{devices.load(plan, segment)},
        weight_{weight},
        batch_{std::max<std::size_t>(stage_->preferred_batch(), 1)} {
    for (std::size_t slot = 0; slot < slots; ++slot) {
      for (std::size_t f = 0; f < batch_; ++f) {
        for (const sc::TensorSpec& spec : stage_->inputs()) inputs_.push_back(noise(spec, slot));
        for (const sc::TensorSpec& spec : stage_->outputs()) outputs_.emplace_back(spec);
      }
    }
    for (sc::Tensor& t : inputs_) input_views_.push_back(t.view());
    for (sc::Tensor& t : outputs_) output_views_.push_back(t.view());
    stage_->prepare();
  }

  /// Time per frame over about this many frames.
  double run(std::size_t frames) {
    const std::size_t batches = (frames + batch_ - 1) / batch_;
    const auto start = sc::Clock::now();
    for (std::size_t b = 0; b < batches; ++b) {
      const std::size_t slot = b % slots, in = batch_ * stage_->inputs().size(),
                        out = batch_ * stage_->outputs().size();
      const sc::Batch batch{batch_, std::span{input_views_}.subspan(slot * in, in),
                            std::span{output_views_}.subspan(slot * out, out)};
      const sc::Status status =
          stage_->wait(stage_->submit(batch), sc::Clock::now() + std::chrono::minutes{5});
      if (!status.ok())
        throw sc::Error{status.code, fmt::format("{} alone: {}", stage_->name(), status.message)};
    }
    return sc::Millis{sc::Clock::now() - start}.count() / static_cast<double>(batches * batch_);
  }

  [[nodiscard]] const sc::Stage& stage() const noexcept { return *stage_; }
  [[nodiscard]] double weight() const noexcept { return weight_; }
  std::vector<double> ms;  ///< of every run

 private:
  static constexpr std::size_t slots = 4;

  /// Bytes whose float and int8 meanings are both ordinary numbers.
  static sc::Tensor noise(const sc::TensorSpec& spec, std::size_t seed) {
    sc::Tensor t{spec};
    std::uint32_t state = static_cast<std::uint32_t>(seed) * 2654435761u + 1;
    const auto next = [&state] { return state = state * 1664525u + 1013904223u; };
    if (spec.dtype == sc::DType::f32) {
      for (float& v : t.as<float>()) v = static_cast<float>(static_cast<std::int32_t>(next())) * 0x1p-31f;
    } else if (spec.dtype == sc::DType::f16) {
      for (std::uint16_t& v : t.as<std::uint16_t>())
        v = static_cast<std::uint16_t>((next() >> 16 & 0x83ff) | 0x3800);  // +-0.5 to 1
    } else {
      for (std::uint8_t& v : t.as<std::uint8_t>()) v = static_cast<std::uint8_t>(next() >> 24);
    }
    return t;
  }

  std::unique_ptr<sc::Stage> stage_;
  double weight_;
  std::size_t batch_;
  std::vector<sc::Tensor> inputs_, outputs_;
  std::vector<sc::TensorView> input_views_, output_views_;
};

/// One plan, loaded twice: as a pipeline and as stages of their own.
class Contestant {
 public:
  Contestant(std::string title, std::optional<int> cut, sc::Plan plan, const std::vector<std::string>& specs,
             std::size_t depth)
      : title_{std::move(title)}, cut_{cut}, pipe_{plan, open_devices(specs), {.depth = depth}} {
    const sc::Devices devices = open_devices(specs);
    for (const sc::Route& route : plan.routes()) {
      for (const sc::Segment& segment : route.segments)
        stages_.emplace_back(devices, plan, segment, route.weight);
    }
    for (std::uint64_t seed = 0; seed < 4; ++seed) frames_.push_back(noise_frame(plan.graph(), seed));
    for (const auto& frame : frames_) {
      auto& spans = spans_.emplace_back();
      for (const sc::Tensor& t : frame) spans.push_back(t.bytes());
    }
    busy_.resize(stages_.size());
    pipe_.warm_up();
    for (IsolatedStage& s : stages_) (void)s.run(2);
  }

  void run_isolated(std::size_t frames) {
    for (IsolatedStage& s : stages_) s.ms.push_back(s.run(frames));
  }

  /// Pushes from a thread of its own as fast as the pipeline takes frames.
  void run_pipeline(std::size_t frames) {
    const sc::PipelineStats before = pipe_.stats();
    std::jthread feeder{[&] {
      for (std::size_t f = 0; f < frames; ++f) (void)push(f);
    }};
    sc::Clock::time_point first, last;
    for (std::size_t f = 0; f < frames; ++f) {
      const auto result = pipe_.pop();
      if (!result) throw sc::Error{sc::Errc::closed, title_ + ": the pipeline closed early"};
      check(*result);
      last = sc::Clock::now();
      if (f == 0) first = last;
    }
    feeder.join();
    intervals_.push_back(sc::Millis{last - first}.count() / static_cast<double>(frames - 1));
    note_busy(before, pipe_.stats());
  }

  void run_one_at_a_time(std::size_t frames) {
    for (std::size_t f = 0; f < frames; ++f) {
      const auto start = sc::Clock::now();
      const sc::Result result =
          pipe_.infer(std::span<const std::span<const std::byte>>{spans_[f % spans_.size()]});
      check(result);
      latencies_.push_back(sc::Millis{sc::Clock::now() - start}.count());
    }
  }

  [[nodiscard]] Measurement result() const {
    Measurement m{.title = title_, .cut = cut_};
    m.interval_ms = median(intervals_);
    m.latency_ms_p50 = median(latencies_);
    m.latency_ms_p99 = quantile(latencies_, 0.99);
    std::map<std::string, double> load;
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      const sc::Stage& stage = stages_[s].stage();
      m.stages.push_back({stage.name(), stage.device(), median(stages_[s].ms), median(busy_[s])});
      load[stage.device()] += stages_[s].weight() * m.stages.back().isolated_ms;
    }
    double slowest = 0;
    for (const auto& [device, ms] : load) slowest = std::max(slowest, ms);
    m.efficiency = slowest / m.interval_ms;
    return m;
  }

 private:
  sc::Push push(std::size_t f) {
    return pipe_.push(std::span<const std::span<const std::byte>>{spans_[f % spans_.size()]});
  }

  void check(const sc::Result& result) const {
    if (!result.ok())
      throw sc::Error{result.status().code, fmt::format("{}: {}", title_, result.status().message)};
  }

  void note_busy(const sc::PipelineStats& before, const sc::PipelineStats& after) {
    for (std::size_t s = 0; s < std::min(stages_.size(), after.stages.size()); ++s) {
      const auto frames = static_cast<double>(after.stages[s].frames - before.stages[s].frames);
      if (frames > 0) busy_[s].push_back((after.stages[s].busy_ms - before.stages[s].busy_ms) / frames);
    }
  }

  std::string title_;
  std::optional<int> cut_;
  sc::Pipeline pipe_;
  std::vector<IsolatedStage> stages_;
  std::vector<std::vector<sc::Tensor>> frames_;
  std::vector<std::vector<std::span<const std::byte>>> spans_;
  std::vector<double> intervals_, latencies_;
  std::vector<std::vector<double>> busy_;
};

std::string name_of(const std::string& device) {
  return is_dpu(device) ? "all-DPU" : is_gpu(device) ? "all-GPU" : "all-" + device;
}

/// Which cut a plan stands for: units before it are on the first device of the list.
std::optional<int> cut_of(const sc::Plan& plan, const std::string& head) {
  const auto& segments = plan.route(0).segments;
  return segments.front().device == head ? segments.front().last_unit : 0;
}

/// The interleave baseline shares the frames by what the two devices were measured to take alone.
sc::Plan interleave_plan(const sc::Partitioner& parts, const Measurement& a, const Measurement& b) {
  const std::size_t cuts = parts.cuts().size();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  sc::Profile profile;
  profile.graph_hash = parts.graph().hash();
  profile.granularity = parts.granularity();
  const auto device = [&](const std::string& name) -> sc::DeviceProfile& {
    for (sc::DeviceProfile& d : profile.devices) {
      if (d.device == name) return d;
    }
    profile.devices.push_back(
        {.device = name, .prefix_ms = std::vector(cuts, nan), .suffix_ms = std::vector(cuts, nan)});
    return profile.devices.back();
  };
  for (const Measurement* m : {&a, &b}) {
    const std::size_t k = m->stages.size() == 2 ? static_cast<std::size_t>(*m->cut) : cuts - 1;
    device(m->stages[0].device).prefix_ms[k] = m->stages[0].isolated_ms;
    if (k + 1 == cuts) device(m->stages[0].device).suffix_ms[0] = m->stages[0].isolated_ms;
    if (m->stages.size() == 2) device(m->stages[1].device).suffix_ms[k] = m->stages[1].isolated_ms;
  }
  return parts.interleave(profile, a.stages[0].device, b.stages[0].device);
}

class Bench {
 public:
  Bench(const BenchOptions& options, const Model& model)
      : options_{options},
        model_{model},
        specs_{device_specs(options.devices)},
        parts_{partitioner_for(model, specs_, options.granularity)},
        per_round_{std::max<std::size_t>((options.frames + alternations - 1) / alternations, 2)} {}

  BenchReport run() {
    const sc::Plan plan = choose_plan(parts_, {.devices = specs_, .cut = options_.cut});
    const std::string head = device_name(specs_.front());
    report_ = {.model = model_.name, .frames = per_round_ * alternations, .alternations = alternations};
    if (!options_.cut && specs_.size() == 2) report_.why = plan.why();

    ProgressBar bar{"measuring"};
    const std::optional<int> cut = cut_of(plan, head);
    add(plan.route(0).segments.size() == 1 ? name_of(plan.route(0).segments[0].device)
                                           : fmt::format("split at {}", *cut),
        cut, plan);
    const std::optional<std::size_t> dpu = add_whole([](const std::string& d) { return is_dpu(d); });
    const std::optional<std::size_t> other = add_whole([](const std::string& d) { return !is_dpu(d); });
    std::optional<std::size_t> both;
    if (dpu && other) {
      contestants_[*dpu].run_isolated(5);
      contestants_[*other].run_isolated(5);
      both = add("interleave", std::nullopt,
                 interleave_plan(parts_, contestants_[*dpu].result(), contestants_[*other].result()));
    }
    alternate(bar);
    report_.main = contestants_[0].result();
    if (dpu) report_.all_dpu = contestants_[*dpu].result();
    if (other) report_.all_gpu = contestants_[*other].result();
    if (both) report_.interleave = contestants_[*both].result();
    return std::move(report_);
  }

 private:
  std::size_t add(std::string title, std::optional<int> cut, const sc::Plan& plan) {
    contestants_.emplace_back(std::move(title), cut, plan, specs_, options_.depth);
    return contestants_.size() - 1;
  }

  /// Everything on the first device of a kind, where the list has one.
  template <class Kind>
  std::optional<std::size_t> add_whole(Kind kind) {
    for (const std::string& spec : specs_) {
      const std::string device = device_name(spec);
      if (!kind(device)) continue;
      const sc::Plan plan = parts_.all_on(device);
      const auto& segments = plan.route(0).segments;
      const std::string rest = segments.size() > 1 ? " + " + segments[1].device : "";
      return add(name_of(device) + rest, cut_of(plan, device_name(specs_.front())), plan);
    }
    return std::nullopt;
  }

  void alternate(ProgressBar& bar) {
    const std::size_t all = alternations * contestants_.size();
    std::size_t done = 0;
    for (int round = 0; round < alternations; ++round) {
      for (Contestant& c : contestants_) {
        c.run_isolated(per_round_ / 2 + 1);
        c.run_pipeline(per_round_);
        c.run_isolated(per_round_ / 2 + 1);
        c.run_one_at_a_time(per_round_ / 2 + 1);
        bar.step(++done, all);
      }
    }
  }

  const BenchOptions& options_;
  const Model& model_;
  std::vector<std::string> specs_;
  sc::Partitioner parts_;
  std::size_t per_round_;
  std::vector<Contestant> contestants_;
  BenchReport report_;
};

void bench(const BenchOptions& options) {
  const Model model = open_model(options.model);
  const BenchReport report = Bench{options, model}.run();
  fmt::print("{}", options.json ? to_json(report).dump() + '\n' : to_text(report));
}

}  // namespace

void add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measures a split beside all-DPU, all-GPU and whole frames to either");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  command->add_option("--devices", options->devices, "head and tail")->capture_default_str();
  add_cut(*command, options->cut);
  add_granularity(*command, options->granularity);
  command->add_option("--frames", options->frames, "frames per configuration, in five alternations")
      ->check(within(10, 100000000))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--depth", options->depth, "frames in flight, 0: the library's choice")
      ->check(within(0, 4096))
      ->type_name("N");
  command->add_flag("--json", options->json, "one JSON object");
  command->footer(
      "Examples:\n  splitcnn bench zoo:resnet50\n  splitcnn bench net.onnx --devices dpu,gpu --cut 7 "
      "--frames 500 --json\n"
      "Frames are seeded noise. Every number is measured on this machine.");
  command->callback([options] { bench(*options); });
}

}  // namespace tool
