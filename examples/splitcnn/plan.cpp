// splitcnn plan: the best plan by a profile, and why.
#include <fmt/core.h>

#include <algorithm>

#include "plan_command.hpp"
#include "terminal.hpp"

namespace tool {

namespace {

struct PlanOptions {
  std::string model, output, objective = "interval", strategy = "best", devices, weights;
  ProfileSource source;
  sc::Granularity granularity = sc::Granularity::block;
  double frame_interval_ms = 0, frames_per_second = 0, batch_timeout_ms = 20;
  sc::Limits limits;
  bool json = false, try_out = false;
};

const std::map<std::string, sc::Objective> objectives{{"interval", sc::Objective::interval},
                                                      {"latency", sc::Objective::latency},
                                                      {"energy", sc::Objective::energy},
                                                      {"weighted", sc::Objective::weighted}};
const std::map<std::string, std::vector<sc::Strategy>> strategies{{"best", {}},
                                                                  {"split", {sc::Strategy::split}},
                                                                  {"switch", {sc::Strategy::switched}},
                                                                  {"interleave", {sc::Strategy::interleave}},
                                                                  {"hybrid", {sc::Strategy::hybrid}}};

sc::ObjectiveWeights parse_weights(const std::string& text) {
  sc::ObjectiveWeights w;
  if (text.empty()) return w;
  if (std::sscanf(text.c_str(), "%lf,%lf,%lf", &w.interval, &w.latency, &w.energy) < 2) {
    throw sc::Error{sc::Errc::bad_argument, "--weights '" + text + "': give INTERVAL,LATENCY[,ENERGY], for example 1,0.2"};
  }
  return w;
}

/// The choice becomes what ran fastest.
std::vector<sc::TriedPlan> try_out(const sc::Partitioner& parts, sc::Choice& choice, const std::string& devices, sc::Objective objective) {
  ProgressBar bar{"trying"};
  sc::Trial trial = sc::try_plans(parts, choice, sc::Devices::open(devices), {.objective = objective, .progress = bar.callback()});
  const std::string& won = trial.tried.front().name;
  choice.chosen = *std::find_if(choice.contenders.begin(), choice.contenders.end(), [&](const sc::Considered& c) { return c.name == won; });
  choice.chosen.cost = trial.plan.expected();
  choice.plan = std::move(trial.plan);
  return std::move(trial.tried);
}

void plan(const PlanOptions& options) {
  const Model model = open_model(options.model);
  const auto [parts, profile, forecast] = open_profile(model, options.source, options.granularity);
  const std::vector<std::string> names = planned_devices(options.devices, profile);
  const double period = options.frames_per_second > 0 ? 1000 / options.frames_per_second : options.frame_interval_ms;
  sc::Choice choice = parts.choose(profile, {.objective = objectives.at(options.objective),
                                                   .weights = parse_weights(options.weights),
                                                   .limits = options.limits,
                                                   .strategies = strategies.at(options.strategy),
                                                   .a = names[0],
                                                   .b = names[1],
                                                   .frame_interval_ms = period,
                                                   .batch_timeout_ms = options.batch_timeout_ms});
  const std::vector<sc::Candidate> rows =
      parts.candidates(profile, {.head = names[0], .tail = names[1], .frame_interval_ms = period});
  std::vector<sc::TriedPlan> tried;
  if (options.try_out) tried = try_out(parts, choice, options.devices.empty() ? names[0] + "," + names[1] : options.devices, objectives.at(options.objective));
  if (!options.output.empty()) choice.plan.save(options.output);
  if (options.json) {
    nlohmann::json result = plan_json(choice, rows);
    if (options.try_out) result["tried"] = tried_json(tried);
    if (forecast) {
      result["forecast"] = {{"k", forecast->k},           {"interval_ms", forecast->interval_ms},    {"low_ms", forecast->low_ms},
                            {"high_ms", forecast->high_ms}, {"contenders", forecast->contenders}};
    }
    fmt::print("{}\n", result.dump());
  } else {
    print_plan(parts, choice, rows, names);
    if (options.try_out) print_tried(tried);
    if (forecast) {
      std::string contenders;
      for (const int k : forecast->contenders) contenders += fmt::format("{}{}", contenders.empty() ? "" : ", ", k);
      fmt::print("best single cut {}: {:.3f} ms predicted, {:.3f} to {:.3f} with the predictor's confidence; worth measuring: {}\n", forecast->k,
                 forecast->interval_ms, forecast->low_ms, forecast->high_ms, contenders);
    }
  }
}

/// Keys of a map as the values an option takes.
template <class Map>
CLI::Validator one_of(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return CLI::IsMember(keys);
}

}  // namespace

std::vector<std::string> planned_devices(const std::string& asked, const sc::Profile& profile) {
  std::vector<std::string> names;
  if (!asked.empty()) {
    for (const std::string& spec : device_specs(asked)) names.push_back(device_name(spec));
  } else {
    for (const sc::DeviceProfile& d : profile.devices) names.push_back(d.device);
    std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      const auto rank = [](const std::string& name) { return is_dpu(name) ? 0 : is_gpu(name) ? 1 : 2; };
      return rank(a) < rank(b);
    });
    if (names.size() > 2) names.resize(2);
  }
  if (names.size() == 1) names.push_back(names.front());
  if (names.size() != 2) {
    throw sc::Error{sc::Errc::bad_argument, "--devices: give the head's device and the tail's, for example dpu,gpu"};
  }
  return names;
}

