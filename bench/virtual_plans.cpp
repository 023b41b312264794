// Do plans run as fast as they were predicted to? The pipeline executes every kind of plan on virtual devices that take the modelled times
// (DPU batch 6), and the interval between results is measured. JSON lines; `predicted_ms` is modelled, `measured_ms` is the pipeline's own.
#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "device_models/table1_fit.hpp"
#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;

namespace {

std::size_t depth = 0;  // the library's choice

constexpr std::size_t lead = 360;  // frames before the clock starts, and behind it, so that the pipeline is full all the time

/// ms per result in a full pipeline.
double run(const Plan& plan, const Profile& profile, std::size_t frames) {
  Pipeline pipe{plan, Devices::simulate(profile), {.depth = depth}};
  std::jthread feeder{[&] {
    for (std::size_t f = 0; f < frames + 2 * lead; ++f) {
      auto slot = pipe.acquire();
      if (!slot || pipe.push(std::move(*slot)) == Push::closed) return;
    }
    pipe.close();  // the last batch need not wait for more frames
  }};
  Clock::time_point start, end;
  std::size_t popped = 0;
  while (const auto result = pipe.pop()) {
    if (!result->ok()) throw Error{result->status().code, result->status().message};
    ++popped;
    if (popped == lead) start = Clock::now();
    if (popped == lead + frames) end = Clock::now();
  }
  if (popped != frames + 2 * lead) throw Error{Errc::stage_failed, fmt::format("{} of {} virtual frames came out", popped, frames + 2 * lead)};
  return Millis{end - start}.count() / static_cast<double>(frames);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::size_t frames = argc > 1 ? std::stoul(argv[1]) : 3000;
  if (argc > 2) depth = std::stoul(argv[2]);
  double worst = 0;
  for (const char* set : {"table1", "zoo"}) {
    const Models m = std::string{set} == "zoo" ? models_zoo() : models_table1();
    double over_paper = 1, over_cut = 1;
    for (const auto& [name, index] : {std::pair{"resnet18", 10}, {"resnet50", 14}, {"resnet101", 27}, {"resnet152", 39}, {"vgg16", 12}, {"mobilenet_v2", 16}}) {
      const Graph graph = Graph::zoo(name);
      // Nothing is computed, so any fix points do.
      const Partitioner parts{QuantizedGraph{graph, std::vector<int>(graph.tensors().size(), 4), {}, true}, Granularity::paper};
      const Profile profile = model(parts, m.dpu, m.gpu, m.link);
      const Choice choice = parts.choose(profile);
      const double paper = parts.candidates(profile)[static_cast<std::size_t>(index - 1)].cost.interval_ms;
      for (const Considered& c : choice.by_strategy) {
        const Plan plan{graph, parts.quant() ? std::optional{*parts.quant()} : std::nullopt, c.routes, c.cost};
        const double ms = run(plan, profile, frames), error = 100 * (ms / c.cost.interval_ms - 1);
        worst = std::max(worst, std::abs(error));
        fmt::print("{}\n", nlohmann::json{{"name", "virtual_plan"}, {"set", set}, {"model", name}, {"strategy", to_string(c.strategy)}, {"plan", c.name},
                                          {"predicted_ms", c.cost.interval_ms}, {"measured_ms", ms}, {"error_pct", error}, {"frames", frames},
                                          {"over_paper_cut", paper / c.cost.interval_ms}, {"bound_ms", choice.bound_ms}}.dump());
        std::fflush(stdout);
      }
      const double cut = choice.baselines.back().cost.interval_ms;
      over_paper *= paper / choice.chosen.cost.interval_ms, over_cut *= cut / choice.chosen.cost.interval_ms;
      if (std::string{name} == "vgg16") {
        fmt::print("{}\n", nlohmann::json{{"name", "vgg16_over_best_single_cut"}, {"set", set}, {"ratio", cut / choice.chosen.cost.interval_ms},
                                          {"chosen", to_string(choice.chosen.strategy)}, {"origin", "modelled"}}.dump());
      }
    }
    fmt::print("{}\n", nlohmann::json{{"name", "six_networks"}, {"set", set}, {"geomean_over_paper_cut", std::pow(over_paper, 1.0 / 6)},
                                      {"geomean_over_best_single_cut", std::pow(over_cut, 1.0 / 6)}, {"origin", "modelled"}}.dump());
  }
  fmt::print("{}\n", nlohmann::json{{"name", "worst_error_pct"}, {"value", worst}}.dump());
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "virtual_plans: {}\n", e.what());
  return 1;
}
