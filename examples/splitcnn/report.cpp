// splitcnn report: one self-contained page about a model on two devices.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "plan_command.hpp"
#include "report_parts.hpp"
#include "svg.hpp"
#include "terminal.hpp"

namespace tool {

namespace {

struct ReportOptions {
  std::string model, output = "report.html", devices, trace, layers;
  ProfileSource source;
  sc::Granularity granularity = sc::Granularity::block;
};

constexpr const char* style =
    "body{font:16px/1.5 system-ui,sans-serif;color:#1c2630;background:#fff;margin:0 auto;max-width:60rem;padding:1rem}"
    "h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .3rem}p{margin:.3rem 0 .6rem;max-width:46rem}"
    ".note{color:#566270}.badge{display:inline-block;border-radius:4px;padding:.05rem .5rem;background:#e8edf2;font-weight:600}"
    ".modelled,.predicted{background:#fff0d6}.measured{background:#dff3e4}"
    ".scroll{overflow-x:auto}svg{display:block;width:100%;min-width:34rem;height:auto;font:12px system-ui,sans-serif;fill:#3a4652}"
    ".grid{stroke:#dde3e9}.mark{stroke:#1c2630;stroke-dasharray:5 4}.marktext{font-weight:600;fill:#1c2630}.inside{fill:#fff;font-weight:600}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #dde3e9}"
    "td{white-space:nowrap}td.l{white-space:normal;min-width:15rem}th:first-child,td:first-child,.l{text-align:left}tr.best td{background:#eef6ff;font-weight:600}"
    ".units{display:flex;flex-wrap:wrap;gap:3px}.units span{padding:.15rem .45rem;border-radius:3px;color:#fff;font-size:.8rem}"
    ".units i{flex-basis:100%;height:0;border-top:3px dashed #1c2630;margin:.4rem 0}";

class Page {
 public:
  Page(const Model& model, const Profiled& p, std::vector<std::string> devices, const ReportOptions& options)
      : model_{model}, options_{options}, parts_{p.parts}, profile_{p.profile}, devices_{std::move(devices)},
        choice_{parts_.choose(profile_, {.a = devices_[0], .b = devices_[1]})},
        rows_{parts_.candidates(profile_, {.head = devices_[0], .tail = devices_[1]})} {
    for (const sc::Candidate& c : rows_) {
      const bool interior = c.k > 0 && c.k + 1 < static_cast<int>(rows_.size());
      if (c.legal && interior && (!cut_ || c.cost.interval_ms < rows_[*cut_].cost.interval_ms)) cut_ = static_cast<std::size_t>(c.k);
    }
  }

  std::string html() const {
    const std::string title = escaped(fmt::format("{} on {} and {}", model_.name, devices_[0], devices_[1]));
    return fmt::format(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<title>{0}</title><style>{1}</style></head><body><h1>{0}</h1>"
        "<p>All times on this page are <span class='badge {2}'>{2}</span>, unless a part says otherwise. {3}</p>{4}{5}{6}{7}{8}{9}{10}</body></html>\n",
        title, style, origin(), escaped(provenance()), chosen(), curves(), bytes(), options_.trace.empty() ? timeline() : measured_timeline(options_.trace), graph(),
        agreement(), options_.layers.empty() ? "" : layer_charts(options_.layers));
  }

 private:
  [[nodiscard]] std::string origin() const { return sc::to_string(profile_.origin); }

  std::string provenance() const {
    std::string text;
    for (const std::string& name : devices_) {
      const sc::DeviceProfile& d = profile_.device(name);
      text += fmt::format("{}: {}, {} frame{} at once{}. ", name, d.backend, d.batch, d.batch == 1 ? "" : "s",
                          d.spread > 0 ? fmt::format(", run-to-run spread {:.1f} %", 100 * d.spread) : "");
    }
    return text + "Machine: " + profile_.machine + ".";
  }

