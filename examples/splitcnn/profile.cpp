// splitcnn profile: measures every prefix and suffix of a model on the devices here.
#include <fmt/core.h>

#include <cmath>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct ProfileOptions {
  std::string model, output, devices = "dpu,gpu,cpu", frames;
  std::size_t most = 200;
  int runs = 7, contention_cuts = 3;
  bool json = false, hooks = false;
  sc::Granularity granularity = sc::Granularity::block;
};

void print_profile(const sc::Partitioner& parts, const sc::Profile& profile) {
  std::vector<Table::Column> columns{{"cut"}, {"after", Table::Align::left}};
  for (const sc::DeviceProfile& d : profile.devices) {
    columns.push_back({d.device + " before"});
    columns.push_back({"behind"});
  }
  if (!profile.agreement.empty()) columns.push_back({"top-1 as float"});
  Table table{columns, 1};
  for (const sc::Cut& cut : parts.cuts()) {
    std::vector<std::string> row{std::to_string(cut.k), cut.after};
    for (const sc::DeviceProfile& d : profile.devices) {
      row.push_back(milliseconds(d.prefix_ms[static_cast<std::size_t>(cut.k)]));
      row.push_back(milliseconds(d.suffix_ms[static_cast<std::size_t>(cut.k)]));
    }
    if (!profile.agreement.empty()) {
      const double share = profile.agreement[static_cast<std::size_t>(cut.k)];
      row.push_back(std::isnan(share) ? "-" : fmt::format("{:.1f} %", 100 * share));
    }
    table.row(std::move(row));
  }
  fmt::print(
      "Time per frame of everything before and behind each cut, {}; - where a device cannot run it.\n\n{}\n",
      sc::to_string(profile.origin), table.text());
  for (const sc::DeviceProfile& d : profile.devices) {
    fmt::print("{}: {}, {} thread{}, batch {}, {:.3f} ms for one more segment, run-to-run spread {:.1f} %\n",
               d.device, d.backend, d.threads, d.threads == 1 ? "" : "s", d.batch, d.fixed_ms,
               100 * d.spread);
  }
  for (const sc::Contention& c : profile.contention) {
    fmt::print("{} takes {:.2f} times as long while {} is busy\n", c.device, c.factor, c.beside);
  }
}

void profile(const ProfileOptions& options) {
  const Model model = open_model(options.model);
  const std::vector<std::string> specs = device_specs(options.devices);
  const sc::Partitioner parts = partitioner_for(model, specs, options.granularity);
  std::optional<sc::Profile> result;
  {
    ProgressBar bar{"measuring"};
    result = sc::measure(parts, open_devices(specs),
                         {.depth = options.hooks ? sc::MeasureDepth::hooks : sc::MeasureDepth::direct,
                          .runs = options.runs,
                          .contention_cuts = options.contention_cuts,
                          .resume = options.output.empty() ? "" : options.output + ".part",
                          .progress = bar.callback()});
  }
  if (!options.frames.empty()) {
    const std::vector<sc::Tensor> frames =
        read_frames(options.frames, options.most, model, model.sidecar.input_transform);
    ProgressBar bar{"agreement"};
    result->agreement = sc::measure_agreement(parts, open_devices(specs), frames, bar.callback());
    result->agreement_frames = frames.size() / model.graph.inputs().size();
  }
  if (!options.output.empty()) result->save(options.output);
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"profile", options.output},
                                      {"devices", result->devices.size()},
                                      {"cuts", parts.cuts().size()}}
                           .dump());
    return;
  }
  print_profile(parts, *result);
  if (!options.output.empty()) fmt::print("written to {}\n", options.output);
}

}  // namespace

void add_profile(CLI::App& app) {
  auto options = std::make_shared<ProfileOptions>();
  CLI::App* command = app.add_subcommand("profile", "Measures every piece of a model on every device");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  command->add_option("-o,--output", options->output, "profile file to write")->type_name("P.json");
  command->add_option("--devices", options->devices, "what to measure, for example dpu,gpu=cudnn,cpu/2")
      ->capture_default_str();
  command->add_option("--runs", options->runs, "timed runs per piece; the median counts")
      ->check(within(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--hooks", options->hooks,
                    "timestamps inside one build per device instead of a build per cut: seconds, less exact");
  command
      ->add_option("--contention", options->contention_cuts,
                   "cuts at which two devices are timed side by side; 0: not at all")
      ->check(within(0, 5))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--agreement", options->frames,
                   "frames to compare the DPU's answers with float's on, for every cut: folder of images, "
                   "list, or raw float32")
      ->type_name("DIR|FILE");
  command->add_option("--max-frames", options->most, "use at most this many of them")
      ->check(within(1, 100000))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object instead of a table");
  add_granularity(*command, options->granularity);
  command->footer(
      "Examples:\n  splitcnn profile zoo:resnet50 -o resnet50.json\n  splitcnn profile net.onnx --devices "
      "dpu,cpu/2 --runs 15 -o p.json\n\nA measurement with -o that was stopped goes on where it was when it "
      "is started again the same way.");
  command->callback([options] { profile(*options); });
}

}  // namespace tool
