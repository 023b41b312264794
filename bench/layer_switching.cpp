#include "layer_switching.hpp"

#include <algorithm>

#include "partition/switching.hpp"
#include "splitcnn/splitcnn.hpp"

using namespace splitcnn;

AlexnetResult alexnet_by_paper_times() {
  // Table I of Aghapour et al., DSD 2022, ms: eight layers on the CPU, then on the GPU.
  SwitchProblem p{.devices = 2, .units = 8};
  p.unit_ms = {11.56, 15.05, 5.15, 4.48, 3.41, 38.51, 17.02, 4.19, 9.69, 14.37, 8.62, 5.33, 4.15, 35.89, 10.06, 3.44};
  p.switch_ms.assign(8 * 4, 0);
  const Assignment best = optimal_latency(p);
  const double cpu = evaluate(p, std::vector<std::size_t>(8, 0)).latency_ms, gpu = evaluate(p, std::vector<std::size_t>(8, 1)).latency_ms;
  return {best.latency_ms, 100 * (1 - best.latency_ms / cpu), 100 * (1 - best.latency_ms / gpu), to_order_string(best, "BG")};
}

namespace {

double latency_ms(const Plan& plan, const char* devices, const std::vector<float>& frame, int runs) {
  Pipeline pipe{plan, Devices::open(devices), {.batch_timeout = Millis{0}}};
  pipe.warm_up();
  std::vector<double> ms;
  for (int run = 0; run < runs; ++run) {
    const auto start = Clock::now();
    const Result result = pipe.infer(std::span<const float>{frame});
    if (!result.ok()) throw Error{result.status().code, result.status().message};
    ms.push_back(Millis{Clock::now() - start}.count());
  }
  std::nth_element(ms.begin(), ms.begin() + runs / 2, ms.end());
  return ms[static_cast<std::size_t>(runs / 2)];
}

std::string order_of(const Plan& plan, std::string_view first) {
  std::string order;
  for (const Segment& s : plan.route(0).segments) {
    order += std::string(static_cast<std::size_t>(s.last_unit - s.first_unit), s.device == first ? 'F' : 'S');
  }
  return order;
}

}  // namespace

SwitchedLatency measure_switched(const std::string& zoo_name, int runs) {
  constexpr const char* devices = "dpu:0=software,cpu";
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo(zoo_name))};
  const Profile profile = measure(parts, Devices::open(devices), {.runs = runs});
  const Plan switched = parts.switch_layers(profile);
  const std::vector<float> frame(static_cast<std::size_t>(parts.graph().tensor(parts.graph().inputs()[0]).shape.elements()), 0.5f);
  const int timed = std::max(2 * runs, 9);
  return {"dpu:0",
          "cpu",
          latency_ms(parts.all_on("dpu:0"), devices, frame, timed),
          latency_ms(parts.all_on("cpu"), devices, frame, timed),
          latency_ms(switched, devices, frame, timed),
          switched.expected().latency_ms,
          order_of(switched, "dpu:0")};
}
