// splitcnn inspect: what a model consists of and where it can be cut.
#include <fmt/core.h>

#include <algorithm>

#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct InspectOptions {
  std::string model;
  bool json = false;
  sc::Granularity granularity = sc::Granularity::block;
};

/// A tensor as it crosses behind a DPU head: int8.
sc::TensorSpec crossing(const sc::Graph& graph, sc::TensorId id) {
  sc::TensorSpec spec = float_spec(graph, id);
  spec.dtype = sc::DType::i8;
  return spec;
}

nlohmann::json inspect_json(const sc::Graph& graph, sc::Granularity granularity) {
  nlohmann::json result{{"nodes", graph.nodes().size()},
                        {"units", sc::units(graph, granularity).size()},
                        {"cuts", nlohmann::json::array()},
                        {"inputs", nlohmann::json::array()},
                        {"outputs", nlohmann::json::array()}};
  for (const sc::Cut& cut : sc::cuts(graph, granularity)) {
    nlohmann::json tensors = nlohmann::json::array();
    for (const sc::TensorId id : cut.tensors) tensors.push_back(spec_json(crossing(graph, id)));
    result["cuts"].push_back({{"k", cut.k},
                              {"after", cut.after},
                              {"tensors", tensors},
                              {"legal", cut.legal},
                              {"board_legal", cut.board_legal},
                              {"reason", cut.reason}});
  }
  for (const sc::TensorId id : graph.inputs()) result["inputs"].push_back(spec_json(float_spec(graph, id)));
  for (const sc::TensorId id : graph.outputs()) result["outputs"].push_back(spec_json(float_spec(graph, id)));
  return result;
}

std::string shapes(const sc::Graph& graph, std::span<const sc::TensorId> ids) {
  std::string text;
  for (const sc::TensorId id : ids) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", graph.tensor(id).name,
                        sc::to_string(graph.tensor(id).shape));
  }
  return text;
}

/// {3, 5, 6, 7} as "3, 5 to 7".
std::string ranges(const std::vector<int>& ascending) {
  std::string text;
  for (std::size_t first = 0, last = 0; first < ascending.size(); first = last + 1) {
    last = first;
    while (last + 1 < ascending.size() && ascending[last + 1] == ascending[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ascending[first]);
    if (last > first) text += fmt::format(" to {}", ascending[last]);
  }
  return text;
}

void print_cuts(const Model& model, sc::Granularity granularity) {
  const sc::Graph& graph = model.graph;
  std::int64_t macs = 0, weights = 0;
  for (sc::NodeId n = 0; n < graph.nodes().size(); ++n) macs += graph.macs(n);
  for (const sc::GraphTensor& t : graph.tensors()) weights += t.constant ? t.shape.elements() : 0;
  fmt::print("{}: {} nodes, {:.3g} M weights, {:.3g} M multiply-adds per frame\n", model.name,
             graph.nodes().size(), static_cast<double>(weights) / 1e6, static_cast<double>(macs) / 1e6);
  fmt::print("in   {}\nout  {}\n\n", shapes(graph, graph.inputs()), shapes(graph, graph.outputs()));

  using Align = Table::Align;
  Table table{
      {{"cut"}, {"after", Align::left}, {"crosses", Align::left}, {"int8"}, {"head on DPU", Align::left}}, 1};
  std::vector<std::pair<std::string, std::vector<int>>> reasons;  // and the cuts each is for
  for (const sc::Cut& cut : sc::cuts(graph, granularity)) {
    std::size_t bytes = 0;
    for (const sc::TensorId id : cut.tensors) bytes += crossing(graph, id).bytes();
    const std::string crosses = cut.tensors.empty()       ? "-"
                                : cut.tensors.size() == 1 ? sc::to_string(graph.tensor(cut.tensors[0]).shape)
                                                          : fmt::format("{} tensors", cut.tensors.size());
    const char* verdict = cut.k == 0 ? "-" : !cut.legal ? "no" : !cut.board_legal ? "not the board" : "yes";
    table.row({std::to_string(cut.k), cut.after, crosses, bytes ? kibibytes(bytes) : "-", verdict});
    if (cut.reason.empty()) continue;
    const auto known =
        std::find_if(reasons.begin(), reasons.end(), [&](const auto& r) { return r.first == cut.reason; });
    if (known == reasons.end()) {
      reasons.push_back({cut.reason, {cut.k}});
    } else {
      known->second.push_back(cut.k);
    }
  }
  fmt::print("{}", table.text());
  for (const auto& [reason, at] : reasons)
    fmt::print("\n{}", wrapped(fmt::format("Cut {}: {}", ranges(at), reason)));
}

void inspect_xmodel(const InspectOptions& options) {
  const std::string text = sc::describe_xmodel(options.model);
  if (options.json) {
    fmt::print("{}\n", text);
    return;
  }
  const auto file = nlohmann::json::parse(text);
  for (const auto& s : file["subgraphs"]) {
    fmt::print("{} subgraph {}{}{}\n", s["device"].get<std::string>(), s["name"].get<std::string>(),
               s["fingerprint"].get<std::string>().empty() ? "" : ", fingerprint " + s["fingerprint"].get<std::string>(),
               s["weights"].get<bool>() ? "" : ", constants taken out (mode ref cannot run it)");
    for (const char* side : {"inputs", "outputs"}) {
      for (const auto& t : s[side]) {
        fmt::print("  {:<7} {}  {}  fix point {}\n", side, t["name"].get<std::string>(), t["shape"].dump(), t["fix_point"].get<int>());
      }
    }
  }
}

void inspect(const InspectOptions& options) {
  if (options.model.ends_with(".xmodel")) return inspect_xmodel(options);
  const Model model = open_model(options.model);
  if (options.json) {
    fmt::print("{}\n", inspect_json(model.graph, options.granularity).dump());
  } else {
    print_cuts(model, options.granularity);
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "Shows the units of a model and every place where it can be cut");
  command->add_option("MODEL", options->model, "ONNX file, zoo:NAME, or FILE.xmodel")->required();
  command->add_flag("--json", options->json,
                    "one JSON object: nodes, units, cuts, inputs, outputs (bytes that cross are int8)");
  add_granularity(*command, options->granularity);
  command->footer(
      "Examples:\n  splitcnn inspect mobilenet_v2.onnx\n  splitcnn inspect zoo:resnet50 --granularity paper "
      "--json");
  command->callback([options] { inspect(*options); });
}

}  // namespace tool
