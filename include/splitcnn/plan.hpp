#pragma once
/// Plans: which device runs which part of the graph, as a value and as a JSON file.
///
///     Plan plan = Partitioner{quant}.split_at(7, "dpu:0", "gpu:0");
///     plan.save("plan.json");
///     Pipeline pipe{Plan::load("plan.json", quant), Devices::open("dpu:0,gpu:0")};
///     Pipeline safe{plan.with_fallback(), Devices::open("dpu:0,gpu:0,cpu")};   // goes on without the DPU, or the GPU
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/input_transform.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

/// Where a number came from. Never mixed in one table.
enum class Origin : std::uint8_t { none, measured, modelled, predicted };
[[nodiscard]] SPLITCNN_API const char* to_string(Origin origin) noexcept;

/// Consecutive nodes on one device, with what enters and leaves.
struct Segment {
  std::string device{};           ///< "dpu:0", "gpu:0", "cpu"
  NodeId first = 0, last = 0;     ///< nodes [first, last)
  int first_unit = 0, last_unit = 0;
  double expected_ms = 0;         ///< per frame, with conversions and transfers the device waits for; 0 with Origin::none
};

/// The ordered segments that carry a frame from input to result. They cover every node exactly once, in order.
struct Route {
  std::vector<Segment> segments{};
  double weight = 1;              ///< share of the frames (hybrid plans); the weights of a plan sum to 1. 0: a standby route,
                                  ///< loaded like the others and taken when none of those works; behind them in the list
};

/// Time per frame. Both, always: interval is between results in steady state, latency from push to result.
struct Cost {
  double interval_ms = 0;
  double latency_ms = 0;
  Origin origin = Origin::none;
};

/// A value. Holds the graph it is for (shared, cheap) and its calibration where there is one.
class SPLITCNN_API Plan {
 public:
  /// Checks that every route covers the graph, that weights sum to 1 and that standby routes come last, 64 routes at most;
  /// throws bad_argument. DPU segments need
  /// calibration: not_calibrated, naming the command.
  Plan(Graph graph, std::optional<QuantizedGraph> quant, std::vector<Route> routes, Cost expected = {}, std::string why = {});

  [[nodiscard]] const Graph& graph() const noexcept { return graph_; }
  /// nullptr when the plan was made from a plain graph (no DPU segment).
  [[nodiscard]] const QuantizedGraph* quant() const noexcept { return quant_ ? &*quant_ : nullptr; }
  [[nodiscard]] std::span<const Route> routes() const noexcept { return routes_; }
  [[nodiscard]] const Route& route(std::size_t i) const;  ///< throws bad_argument
  [[nodiscard]] const Cost& expected() const noexcept { return expected_; }
  /// Why this plan: one paragraph with the numbers it was chosen by.
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

  /// The same plan with a standby route for each device of its routes: without that DPU its segments run on the neighbouring
  /// GPU segment's device, else on "cpu"; without that GPU (or other device) on "cpu". A device that cannot be missed ("cpu")
  /// gets none. Standby routes it already has stay. "cpu" must then be among the Devices.
  [[nodiscard]] Plan with_fallback() const;

  /// The two segments of a plain split (one route besides standby ones, two segments). Throw not_a_split otherwise.
  [[nodiscard]] const Segment& head() const;
  [[nodiscard]] const Segment& tail() const;

  /// Applied by the first segment to 8-bit camera frames; nullopt: frames are float tensors in the model's own layout.
  std::optional<InputTransform> input_transform;
  /// Class names for Result::top(); may be empty.
  std::vector<std::string> labels;

  /// JSON with the hashes of graph and calibration; the graph itself is not in the file. Throws io.
  void save(const std::filesystem::path& path) const;
  /// Throws io, bad_file, or mismatch when the plan was made for another graph or calibration.
  static Plan load(const std::filesystem::path& path, const Graph& graph, std::optional<QuantizedGraph> quant = {});

 private:
  Graph graph_;
  std::optional<QuantizedGraph> quant_;
  std::vector<Route> routes_;
  Cost expected_;
  std::string why_;
};

}  // namespace splitcnn::inline v0