  std::string chosen() const {
    std::string table = "<div class='scroll'><table><tr><th>plan</th><th>interval</th><th>frames/s</th><th>latency</th><th>memory</th><th class='l'></th></tr>";
    const auto row = [&](const std::string& what, const sc::Considered& c, bool best) {
      const auto colon = c.name.find(": ");
      table += fmt::format("<tr{}><td>{}</td><td>{}</td><td>{:.1f}</td><td>{}</td><td>{:.0f} MiB</td><td class='l'>{}</td></tr>", best ? " class='best'" : "",
                           what, milliseconds(c.cost.interval_ms), 1000 / c.cost.interval_ms, milliseconds(c.cost.latency_ms), c.memory_mib,
                           escaped(colon == std::string::npos ? c.name : c.name.substr(colon + 2)));
    };
    row("chosen", choice_.chosen, true);
    for (const sc::Considered& c : choice_.by_strategy) row(std::string{"best "} + sc::to_string(c.strategy), c, false);
    for (const sc::Considered& c : choice_.baselines) {
      if (c.name.starts_with("all_")) row(c.name.substr(0, c.name.find(": ")), c, false);
    }
    return fmt::format("<h2>The plan and its baselines</h2>{}</table></div><p class='note'>{}</p>", table, escaped(choice_.plan.why()));
  }

  std::vector<double> column(double sc::Candidate::*member) const {
    std::vector<double> values;
    for (const sc::Candidate& c : rows_) values.push_back(c.*member);
    return values;
  }

  std::string curves() const {
    std::vector<double> interval, head = column(&sc::Candidate::head_ms);
    const bool waits = profile_.blocks_sender(devices_[0], devices_[1]);
    for (std::size_t k = 0; waits && k < head.size(); ++k) head[k] += rows_[k].link_ms;
    for (const sc::Candidate& c : rows_) interval.push_back(c.legal ? c.cost.interval_ms : std::nan(""));
    Chart chart{.x_title = "cut (units before it on " + devices_[0] + ")",
                .y_title = "time per frame",
                .y_unit = "ms",
                .series = {{devices_[0] + (waits ? " before, with transfer" : " before"), colour_of(devices_[0]), head},
                           {devices_[1] + " behind", colour_of(devices_[1]), column(&sc::Candidate::tail_ms)},
                           {"interval", "#3f8f4f", interval}}};
    if (cut_) chart.marked = cut_, chart.mark_text = fmt::format("best single cut {}", *cut_);
    return "<h2>Where the curves cross</h2><p>The slower device sets the pace of a single cut; the best cut lies where both take about as long.</p>"
           "<div class='scroll'>" + chart_svg(chart) + "</div>";
  }

  std::string bytes() const {
    std::vector<double> kib, ms;
    for (const sc::Candidate& c : rows_) kib.push_back(static_cast<double>(c.bytes) / 1024), ms.push_back(c.link_ms);
    std::string html = "<h2>What crosses each cut</h2><div class='scroll'>" +
                       chart_svg({.x_title = "cut", .y_title = "bytes per frame", .y_unit = "KiB", .series = {{"bytes", "#6b7f93", kib}}, .marked = cut_, .bars = true}) +
                       "</div>";
    if (std::any_of(ms.begin(), ms.end(), [](double v) { return v > 0; })) {
      return html + "<div class='scroll'>" +
             chart_svg({.x_title = "cut", .y_title = "transfer time per frame", .y_unit = "ms", .series = {{"transfer", "#8a5a83", ms}}, .marked = cut_, .bars = true}) + "</div>";
    }
    return html + (profile_.origin == sc::Origin::modelled
                       ? "<p class='note'>This profile has no link, so transfers cost nothing here.</p>"
                       : "<p class='note'>On one machine tensors change hands by pointer: there is no transfer to time.</p>");
  }

  /// What the best single cut should look like by the profile, batch by batch.
  std::string timeline() const {
    if (!cut_) return {};
    const sc::Candidate& c = rows_[*cut_];
    const double head_batch = static_cast<double>(profile_.device(devices_[0]).batch), tail_batch = static_cast<double>(profile_.device(devices_[1]).batch);
    const double batch = std::max(head_batch, tail_batch);
    std::vector<Span> spans;
    double head_free = 0, tail_free = 0;
    for (int i = 0; i < 5; ++i) {
      const double sent = c.link_ms * batch, waits = profile_.blocks_sender(devices_[0], devices_[1]) ? sent : 0;
      const double head_end = head_free + c.head_ms * batch + waits;
      const double start = std::max(head_end + sent - waits, tail_free), end = start + c.tail_ms * batch;
      const std::string name = batch > 1 ? fmt::format("batch {}", i) : fmt::format("frame {}", i);
      spans.push_back({0, head_free, head_end, name, colour_of(devices_[0])});
      spans.push_back({1, start, end, name, colour_of(devices_[1])});
      head_free = head_end, tail_free = end;
    }
    return fmt::format("<h2>Both devices at work</h2><p>The best single cut ({}) as the profile says it should run: computed from the {} times, not a trace.</p><div class='scroll'>{}</div>",
                       *cut_, origin(), timeline_svg(devices_, spans, "ms"));
  }

