#pragma once
/// Chooses where to cut.
///
///     Partitioner parts{quant};                                // or a plain Graph: then no DPU segments
///     for (const Cut& cut : parts.cuts()) ...                   // every boundary, legal or not, and why
///     Plan plan = parts.search(profile, {.objective = Objective::interval});
///     fmt::print("{}\n", plan.why());
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "splitcnn/plan.hpp"
#include "splitcnn/profile.hpp"

namespace splitcnn::inline v0 {

enum class Objective : std::uint8_t {
  interval,  ///< time between results in steady state: the slowest device's time per frame
  latency,   ///< time of one frame from push to result: the sum over segments and links
  energy,    ///< what one frame costs in millijoules; choose() only, and only with a profile that has watts
  weighted,  ///< a sum of the three; choose() only
};

/// What a plan is made of.
enum class Strategy : std::uint8_t {
  split,       ///< one route: a cut, or everything on one device
  switched,    ///< one route with a device per unit
  interleave,  ///< two routes: whole frames to either device
  hybrid,      ///< any two routes
};
[[nodiscard]] SPLITCNN_API const char* to_string(Strategy strategy) noexcept;

struct SearchOptions {
  Objective objective = Objective::interval;
  std::string head = "dpu:0";   ///< device of the first part
  std::string tail = "gpu:0";   ///< device of the rest
  double frame_interval_ms = 0; ///< camera period; > 0 adds the wait for a batch to fill to the latency
};

/// How switch_layers chooses.
enum class SwitchMethod : std::uint8_t {
  optimal,  ///< dynamic programming: the best under the profile
  greedy,   ///< the layer-switching paper's: best device per unit, switches that do not pay are taken back
};

struct SwitchOptions {
  Objective objective = Objective::latency;  ///< greedy knows latency only
  SwitchMethod method = SwitchMethod::optimal;
  std::vector<std::string> devices{};        ///< empty = all of the profile
};

struct MixOptions {
  std::string a = "dpu:0";
  std::string b = "gpu:0";
};

struct ObjectiveWeights {
  double interval = 1, latency = 0, energy = 0;  ///< per ms, per ms, per mJ
};

/// A plan that breaks one of these is not chosen. What a profile does not know (agreement) breaks a limit that asks for it.
struct Limits {
  double latency_ms = std::numeric_limits<double>::infinity();
  double agreement = 0;  ///< share of frames whose top-1 equals float's
  double memory_mib = std::numeric_limits<double>::infinity();  ///< weights and largest maps of every loaded segment
};

struct ChooseOptions {
  Objective objective = Objective::interval;
  ObjectiveWeights weights{};              ///< for Objective::weighted
  Limits limits{};
  std::vector<Strategy> strategies{};      ///< empty = all
  std::string a = "dpu:0", b = "gpu:0";
  double frame_interval_ms = 0;            ///< camera period; > 0 counts the wait for a batch to fill and batches that leave unfilled
  double batch_timeout_ms = 20;            ///< as PipelineOptions::batch_timeout
};

/// A plan that choose() looked at.
struct Considered {
  Strategy strategy = Strategy::split;
  std::string name;               ///< "dpu:0 to cut 7, then gpu:0"
  std::vector<Route> routes;      ///< with weights and expected_ms
  Cost cost;
  double energy_mj = 0;           ///< NaN where the profile does not know
  double memory_mib = 0;
  double agreement = 1;           ///< mean over the routes; NaN where the profile does not know
  double score = 0;               ///< what was made least
  std::string refused;            ///< the limit it breaks; empty = allowed
};

struct Choice;
class Predictor;
struct Prediction;
struct PredictOptions;

/// Of Partitioner::with_alternatives: also a device that becomes faster (the others were measured hot).
inline constexpr double default_slowdowns[] = {2, 4, 0.5};

/// One row of the search's table.
struct Candidate {
  int k = 0;                    ///< cut
  bool legal = false;
  double head_ms = 0, link_ms = 0, tail_ms = 0;
  std::size_t bytes = 0;        ///< what crosses, per frame, in the head's boundary dtype
  Cost cost;                    ///< infinite when not legal
};

class SPLITCNN_API Partitioner {
 public:
  explicit Partitioner(Graph graph, Granularity granularity = Granularity::block);
  explicit Partitioner(QuantizedGraph quant, Granularity granularity = Granularity::block);

  [[nodiscard]] const Graph& graph() const noexcept { return graph_; }
  [[nodiscard]] const QuantizedGraph* quant() const noexcept { return quant_ ? &*quant_ : nullptr; }
  [[nodiscard]] Granularity granularity() const noexcept { return granularity_; }
  [[nodiscard]] std::span<const Unit> units() const noexcept { return units_; }
  [[nodiscard]] std::span<const Cut> cuts() const noexcept { return cuts_; }

