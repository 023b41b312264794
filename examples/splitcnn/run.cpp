// splitcnn run: frames from a file through a model, outputs into files.
#include <fmt/core.h>

#include <exception>
#include <fstream>
#include <thread>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct RunOptions {
  std::string model, input, devices = "dpu,gpu", output_dir, plan, trace, record;
  std::string dpu_backend;
  sc::DpuWorkerOptions worker;
  std::vector<std::filesystem::path> xmodels;
  std::optional<int> cut;
  bool json = false;
  sc::Granularity granularity = sc::Granularity::block;
};

sc::Plan plan_of(const RunOptions& options, const Model& model, const std::vector<std::string>& specs) {
  if (!options.plan.empty()) {
    const bool dpu = std::any_of(specs.begin(), specs.end(), is_dpu);
    sc::Plan plan =
        sc::Plan::load(options.plan, model.graph, dpu ? std::optional{calibration_of(model)} : std::nullopt);
    plan.input_transform.reset();  // the frames are float tensors
    return plan;
  }
  const sc::Partitioner parts = partitioner_for(model, specs, options.granularity);
  return choose_plan(parts, {.devices = specs, .cut = options.cut});
}

/// The devices with what --dpu-backend says.
std::vector<std::string> dpu_specs(const RunOptions& options) {
  std::vector<std::string> specs = device_specs(options.devices);
  for (std::string& spec : specs) {
    if (!options.dpu_backend.empty() && is_dpu(spec) && spec.find('=') == std::string::npos) spec.insert(device_name(spec).size(), "=" + options.dpu_backend);
  }
  return specs;
}

/// Output i of the model goes to <i>.f32, whatever order the pipeline has them in.
class OutputFiles {
 public:
  OutputFiles(const std::filesystem::path& folder, const sc::Graph& graph, const sc::Pipeline& pipe) {
    std::filesystem::create_directories(folder);
    for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
      const std::string& name = graph.tensor(graph.outputs()[i]).name;
      const auto specs = pipe.outputs();
      const auto found =
          std::find_if(specs.begin(), specs.end(), [&](const sc::TensorSpec& s) { return s.name == name; });
      if (found == specs.end())
        throw sc::Error{sc::Errc::mismatch,
                        fmt::format("output '{}' does not come out of the pipeline", name)};
      index_.push_back(static_cast<std::size_t>(found - specs.begin()));
      paths_.push_back(folder / fmt::format("{}.f32", i));
      files_.emplace_back(paths_.back(), std::ios::binary | std::ios::trunc);
    }
  }

  void write(const sc::Result& result) {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto bytes = result.bytes(index_[i]);
      files_[i].write(reinterpret_cast<const char*>(bytes.data()),
                      static_cast<std::streamsize>(bytes.size()));
    }
  }

  void finish() {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      files_[i].close();
      if (!files_[i])
        throw sc::Error{sc::Errc::io,
                        fmt::format("{}: cannot be written; is the disk full?", paths_[i].string())};
    }
  }

  [[nodiscard]] const std::vector<std::filesystem::path>& paths() const noexcept { return paths_; }

 private:
  std::vector<std::size_t> index_;
  std::vector<std::filesystem::path> paths_;
  std::vector<std::ofstream> files_;
};

void push_all(sc::Pipeline& pipe, RawFrames& frames) {
  std::vector<sc::Tensor> frame = frames.buffers();
  std::vector<std::span<const std::byte>> spans;
  for (const sc::Tensor& t : frame) spans.push_back(t.bytes());
  for (std::size_t f = 0; f < frames.count(); ++f) {
    frames.next(frame);
    if (pipe.push(std::span<const std::span<const std::byte>>{spans}) == sc::Push::closed) return;
  }
}

void stream(sc::Pipeline& pipe, RawFrames& frames, OutputFiles& outputs) {
  std::exception_ptr feeding_failed;
  ProgressBar bar{"running"};
  std::size_t done = 0;
  {
    std::jthread feeder{[&] {
      try {
        push_all(pipe, frames);
      } catch (...) {
        feeding_failed = std::current_exception();
      }
      pipe.close();
    }};
    struct CloseAnyway {  // so that an error while popping does not leave the feeder waiting for room
      sc::Pipeline& pipe;
      ~CloseAnyway() { pipe.close(); }
    } close_anyway{pipe};
    while (const auto result = pipe.pop()) {
      if (!result->ok()) {
        throw sc::Error{result->status().code,
                        fmt::format("frame {}: {}", result->id(), result->status().message)};
      }
      outputs.write(*result);
      bar.step(++done, frames.count());
    }
  }
  if (feeding_failed) std::rethrow_exception(feeding_failed);
  outputs.finish();
}

