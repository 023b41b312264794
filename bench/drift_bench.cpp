// How soon does a pipeline share its frames anew when a device slows down mid-stream, and what does that buy?
// Virtual devices take the modelled times (zoo set, DPU batch 6); one of them then takes twice as long. JSON
// lines: `replanned_ms` is measured from the moment of the slowdown, the intervals are the pipeline's own,
// `best_ms` is modelled: the best mix that could have been planned for the slow device.
#include <fmt/core.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;

namespace {

constexpr double slowdown = 2;

struct Stream {
  Pipeline& pipe;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> delivered{0};
  std::uint64_t out_of_order = 0, failed = 0;
  std::jthread feeder{[this] {
    while (!stop) {
      auto slot = pipe.acquire();
      if (!slot || pipe.push(std::move(*slot)) == Push::closed) break;
    }
    pipe.close();
  }};
  std::jthread reader{[this] {
    std::uint64_t next = 0;
    while (const auto result = pipe.pop()) {
      failed += !result->ok();
      out_of_order += result->id() != next;
      next = result->id() + 1;
      ++delivered;
    }
  }};

  double interval_ms(Millis over) {
    const std::uint64_t before = delivered;
    const Clock::time_point start = Clock::now();
    std::this_thread::sleep_for(over);
    return Millis{Clock::now() - start}.count() / static_cast<double>(delivered - before);
  }
};

Profile with_slow(Profile profile, const std::string& device) {
  for (DeviceProfile& d : profile.devices) {
    if (d.device != device) continue;
    for (double& ms : d.prefix_ms) ms *= slowdown;
    for (double& ms : d.suffix_ms) ms *= slowdown;
    d.fixed_ms *= slowdown;
  }
  return profile;
}

nlohmann::json drift_of(const std::string& net, const std::string& slow) {
  const Graph graph = Graph::zoo(net);
  // Nothing is computed, so any fix points do.
  const Partitioner parts{QuantizedGraph{graph, std::vector<int>(graph.tensors().size(), 4), {}, true},
                          Granularity::paper};
  const Profile profile =
      model(parts, DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo());
  const Plan plan = parts.with_alternatives(parts.mix(profile), profile);
  std::atomic<double> factor{1};
  const SimulateOptions options{
      .slowdown = [&](std::string_view device) { return device == slow ? factor.load() : 1.0; }};
  Pipeline pipe{plan, Devices::simulate(profile, options), {.depth = 120, .replan = ReplanOptions{}}};
  Stream stream{pipe};
  std::this_thread::sleep_for(Millis{2000});
  const double planned = stream.interval_ms(Millis{2000});

  const std::uint64_t before = pipe.stats().replans;
  factor = slowdown;
  const Clock::time_point slowed_at = Clock::now();
  while (pipe.stats().replans == before && Clock::now() - slowed_at < Millis{10'000})
    std::this_thread::sleep_for(Millis{1});
  const double replanned_ms = pipe.stats().replans == before ? -1 : Millis{Clock::now() - slowed_at}.count();
  std::this_thread::sleep_for(Millis{3000});
  const double after = stream.interval_ms(Millis{3000});
  stream.stop = true;
  stream.feeder.join();
  stream.reader.join();
  const PipelineStats stats = pipe.stats();

  std::vector<double> shares;
  for (const Route& r : plan.routes()) shares.push_back(r.weight);
  const double best = parts.mix(with_slow(profile, slow)).expected().interval_ms;
  return {{"name", "drift"},
          {"net", net},
          {"slowed", slow},
          {"slowdown", slowdown},
          {"routes", plan.routes().size()},
          {"planned_ms", planned},
          {"replanned_ms", replanned_ms},
          {"after_ms", after},
          {"best_ms", best},
          {"replans", stats.replans},
          {"pushed", stats.sources.front().pushed},
          {"delivered", stream.delivered.load()},
          {"failed", stream.failed},
          {"dropped", stats.sources.front().dropped},
          {"out_of_order", stream.out_of_order},
          {"origin", "measured on modelled devices"}};
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> nets{argv + 1, argv + argc};
  if (nets.empty()) nets = {"resnet18", "resnet50", "vgg16", "mobilenet_v2"};
  for (const std::string& net : nets) {
    for (const char* slow : {"dpu:0", "gpu:0"}) {
      fmt::print("{}\n", drift_of(net, slow).dump());
      std::fflush(stdout);
    }
  }
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "drift_bench: {}\n", e.what());
  return 1;
}
