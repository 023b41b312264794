// From --devices and --cut to a plan.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

bool is_dpu(const std::string& device) { return device.starts_with("dpu"); }
bool is_gpu(const std::string& device) { return device.starts_with("gpu"); }

std::string device_name(const std::string& spec) { return spec.substr(0, spec.find_first_of("=/")); }

std::vector<std::string> device_specs(const std::string& text) {
  std::vector<std::string> specs;
  std::string rest = text;
  std::erase(rest, ' ');
  while (!rest.empty()) {
    std::string spec = rest.substr(0, rest.find(','));
    rest.erase(0, spec.size() + 1);
    const std::size_t name_end = std::min(spec.find_first_of("=/"), spec.size());
    std::string name = spec.substr(0, name_end);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (name == "dpu" || name == "gpu") name += ":0";
    if (name.empty())
      throw sc::Error{sc::Errc::bad_argument,
                      fmt::format("--devices '{}': an empty name; write for example dpu,gpu", text)};
    const auto twice = [&](const std::string& other) { return device_name(other) == name; };
    if (std::any_of(specs.begin(), specs.end(), twice)) {
      throw sc::Error{sc::Errc::bad_argument, fmt::format("--devices '{}': {} is there twice", text, name)};
    }
    specs.push_back(name + spec.substr(name_end));
  }
  if (specs.empty())
    throw sc::Error{sc::Errc::bad_argument, "--devices: no device; write for example dpu,gpu"};
  return specs;
}

sc::Devices open_devices(const std::vector<std::string>& specs, const sc::DpuWorkerOptions& worker) {
  std::string all;
  bool dpu = false, cpu = false;
  for (const std::string& spec : specs) {
    all += (all.empty() ? "" : ",") + spec;
    dpu |= is_dpu(spec);
    cpu |= device_name(spec) == "cpu";
  }
  return sc::Devices::open(dpu && !cpu ? all + ",cpu" : all, worker);
}

sc::Partitioner partitioner_for(const Model& model, const std::vector<std::string>& specs,
                                sc::Granularity granularity) {
  const bool dpu = std::any_of(specs.begin(), specs.end(), is_dpu);
  return dpu ? sc::Partitioner{calibration_of(model), granularity}
             : sc::Partitioner{model.graph, granularity};
}

sc::Plan choose_plan(const sc::Partitioner& parts, const PlanRequest& request) {
  if (request.devices.empty() || request.devices.size() > 2) {
    throw sc::Error{sc::Errc::bad_argument,
                    "--devices: a plan needs one or two devices, for example dpu,gpu"};
  }
  const std::string head = device_name(request.devices.front()), tail = device_name(request.devices.back());
  if (request.devices.size() == 1)
    return request.cut ? parts.split_at(*request.cut, head, "cpu") : parts.all_on(head);
  if (request.cut) return parts.split_at(*request.cut, head, tail);

  ProgressBar bar{"choosing the cut: measuring"};
  std::string both = request.devices.front() + "," + request.devices.back();
  const sc::Profile profile =
      sc::measure(parts, sc::Devices::open(both), {.runs = 3, .progress = bar.callback()});
  return parts.search(profile, {.objective = request.objective, .head = head, .tail = tail});
}

const std::map<std::string, sc::Granularity>& granularities() {
  static const std::map<std::string, sc::Granularity> names{{"block", sc::Granularity::block},
                                                            {"fused", sc::Granularity::fused},
                                                            {"op", sc::Granularity::op},
                                                            {"paper", sc::Granularity::paper}};
  return names;
}

void add_granularity(CLI::App& command, sc::Granularity& granularity) {
  command
      .add_option_function<std::string>(
          "--granularity",
          [&granularity](const std::string& name) { granularity = granularities().at(name); },
          "where cuts may fall: block, fused, op or paper")
      ->check(CLI::IsMember({"block", "fused", "op", "paper"}))
      ->default_str("block");
}

void add_cut(CLI::App& command, std::optional<int>& cut) {
  command
      .add_option_function<std::string>(
          "--cut",
          [&cut](const std::string& text) {
            if (text == "auto") {
              cut.reset();
              return;
            }
            int k = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), k);
            if (error != std::errc{} || end != text.data() + text.size()) {
              throw CLI::ValidationError("--cut", "'" + text + "' is neither a number nor auto");
            }
            cut = k;
          },
          "units before it run on the first device; auto measures and chooses")
      ->type_name("auto|K")
      ->default_str("auto");
}

}  // namespace tool