std::string route_text(const sc::Plan& plan) {
  std::string text;
  for (const sc::Segment& s : plan.route(0).segments) {
    text += fmt::format("{}{} (units {} to {})", text.empty() ? "" : ", then ", s.device, s.first_unit,
                        s.last_unit);
  }
  return text;
}

void run(const RunOptions& options) {
  const Model model = open_model(options.model);
  RawFrames frames{options.input, model.graph};
  const std::vector<std::string> specs = dpu_specs(options);
  const sc::Plan plan = plan_of(options, model, specs);
  std::optional<sc::Trace> trace;
  if (!options.trace.empty()) trace.emplace();
  std::optional<sc::Recorder> recorder;
  if (!options.record.empty()) recorder.emplace(options.record, plan);
  sc::DpuWorkerOptions worker = options.worker;
  if (options.xmodels.size() == 1) worker.xmodel = options.xmodels[0];
  else worker.xmodels = options.xmodels;
  sc::Pipeline pipe{plan, open_devices(specs, worker), {.wrap = recorder ? recorder->wrap() : nullptr, .trace = trace}};
  OutputFiles outputs{options.output_dir, model.graph, pipe};
  pipe.warm_up();

  const auto start = sc::Clock::now();
  stream(pipe, frames, outputs);
  const double ms = sc::Millis{sc::Clock::now() - start}.count();
  if (trace) trace->save(options.trace);
  if (recorder) recorder->finish();

  if (options.json) {
    nlohmann::json segments = nlohmann::json::array(), files = nlohmann::json::array();
    for (const sc::Segment& s : plan.route(0).segments) {
      segments.push_back({{"device", s.device}, {"first_unit", s.first_unit}, {"last_unit", s.last_unit}});
    }
    for (const auto& path : outputs.paths()) files.push_back(path.string());
    fmt::print(
        "{}\n",
        nlohmann::json{{"frames", frames.count()}, {"ms", ms}, {"segments", segments}, {"outputs", files}}
            .dump());
    return;
  }
  fmt::print("{}: {} frames in {:.1f} ms on {}\n", model.name, frames.count(), ms, route_text(plan));
  for (std::size_t i = 0; i < outputs.paths().size(); ++i) {
    const sc::TensorSpec spec = float_spec(model.graph, model.graph.outputs()[i]);
    fmt::print("  {}  {} {} per frame\n", outputs.paths()[i].string(), spec.name, sc::to_string(spec.shape));
  }
  if (!options.cut && specs.size() == 2 && options.plan.empty()) fmt::print("{}", wrapped(plan.why()));
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Runs frames from a file and writes the outputs");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  command
      ->add_option("--input", options->input,
                   "raw little-endian float32 frames, one after another, in the model's own layout")
      ->required()
      ->type_name("X.f32");
  command
      ->add_option("--devices", options->devices,
                   "cpu (the float network), dpu, gpu, or a split such as dpu,gpu")
      ->capture_default_str();
  add_cut(*command, options->cut);
  add_granularity(*command, options->granularity);
  command->add_option("--plan", options->plan, "a plan file instead of --cut")->type_name("PLAN.json");
  command->add_option("--output-dir", options->output_dir, "output number i goes to <i>.f32 there")
      ->required()
      ->type_name("D");
  command->add_option("--dpu-backend", options->dpu_backend, "software, scalar, vart (a worker here), or tcp://HOST:PORT (on a board)")->type_name("B");
  command->add_option("--dpu-mode", options->worker.mode, "for vart: run (the DPU) or ref (the vendor's CPU reference)")->type_name("MODE");
  command->add_option("--xmodel", options->xmodels, "for vart: the head's file, as the worker's machine names it; several for plans with several DPU segments")->type_name("FILE");
  command->add_option("--dpu-key", options->worker.key, "key file of a worker on a board")->type_name("FILE");
  command->add_option("--dpu-worker", options->worker.program, "the splitcnn-dpu-worker to start")->type_name("PROGRAM");
  command->add_option("--trace", options->trace, "what ran when, for ui.perfetto.dev or chrome://tracing")->type_name("T.json");
  command->add_option("--record", options->record, "what every stage was given and gave back, first 100 frames, for splitcnn replay")->type_name("R.rec");
  command->add_flag("--json", options->json, "one JSON object instead of text");
  command->footer(
      "Examples:\n  splitcnn run mnist.onnx --input digits.f32 --devices cpu --output-dir out\n"
      "  splitcnn run mobilenet_v2.onnx --input x.f32 --devices dpu,gpu --cut 9 --output-dir out\n"
      "  splitcnn run mnist.onnx --input x.f32 --devices dpu --dpu-backend vart --dpu-mode ref --xmodel head.xmodel --output-dir out");
  command->callback([options] { run(*options); });
}

}  // namespace tool
