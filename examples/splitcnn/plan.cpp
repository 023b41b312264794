// splitcnn plan: the best cut by a profile, and why.
#include <fmt/format.h>

#include <algorithm>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct Options {
  std::string model, profile, output, objective = "interval", devices;
  double frame_interval_ms = 0;
  bool json = false;
};

/// The devices to plan for: those asked for, else the profile's DPU and GPU, else its first two.
std::vector<std::string> planned_devices(const Options& options, const sc::Profile& profile) {
  std::vector<std::string> names;
  if (!options.devices.empty()) {
    for (const std::string& spec : device_specs(options.devices)) names.push_back(device_name(spec));
  } else {
    for (const sc::DeviceProfile& d : profile.devices) names.push_back(d.device);
    std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      const auto rank = [](const std::string& name) { return is_dpu(name) ? 0 : is_gpu(name) ? 1 : 2; };
      return rank(a) < rank(b);
    });
    if (names.size() > 2) names.resize(2);
  }
  if (names.size() == 1) names.push_back(names.front());
  if (names.size() != 2)
    throw sc::Error{sc::Errc::bad_argument,
                    "--devices: give the head's device and the tail's, for example dpu,gpu"};
  return names;
}

nlohmann::json plan_json(const sc::Plan& plan, const std::vector<sc::Candidate>& rows) {
  const auto number = [](double ms) { return std::isfinite(ms) ? nlohmann::json(ms) : nlohmann::json{}; };
  nlohmann::json result{{"interval_ms", plan.expected().interval_ms},
                        {"latency_ms", plan.expected().latency_ms},
                        {"origin", sc::to_string(plan.expected().origin)},
                        {"why", plan.why()},
                        {"segments", nlohmann::json::array()},
                        {"candidates", nlohmann::json::array()}};
  for (const sc::Segment& s : plan.route(0).segments) {
    result["segments"].push_back({{"device", s.device},
                                  {"first_unit", s.first_unit},
                                  {"last_unit", s.last_unit},
                                  {"expected_ms", s.expected_ms}});
  }
  for (const sc::Candidate& c : rows) {
    result["candidates"].push_back({{"k", c.k},
                                    {"legal", c.legal},
                                    {"head_ms", number(c.head_ms)},
                                    {"link_ms", number(c.link_ms)},
                                    {"tail_ms", number(c.tail_ms)},
                                    {"bytes", c.bytes},
                                    {"interval_ms", number(c.cost.interval_ms)},
                                    {"latency_ms", number(c.cost.latency_ms)}});
  }
  return result;
}

void print_table(const sc::Partitioner& parts, const sc::Plan& plan, const std::vector<sc::Candidate>& rows,
                 const sc::SearchOptions& search) {
  const int chosen = plan.route(0).segments.size() == 2                ? plan.head().last_unit
                     : plan.route(0).segments[0].device == search.tail ? 0
                                                                       : parts.cuts().back().k;
  Table table{{{"cut"},
               {"after", Table::Align::left},
               {search.head},
               {"link"},
               {search.tail},
               {"crosses"},
               {"interval"},
               {"latency"},
               {""}},
              1};
  for (const sc::Candidate& c : rows) {
    table.row({std::to_string(c.k), parts.cuts()[static_cast<std::size_t>(c.k)].after,
               milliseconds(c.head_ms), c.link_ms > 0 ? milliseconds(c.link_ms) : "-",
               milliseconds(c.tail_ms), c.bytes ? kibibytes(c.bytes) : "-", milliseconds(c.cost.interval_ms),
               milliseconds(c.cost.latency_ms),
               !c.legal        ? "not legal"
               : c.k == chosen ? "<- chosen"
                               : ""});
  }
  fmt::print("Times are {}.\n\n{}\n{}", sc::to_string(plan.expected().origin), table.text(),
             wrapped(plan.why()));
}

void plan(const Options& options) {
  const Model model = open_model(options.model);
  const sc::Profile profile = sc::Profile::load(options.profile);
  const std::vector<std::string> names = planned_devices(options, profile);
  const sc::Partitioner parts = partitioner_for(model, names, profile.granularity);
  const sc::SearchOptions search{
      options.objective == "latency" ? sc::Objective::latency : sc::Objective::interval, names[0], names[1],
      options.frame_interval_ms};
  const sc::Plan best = parts.search(profile, search);
  const std::vector<sc::Candidate> rows = parts.candidates(profile, search);
  if (!options.output.empty()) best.save(options.output);
  if (options.json) {
    fmt::print("{}\n", plan_json(best, rows).dump());
  } else {
    print_table(parts, best, rows, search);
  }
}

}  // namespace

void add_plan(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("plan", "Chooses where to cut by a profile and says why");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  command->add_option("--profile", options->profile, "what 'splitcnn profile' wrote")
      ->required()
      ->type_name("P.json");
  command
      ->add_option("--objective", options->objective,
                   "interval: most frames per second; latency: soonest result")
      ->check(CLI::IsMember({"interval", "latency"}))
      ->capture_default_str();
  command->add_option("--devices", options->devices, "head,tail (default: the profile's DPU and GPU)");
  command
      ->add_option("--frame-interval-ms", options->frame_interval_ms,
                   "the camera's period; counts the wait for a batch to fill")
      ->check(within(0.0, 1e6))
      ->type_name("N");
  command->add_option("-o,--output", options->output, "plan file to write")->type_name("PLAN.json");
  command->add_flag("--json", options->json, "one JSON object with the choice and every candidate");
  command->footer(
      "Examples:\n  splitcnn plan zoo:resnet50 --profile resnet50.json\n"
      "  splitcnn plan net.onnx --profile p.json --objective latency -o plan.json");
  command->callback([options] { plan(*options); });
}

}  // namespace tool
