// splitcnn doctor: what is on this machine, which versions, and why something fell back.
#include <fmt/core.h>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct DoctorOptions {
  std::string devices = "dpu,gpu,cpu";
  bool json = false;
};

void doctor(const DoctorOptions& options) {
  // The doctor prints every fallback itself; the same words on stderr would only repeat it.
  sc::set_log_handler([](sc::LogLevel, std::string_view) {});
  const sc::Devices devices = open_devices(device_specs(options.devices));
  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const sc::DeviceInfo& d : devices.list()) {
      list.push_back({{"name", d.name},
                      {"backend", d.backend},
                      {"detail", d.detail},
                      {"why", d.why},
                      {"threads", d.threads}});
    }
    fmt::print(
        "{}\n",
        nlohmann::json{{"version", sc::version()}, {"build", sc::build_info()}, {"devices", list}}.dump());
    return;
  }
  fmt::print("{}\n", sc::build_info());
  Table table{{{"device", Table::Align::left},
               {"runs as", Table::Align::left},
               {"threads"},
               {"detail", Table::Align::left}},
              3};
  for (const sc::DeviceInfo& d : devices.list())
    table.row({d.name, d.backend, std::to_string(d.threads), d.detail});
  fmt::print("{}", table.text());
  for (const sc::DeviceInfo& d : devices.list()) {
    if (!d.why.empty())
      fmt::print("\n{}", wrapped(fmt::format("{} is not the device itself: {}", d.name, d.why)));
  }
}

}  // namespace

void add_doctor(CLI::App& app) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command =
      app.add_subcommand("doctor", "Says which devices and versions are here, and why something fell back");
  command->add_option("--devices", options->devices, "which to look for")->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object");
  command->footer("Examples:\n  splitcnn doctor\n  splitcnn doctor --devices dpu=vart --json");
  command->callback([options] { doctor(*options); });
}

}  // namespace tool
