#pragma once
/// A profile predicts; a trial runs. Takes the few plans that choose() found close to each other, streams
/// frames through each on the real devices, in turn, and keeps the fastest. What a profile cannot see (caches
/// and memory that two routes share, a scheduler's habits) decides between plans that differ by a few
/// percent; a plan of two routes is taken only when it was seen to be faster.
///
///     const Devices devices = Devices::open("dpu:0,cpu");
///     const Choice choice = parts.choose(profile, {.a = "dpu:0", .b = "cpu"});
///     const Trial trial = try_plans(parts, choice, devices);
///     for (const TriedPlan& t : trial.tried) fmt::print("{}: {:.2f} ms\n", t.name, t.interval_ms);
///     Pipeline pipe{trial.plan, devices};
#include <functional>
#include <string>
#include <vector>

#include "splitcnn/device.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

struct TrialOptions {
  Objective objective = Objective::interval;  ///< interval or latency: what the fastest is fastest in
  int rounds = 6;                             ///< times each plan is run, in turn with the others
  double seconds = 0.5;                       ///< of frames per run, besides loading
  /// After the first round only plans within this factor of the best go on, after the n-th within 1 + (near - 1) / n
  /// (but never fewer than those within 1.02): the more was seen, the less is chance, and the runs go to those that count.
  double near = 1.1;
  /// Two routes that share the frames show in the first round what a frame costs each device. Where other shares
  /// suit that better by 1 % or more, the plan with those joins the race.
  bool tune_shares = true;
  std::function<void(std::size_t, std::size_t)>
      progress{};  ///< (runs done, runs at most); called from the calling thread
};

/// One plan as it ran. Medians over the rounds.
struct TriedPlan {
  std::string name;
  Strategy strategy = Strategy::split;
  Cost expected;           ///< by the profile, with the shares of the profile
  double interval_ms = 0;  ///< measured, per result in a full pipeline
  double latency_ms = 0;   ///< measured, one frame alone from push to result
  double spread = 0;       ///< half the range over the rounds, relative; of the objective
  int rounds = 0;
};

struct Trial {
  Plan plan;  ///< the fastest; expected() is what was measured, why() says what it won against
  std::vector<TriedPlan> tried;  ///< fastest first; choice.contenders, and those with tuned shares
};

/// Runs choice.contenders on `devices`, which must have all devices of the plans. Loads one plan at a time.
/// Plans that fail to load or to run are left out with a warning; throws the last one's error when none is
/// left, and bad_argument (another objective, no rounds, no contenders).
[[nodiscard]] SPLITCNN_API Trial try_plans(const Partitioner& parts, const Choice& choice,
                                           const Devices& devices, const TrialOptions& options = {});

}  // namespace splitcnn::inline v0