  std::string graph() const {
    std::string html = "<h2>The network and the plan</h2>";
    const auto units = parts_.units();
    for (const sc::Route& route : choice_.chosen.routes) {
      html += fmt::format("<p>{:.0f} % of the frames:</p><div class='units'>", 100 * route.weight);
      for (std::size_t s = 0; s < route.segments.size(); ++s) {
        const sc::Segment& segment = route.segments[s];
        if (s > 0) html += "<i></i>";
        for (int u = segment.first_unit; u < segment.last_unit; ++u) {
          html += fmt::format("<span style='background:{}' title='unit {} on {}'>{}</span>", colour_of(segment.device), u, segment.device,
                              escaped(units[static_cast<std::size_t>(u)].name));
        }
      }
      html += "</div>";
    }
    for (const std::string& d : devices_) html += fmt::format("<p class='note'><span class='badge' style='background:{};color:#fff'>{}</span></p>", colour_of(d), d);
    return html;
  }

  std::string agreement() const {
    if (profile_.agreement.empty()) {
      return "<h2>Accuracy</h2><p class='note'>The profile has no agreement per cut: nobody has measured it on frames.</p>";
    }
    std::vector<double> percent;
    for (const double a : profile_.agreement) percent.push_back(100 * a);
    return fmt::format("<h2>Accuracy</h2><p>Frames whose first class equals float's, with the DPU in front of each cut; {} frames, measured.</p><div class='scroll'>{}</div>",
                       profile_.agreement_frames,
                       chart_svg({.x_title = "cut", .y_title = "top-1 equal to float", .y_unit = "%", .series = {{"agreement", "#0b6e99", percent}}, .marked = cut_}));
  }

  const Model& model_;
  const ReportOptions& options_;
  const sc::Partitioner& parts_;
  const sc::Profile& profile_;
  std::vector<std::string> devices_;
  sc::Choice choice_;
  std::vector<sc::Candidate> rows_;
  std::optional<std::size_t> cut_;  ///< the best single cut inside the network
};

void report(const ReportOptions& options) {
  const Model model = open_model(options.model);
  const Profiled profiled = open_profile(model, options.source, options.granularity);
  const Page page{model, profiled, planned_devices(options.devices, profiled.profile), options};
  std::ofstream file{options.output, std::ios::binary};
  if (!(file << page.html()) || !file.flush()) throw sc::Error{sc::Errc::io, options.output + ": cannot be written"};
  fmt::print("written to {}\n", options.output);
}

}  // namespace

std::string colour_of(const std::string& device) { return is_dpu(device) ? "#0b6e99" : is_gpu(device) ? "#b4520c" : "#5b4b8a"; }

void add_report(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "Writes one page with the curves, the plan and its baselines");
  command->add_option("MODEL", options->model, "ONNX file or zoo:NAME")->required();
  add_profile_source(*command, options->source);
  command->add_option("-o,--output", options->output, "page to write")->type_name("R.html")->capture_default_str();
  command->add_option("--devices", options->devices, "head,tail (default: the profile's DPU and GPU)");
  command->add_option("--trace", options->trace, "draw the timeline from this trace (splitcnn run --trace) instead of computing it")->type_name("T.json");
  command->add_option("--layers", options->layers, "add the charts of a layer study (bench/layer_study)")->type_name("L.jsonl");
  add_granularity(*command, options->granularity);
  command->footer("Examples:\n  splitcnn report zoo:resnet50 --profile resnet50.json -o report.html\n  splitcnn report zoo:vgg16 --model zoo --granularity paper");
  command->callback([options] { report(*options); });
}

}  // namespace tool
