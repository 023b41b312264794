// splitcnn replay: runs a recording again, on the same devices or on others.
#include <fmt/core.h>

#include <algorithm>

#include "tool.hpp"

namespace tool {

namespace {

struct ReplayOptions {
  std::string model, recording, devices = "dpu,gpu,cpu";
  bool json = false;
};

nlohmann::json replay_json(const sc::Replay& r) {
  nlohmann::json value{{"batches", r.batches},     {"frames", r.frames}, {"tensors", r.tensors},
                       {"different", r.different}, {"failed", r.failed}, {"failed_now", r.failed_now},
                       {"skipped", r.skipped},     {"first", nullptr}};
  if (r.first) {
    value["first"] = {{"stage", r.first->stage},       {"device", r.first->device},
                      {"tensor", r.first->tensor},     {"batch", r.first->batch},
                      {"frame", r.first->frame},       {"element", r.first->element},
                      {"recorded", r.first->recorded}, {"replayed", r.first->replayed},
                      {"elements", r.first->elements}, {"largest", r.first->largest}};
  }
  return value;
}

void replay(const ReplayOptions& options) {
  const Model model = open_model(options.model);
  const std::vector<std::string> specs = device_specs(options.devices);
  const bool on_dpu = std::any_of(specs.begin(), specs.end(), [](const std::string& s) { return is_dpu(s); });
  std::optional<sc::QuantizedGraph> quant;
  if (on_dpu) quant = calibration_of(model);
  const sc::Replay r = sc::replay_recording(options.recording, model.graph, quant, open_devices(specs));
  if (options.json) {
    fmt::print("{}\n", replay_json(r).dump());
    return;
  }
  fmt::print("{} batches, {} frames through the stages of '{}': {} of {} tensors differ\n", r.batches,
             r.frames, model.name, r.different, r.tensors);
  if (r.first) fmt::print("first: {}\n", r.first->sentence());
  if (r.failed > 0) fmt::print("{} batches had failed when recorded: run, not compared\n", r.failed);
  if (r.failed_now > 0) fmt::print("{} batches failed now and had not when recorded\n", r.failed_now);
  if (r.skipped > 0) fmt::print("{} batches of stages that are not the plan's: not run\n", r.skipped);
}

}  // namespace

void add_replay(CLI::App& app) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* command =
      app.add_subcommand("replay", "Runs a recording again and names the first tensor that differs");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME, the one that was recorded")
      ->required();
  command->add_option("RECORDING", options->recording, "what splitcnn run --record wrote")
      ->required()
      ->type_name("R.rec");
  command
      ->add_option("--devices", options->devices, "what to run on; the recording's plan names those it needs")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object instead of text");
  command->footer(
      "Examples:\n  splitcnn run net.onnx --input x.f32 --devices dpu,cpu --output-dir out --record bad.rec\n"
      "  splitcnn replay net.onnx bad.rec --devices dpu=scalar,cpu");
  command->callback([options] { replay(*options); });
}

}  // namespace tool