void add_profile_source(CLI::App& command, ProfileSource& source) {
  auto* file = command.add_option("--profile", source.file, "what 'splitcnn profile' wrote")->type_name("P.json");
  command.add_option("--model", source.model, "modelled devices instead: zoo (VCK190 + RTX 2080), table1 (the paper's), or a file of device models")
      ->type_name("zoo|table1|FILE")
      ->excludes(file);
  command.add_option("--predictor", source.predictor, "predicted times instead: weights of a trained predictor, no device needed")
      ->type_name("FILE.safetensors")
      ->excludes(file)
      ->excludes(command.get_option("--model"));
}

Profiled open_profile(const Model& model, const ProfileSource& source, sc::Granularity granularity) {
  if (source.file.empty() && source.model.empty() && source.predictor.empty()) {
    throw sc::Error{sc::Errc::bad_argument, "give --profile P.json (see 'splitcnn profile'), or --model zoo for modelled devices, or --predictor FILE for predicted ones"};
  }
  if (!source.file.empty()) {
    sc::Profile profile = sc::Profile::load(source.file);
    std::vector<std::string> names;
    for (const sc::DeviceProfile& d : profile.devices) names.push_back(d.device);
    return {partitioner_for(model, names, profile.granularity), std::move(profile)};
  }
  if (!source.predictor.empty()) {
    const sc::Predictor predictor = sc::Predictor::load(source.predictor);
    sc::Partitioner parts = partitioner_for(model, {predictor.info().head, predictor.info().tail}, granularity);
    sc::Profile profile = predictor.profile(parts);
    sc::Forecast forecast = predictor.forecast(parts);  // before parts moves
    return {std::move(parts), std::move(profile), std::move(forecast)};
  }
  sc::Partitioner parts = partitioner_for(model, {"dpu:0", "gpu:0"}, granularity);
  if (source.model == "zoo" || source.model == "table1") {
    const bool zoo = source.model == "zoo";
    sc::Profile profile = zoo ? sc::model(parts, sc::DpuModel::vck190_zoo(), sc::GpuModel::rtx2080_zoo(), sc::LinkModel::pcie_zoo())
                              : sc::model(parts, sc::DpuModel::vck190_table1(), sc::GpuModel::rtx2080_table1(), sc::LinkModel::pcie_table1());
    return {std::move(parts), std::move(profile)};
  }
  sc::Profile profile = sc::model(parts, sc::DeviceModels::load(source.model));
  return {std::move(parts), std::move(profile)};
}

void add_plan(CLI::App& app) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand("plan", "Chooses how to share a model between two devices by a profile and says why");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  add_profile_source(*command, options->source);
  command->add_option("--strategy", options->strategy, "best of all, or one: split, switch, interleave, hybrid")
      ->check(one_of(strategies))
      ->capture_default_str();
  command
      ->add_option("--objective", options->objective, "interval: most frames per second; latency: soonest result; energy; weighted")
      ->check(one_of(objectives))
      ->capture_default_str();
  command->add_option("--weights", options->weights, "for weighted: per ms of interval, per ms of latency, per mJ")->type_name("I,L[,E]");
  command->add_option("--max-latency-ms", options->limits.latency_ms, "limit")->check(within(0.0, 1e9))->type_name("N");
  command->add_option("--min-agreement", options->limits.agreement, "limit: top-1 equal to float's, 0 to 1")->check(within(0.0, 1.0))->type_name("N");
  command->add_option("--max-memory-mib", options->limits.memory_mib, "limit: weights and largest maps of all loaded segments")
      ->check(within(0.0, 1e9))
      ->type_name("N");
  command->add_option("--devices", options->devices, "head,tail (default: the profile's DPU and GPU)");
  auto* period = command->add_option("--frame-interval-ms", options->frame_interval_ms, "the camera's period; counts the wait for a batch to fill")
                     ->check(within(0.0, 1e6))
                     ->type_name("N");
  command->add_option("--fps", options->frames_per_second, "the same as frames per second")->check(within(0.0, 1e6))->excludes(period)->type_name("N");
  command->add_option("--batch-timeout-ms", options->batch_timeout_ms, "a started batch leaves after this")
      ->check(within(0.0, 1e6))
      ->type_name("N")
      ->capture_default_str();
  add_granularity(*command, options->granularity);
  command->add_option("-o,--output", options->output, "plan file to write")->type_name("PLAN.json");
  command->add_flag("--try", options->try_out, "run the plans that come close on the devices, in turn, and take the fastest");
  command->add_flag("--json", options->json, "one JSON object: plan, bound, baselines, runner-up, curve");
  command->footer(
      "Examples:\n  splitcnn plan zoo:resnet50 --profile resnet50.json\n"
      "  splitcnn plan net.onnx --profile p.json --objective latency --fps 30 -o plan.json\n"
      "  splitcnn plan zoo:vgg16 --profile p.json --try\n"
      "  splitcnn plan zoo:vgg16 --model zoo --strategy hybrid --max-memory-mib 400\n"
      "--granularity is for --model; a profile has its own.");
  command->callback([options] { plan(*options); });
}

}  // namespace tool
