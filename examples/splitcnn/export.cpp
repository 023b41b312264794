// splitcnn export: the head as the DPU computes it, as an ONNX file for other runtimes or as an xmodel for the vendor's.
#include <fmt/core.h>

#include <algorithm>

#include "tool.hpp"

namespace tool {

namespace {

struct ExportOptions {
  std::string model, output, tail, format = "qdq", worker;
  std::optional<int> head;
  sc::Granularity granularity = sc::Granularity::block;
};

sc::Cut choose_cut(const ExportOptions& options, const sc::Graph& graph) {
  const std::vector<sc::Cut> cuts = sc::cuts(graph, options.granularity);
  if (!options.head) {
    const auto last = std::find_if(cuts.rbegin(), cuts.rend(), [](const sc::Cut& c) { return c.legal && c.k > 0; });
    if (last == cuts.rend()) throw sc::Error{sc::Errc::unsupported, fmt::format("{}: no head can run on a DPU: {}", options.model, cuts.back().reason)};
    return *last;
  }
  const auto k = static_cast<std::size_t>(*options.head);
  if (k >= cuts.size() || k == 0) {
    throw sc::Error{sc::Errc::bad_argument, fmt::format("--head {}: there are cuts 1 to {}; see 'splitcnn inspect {}'", k, cuts.size() - 1, options.model)};
  }
  if (!cuts[k].legal) throw sc::Error{sc::Errc::unsupported, fmt::format("--head {}: {}", k, cuts[k].reason)};
  return cuts[k];
}

void export_head(const ExportOptions& options) {
  const Model model = open_model(options.model);
  const sc::QuantizedGraph quant = calibration_of(model);
  const sc::Cut cut = choose_cut(options, model.graph);
  if (options.format == "xmodel") {
    sc::save_xmodel(quant, 0, cut.node, options.output, options.worker);
    fmt::print("{}: nodes up to cut {} (after {}) as an xmodel in {}\n", options.model, cut.k, cut.after, options.output);
  } else {
    sc::save_qdq(quant, 0, cut.node, options.output);
    fmt::print("{}: nodes up to cut {} (after {}) in QDQ form in {}\n", options.model, cut.k, cut.after, options.output);
  }
  if (options.tail.empty()) return;
  const auto last = static_cast<sc::NodeId>(model.graph.nodes().size());
  if (cut.node == last) throw sc::Error{sc::Errc::bad_argument, "--tail: nothing is left behind this head"};
  model.graph.extract(cut.node, last).save(options.tail);
  fmt::print("{}: the rest as float ONNX in {}\n", options.model, options.tail);
}

}  // namespace

void add_export(CLI::App& app) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "Writes a head as quantised ONNX (QDQ) or as an xmodel");
  command->add_option("MODEL", options->model, "ONNX file with calibration, or zoo:NAME")->required();
  command->add_option("-o,--output", options->output, "file to write")->required()->type_name("FILE");
  command->add_option("--head", options->head, "cut behind the head; the last legal one when not given")->type_name("K");
  command->add_option("--tail", options->tail, "also write what is behind the head, in float")->type_name("FILE");
  command->add_option("--format", options->format, "form of the file: qdq (ONNX), or xmodel (needs a worker with XIR)")->check(CLI::IsMember({"qdq", "xmodel"}).description(""))->capture_default_str();
  command->add_option("--dpu-worker", options->worker, "the splitcnn-dpu-worker that makes the xmodel; looked for when not given")->type_name("PROGRAM");
  add_granularity(*command, options->granularity);
  command->footer("Examples:\n  splitcnn export mobilenet_v2.onnx --head 12 --format qdq -o head.onnx --tail tail.onnx\n"
                  "  splitcnn export mobilenet_v2.onnx --head 12 --format xmodel -o head.xmodel");
  command->callback([options] { export_head(*options); });
}

}  // namespace tool