  /// Units [0, k) on `head`, the rest on `tail`; k = 0 or K gives a one-segment plan. Throws unsupported with the cut's reason
  /// when the head is a DPU and the cut is not legal, not_calibrated, bad_argument (k out of range).
  [[nodiscard]] Plan split_at(int k, std::string_view head = "dpu:0", std::string_view tail = "gpu:0") const;
  /// Everything on one device. On a DPU: up to the last legal cut, the rest on `rest` (reported as dpu+cpu).
  [[nodiscard]] Plan all_on(std::string_view device, std::string_view rest = "cpu") const;
  /// One device letter per unit, in order; runs of equal devices become segments (layer switching by hand).
  [[nodiscard]] Plan switched(std::span<const std::string> device_per_unit) const;
  /// Whole frames to either device in proportion to their measured speed: the frame-interleave baseline.
  [[nodiscard]] Plan interleave(const Profile& profile, std::string_view a = "dpu:0", std::string_view b = "gpu:0") const;

  /// The best single cut, all-head and all-tail included. Throws mismatch when the profile is of another graph.
  [[nodiscard]] Plan search(const Profile& profile, const SearchOptions& options = {}) const;
  /// A device for every unit (Aghapour et al., DSD 2022), as one route of as many segments as it takes; each switch costs the
  /// next device's fixed time and the transfer of what crosses. Throws mismatch, no_device, bad_argument (greedy with
  /// Objective::interval), unsupported when no device can run some unit.
  [[nodiscard]] Plan switch_layers(const Profile& profile, const SwitchOptions& options = {}) const;
  /// The best two strategies side by side, frames shared between them so that the busiest device or link is least busy: each of all-a,
  /// all-b and every legal split, in any pair, or one alone where nothing is gained. Never slower than search() or
  /// interleave() by the same profile.
  [[nodiscard]] Plan mix(const Profile& profile, const MixOptions& options = {}) const;
  /// The plan with standby routes that would be best if one of the profile's devices took `slowdowns` times as long, for a pipeline that re-plans
  /// (PipelineOptions::replan). Every route gets its expected times from the profile. At most `most` routes in all: each is loaded,
  /// with its weights. Throws mismatch, no_device.
  [[nodiscard]] Plan with_alternatives(const Plan& plan, const Profile& profile, std::span<const double> slowdowns = default_slowdowns,
                                       std::size_t most = 8) const;
  /// The best of split, layer switching, interleave and hybrid by an objective and under limits, with everything that explains it. Throws
  /// mismatch, no_device, unsupported (no plan keeps the limits: names what each strategy breaks), bad_argument (energy without watts
  /// in the profile, negative weights).
  [[nodiscard]] Choice choose(const Profile& profile, const ChooseOptions& options = {}) const;
  /// The best single cut as a Predictor (predictor.hpp) sees it, without any device; with its interval and the cuts that come close, which
  /// are measured where devices are given. Throws not_calibrated where the plan would have a DPU and the graph has no calibration
  /// (Predictor::forecast needs none), no_device.
  [[nodiscard]] Prediction predict(const Predictor& predictor) const;
  [[nodiscard]] Prediction predict(const Predictor& predictor, const PredictOptions& options) const;
  /// The table search() chooses from, one row per cut.
  [[nodiscard]] std::vector<Candidate> candidates(const Profile& profile, const SearchOptions& options = {}) const;
  /// What a plan should cost by this profile.
  [[nodiscard]] Cost cost(const Plan& plan, const Profile& profile) const;

 private:
  Graph graph_;
  std::optional<QuantizedGraph> quant_;
  Granularity granularity_;
  std::vector<Unit> units_;
  std::vector<Cut> cuts_;
};

struct Choice {
  Plan plan;
  Considered chosen;
  std::optional<Considered> runner_up;     ///< the next best that keeps the limits
  std::vector<Considered> by_strategy;     ///< the best of each strategy that was allowed to compete, limits or not
  std::vector<Considered> baselines;       ///< all on a, all on b, interleave, best single cut: as far as the profile has them
  /// What may turn out to be the fastest when it is run (trial.hpp): the plan, the best of each strategy, and the splits next to the best one.
  /// All keep the limits. Best first.
  std::vector<Considered> contenders;
  double bound_ms = 0;                     ///< Ta * Tb / (Ta + Tb): whole frames shared without loss; only layers that suit one device better get below it
};

}  // namespace splitcnn::inline v0
