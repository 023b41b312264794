// The best plan of any strategy by any objective, under limits.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "partition/search.hpp"
#include "partition/strategies.hpp"

namespace splitcnn::inline v0 {

const char* to_string(Strategy strategy) noexcept {
  switch (strategy) {
    case Strategy::split: return "split";
    case Strategy::switched: return "switch";
    case Strategy::interleave: return "interleave";
    case Strategy::hybrid: return "hybrid";
  }
  return "unknown";
}

namespace {

constexpr std::size_t most_splits = 4;  // among the contenders
constexpr double near_split = 1.15;

class Chooser {
 public:
  Chooser(const Partitioner& parts, const Profile& profile, const ChooseOptions& options)
      : parts_{parts}, profile_{profile}, options_{options}, feed_{options.frame_interval_ms, options.batch_timeout_ms} {
    check();
    splits_ = splits_of(parts, profile, options.a, options.b, feed_);
  }

  Choice run() {
    for (const RouteFacts& r : splits_) consider(Strategy::split, {&r, nullptr}, {});
    for (const RouteFacts& r : switched()) consider(Strategy::switched, {&r, nullptr}, {});
    consider_pairs();
    baselines();
    const auto least = [&](std::vector<Considered>& list) {
      std::stable_sort(list.begin(), list.end(), [](const Considered& x, const Considered& y) { return better(x, y); });
    };
    least(by_strategy_);
    if (!best_) refuse();
    return {plan_of(parts_, best_->routes, best_->cost, why(*best_)), *best_, runner_up_, by_strategy_, baselines_, contenders(), bound_ms()};
  }

 private:
  struct Pair {
    const RouteFacts* a = nullptr;
    const RouteFacts* b = nullptr;  // null: a alone
  };

  void check() const {
    check_profile(parts_, profile_);
    const ObjectiveWeights& w = options_.weights;
    if (!(options_.frame_interval_ms >= 0) || !(options_.batch_timeout_ms >= 0) || !(w.interval >= 0) || !(w.latency >= 0) || !(w.energy >= 0)) {
      throw Error{Errc::bad_argument, "choose: a weight, period or timeout is negative; give 0 or more"};
    }
    const bool energy = options_.objective == Objective::energy || (options_.objective == Objective::weighted && w.energy > 0);
    for (const std::string& name : {options_.a, options_.b}) {
      if (!energy || !std::isnan(profile_.device(name).watts)) continue;
      throw Error{Errc::bad_argument,
                  fmt::format("choose: the profile does not say what {} draws; measure where RAPL can be read, or set its watts", name)};
    }
  }

  [[nodiscard]] bool wanted(Strategy s) const {
    return options_.strategies.empty() || std::find(options_.strategies.begin(), options_.strategies.end(), s) != options_.strategies.end();
  }

  /// Less score; a tie goes to fewer routes, then to the lower latency.
  static bool better(const Considered& x, const Considered& y) {
    const double slack = 1e-9 * std::abs(y.score);
    if (std::abs(x.score - y.score) > slack) return x.score < y.score;
    return std::pair{x.routes.size(), x.cost.latency_ms} < std::pair{y.routes.size(), y.cost.latency_ms};
  }

  double score(const Considered& c) const {
    const ObjectiveWeights& w = options_.weights;
    switch (options_.objective) {
      case Objective::interval: return c.cost.interval_ms;
      case Objective::latency: return c.cost.latency_ms;
      case Objective::energy: return c.energy_mj;
      case Objective::weighted: break;
    }
    return w.interval * c.cost.interval_ms + w.latency * c.cost.latency_ms + (w.energy > 0 ? w.energy * c.energy_mj : 0);
  }

  std::string broken_limit(const Considered& c) const {
    const Limits& l = options_.limits;
    if (c.cost.latency_ms > l.latency_ms) return fmt::format("latency {:.2f} ms > {:.2f} ms", c.cost.latency_ms, l.latency_ms);
    if (c.memory_mib > l.memory_mib) return fmt::format("memory {:.1f} MiB > {:.1f} MiB", c.memory_mib, l.memory_mib);
    if (l.agreement > 0 && std::isnan(c.agreement)) return "its agreement with float was not measured";
    if (c.agreement < l.agreement) return fmt::format("agreement {:.2f} % < {:.2f} %", 100 * c.agreement, 100 * l.agreement);
    return {};
  }

  /// The numbers of one route, or of two that share the frames; without the routes themselves, which only the few that are kept need.
  Considered assess(Strategy strategy, const Pair& pair, const Sharing& sharing) const {
    Considered c{.strategy = strategy};
    if (!pair.b) {
      c.cost = {interval_ms({Route{}}, {pair.a->cost}, profile_), pair.a->cost.latency_ms, profile_.origin};
      c.energy_mj = pair.a->energy_mj, c.memory_mib = pair.a->memory_mib, c.agreement = pair.a->agreement;
    } else {
      const double share = sharing.share;
      const auto mean = [&](double x, double y) { return share * x + (1 - share) * y; };
      c.cost = {sharing.interval_ms, mean(pair.a->cost.latency_ms, pair.b->cost.latency_ms), profile_.origin};
      c.energy_mj = mean(pair.a->energy_mj, pair.b->energy_mj);
      c.memory_mib = pair.a->memory_mib + pair.b->memory_mib;
      c.agreement = mean(pair.a->agreement, pair.b->agreement);
    }
    c.score = score(c);
    c.refused = broken_limit(c);
    c.routes.resize(pair.b ? 2 : 1);
    return c;
  }

  void complete(Considered& c, const Pair& pair, double share) const {
    c.routes = {pair.a->route};
    c.name = pair.a->name;
    if (!pair.b) return;
    c.routes.push_back(pair.b->route);
    c.routes[0].weight = share;
    c.routes[1].weight = 1 - share;
    c.name = fmt::format("{:.0f} % {}, {:.0f} % {}", 100 * share, pair.a->name, 100 * (1 - share), pair.b->name);
  }

  void consider(Strategy strategy, const Pair& pair, const Sharing& sharing) {
    if (!wanted(strategy)) return;
    Considered c = assess(strategy, pair, sharing);
    if (!std::isfinite(c.score)) return;
    const auto same = std::find_if(by_strategy_.begin(), by_strategy_.end(), [&](const Considered& o) { return o.strategy == strategy; });
    const bool first = same == by_strategy_.end(), best_of_kind = first || (same->refused.empty() == c.refused.empty() ? better(c, *same) : c.refused.empty());
    const bool takes_lead = c.refused.empty() && (!best_ || better(c, *best_));
    const bool second = c.refused.empty() && !takes_lead && (!runner_up_ || better(c, *runner_up_));
    if (!best_of_kind && !takes_lead && !second) return;
    complete(c, pair, sharing.share);
    if (best_of_kind) first ? by_strategy_.push_back(c) : void(*same = c);
    if (takes_lead) {
      runner_up_ = std::exchange(best_, std::move(c));
    } else if (second) {
      runner_up_ = std::move(c);
    }
  }

  std::vector<Considered> contenders() const {
    std::vector<Considered> all{*best_};
    if (runner_up_) all.push_back(*runner_up_);
    for (const Considered& c : by_strategy_) {
      if (c.refused.empty()) all.push_back(c);
    }
    const std::vector<Considered> splits = splits_near_the_best();
    all.insert(all.end(), splits.begin(), splits.end());
    std::stable_sort(all.begin(), all.end(), [](const Considered& x, const Considered& y) { return better(x, y); });
    std::vector<Considered> once;
    for (Considered& c : all) {
      if (std::none_of(once.begin(), once.end(), [&](const Considered& o) { return o.name == c.name; })) once.push_back(std::move(c));
    }
    return once;
  }

  /// At most most_splits of them, within near_split of the best.
  std::vector<Considered> splits_near_the_best() const {
    std::vector<std::pair<Considered, const RouteFacts*>> all;
    for (const RouteFacts& r : splits_) {
      Considered c = assess(Strategy::split, {&r, nullptr}, {});
      if (wanted(Strategy::split) && std::isfinite(c.score) && c.refused.empty()) all.emplace_back(std::move(c), &r);
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return better(x.first, y.first); });
    std::vector<Considered> near;
    for (auto& [c, route] : all) {
      if (near.size() == most_splits || c.score > near_split * all.front().first.score) break;
      complete(c, {route, nullptr}, 0);
      near.push_back(std::move(c));
    }
    return near;
  }

  std::vector<RouteFacts> switched() const {
    std::vector<RouteFacts> all;
    if (!wanted(Strategy::switched)) return all;
    for (const SwitchOptions& how : {SwitchOptions{Objective::latency}, SwitchOptions{Objective::interval}}) {
      SwitchOptions between = how;
      between.devices = {options_.a, options_.b};
      try {
        const Plan plan = parts_.switch_layers(profile_, between);
        all.push_back(facts_of(parts_, profile_, plan.route(0), describe(plan.route(0)), Strategy::switched, feed_));
      } catch (const Error& e) {
        if (e.code() != Errc::unsupported) throw;
      }
    }
    return all;
  }

  static std::string describe(const Route& route) {
    std::string text;
    for (const Segment& s : route.segments) text += fmt::format("{}{} {}-{}", text.empty() ? "" : ", ", s.device, s.first_unit, s.last_unit - 1);
    return "units " + text;
  }

  /// With a camera's period each route is fed its share of the frames, so batches fill more slowly than alone.
  void consider_pairs() {
    if (!wanted(Strategy::hybrid) && !wanted(Strategy::interleave)) return;
    for (std::size_t a = 0; a < splits_.size(); ++a) {
      for (std::size_t b = a + 1; b < splits_.size(); ++b) {
        const Sharing sharing = best_sharing(splits_[a], splits_[b], profile_);
        if (sharing.share <= 0 || sharing.share >= 1) continue;
        const bool whole = splits_[a].name.starts_with("all on") && splits_[b].name.starts_with("all on");
        const Strategy strategy = whole ? Strategy::interleave : Strategy::hybrid;
        if (feed_.frame_interval_ms <= 0) {
          consider(strategy, {&splits_[a], &splits_[b]}, sharing);
          continue;
        }
        const RouteFacts fed_a = fed(splits_[a], sharing.share), fed_b = fed(splits_[b], 1 - sharing.share);
        consider(strategy, {&fed_a, &fed_b}, best_sharing(fed_a, fed_b, profile_));
      }
    }
  }

  RouteFacts fed(const RouteFacts& facts, double share) const {
    return facts_of(parts_, profile_, facts.route, facts.name, facts.strategy, {feed_.frame_interval_ms / share, feed_.batch_timeout_ms});
  }

  void baselines() {
    const RouteFacts *on_a = nullptr, *on_b = nullptr, *cut = nullptr;
    const auto alone = [&](const RouteFacts& r) { return interval_ms({Route{}}, {r.cost}, profile_); };
    for (const RouteFacts& r : splits_) {
      if (r.name == "all on " + options_.a) on_a = &r;
      if (r.name == "all on " + options_.b) on_b = &r;
      if (r.name.starts_with("all on")) continue;
      if (!cut || alone(r) < alone(*cut)) cut = &r;
    }
    const auto add = [&](const std::string& name, Strategy strategy, const Pair& pair, const Sharing& sharing) {
      Considered c = assess(strategy, pair, sharing);
      complete(c, pair, sharing.share);
      c.name = fmt::format("{}: {}", name, c.name);
      baselines_.push_back(std::move(c));
    };
    if (on_a) add(all_name(options_.a, options_.b), Strategy::split, {on_a, nullptr}, {});
    if (on_b && on_b != on_a) add(all_name(options_.b, options_.a), Strategy::split, {on_b, nullptr}, {});
    if (on_a && on_b && on_a != on_b) add("interleave", Strategy::interleave, {on_a, on_b}, best_sharing(*on_a, *on_b, profile_));
    if (cut) add("best_single_cut", Strategy::split, {cut, nullptr}, {});
  }

  /// "all_dpu"; the whole device name where the other one is of the same kind.
  static std::string all_name(const std::string& device, const std::string& other) {
    const std::string kind = device.substr(0, 3);
    return fmt::format("all_{}", other.starts_with(kind) ? device : kind);
  }

  double bound_ms() const {
    double a = 0, b = 0;
    for (const Considered& c : baselines_) {
      if (c.name.starts_with("all_")) (a == 0 ? a : b) = c.cost.interval_ms;
    }
    return a > 0 && b > 0 ? a * b / (a + b) : std::max(a, b);
  }

  [[noreturn]] void refuse() const {
    std::string text;
    for (const Considered& c : by_strategy_) text += fmt::format("; {}: {}", to_string(c.strategy), c.refused);
    throw Error{Errc::unsupported, fmt::format("'{}': no plan on {} and {} keeps the limits{}; relax one of them", parts_.graph().name(), options_.a,
                                               options_.b, text.empty() ? " (the profile has no times for any)" : text)};
  }

  std::string why(const Considered& c) const {
    std::string text = fmt::format("{}: {}. By the {} profile a result every {:.3f} ms, {:.3f} ms from frame to result", to_string(c.strategy), c.name,
                                   to_string(profile_.origin), c.cost.interval_ms, c.cost.latency_ms);
    const double bound = bound_ms();
    if (bound > 0) text += fmt::format("; {:.0f} % of the bound Ta*Tb/(Ta+Tb) = {:.3f} ms", 100 * bound / c.cost.interval_ms, bound);
    if (runner_up_) text += fmt::format(". Next best: {} ({}), interval {:.3f} ms, latency {:.3f} ms", to_string(runner_up_->strategy), runner_up_->name,
                                        runner_up_->cost.interval_ms, runner_up_->cost.latency_ms);
    text += ". Baselines";
    for (const Considered& b : baselines_) text += fmt::format(", {} {:.3f} ms", b.name.substr(0, b.name.find(": ")), b.cost.interval_ms);
    for (const Considered& s : by_strategy_) {
      if (!s.refused.empty()) text += fmt::format(". {} is out: {}", to_string(s.strategy), s.refused);
    }
    return text + ".";
  }

  const Partitioner& parts_;
  const Profile& profile_;
  const ChooseOptions& options_;
  Feed feed_;
  std::vector<RouteFacts> splits_;
  std::vector<Considered> by_strategy_, baselines_;
  std::optional<Considered> best_, runner_up_;
};

}  // namespace

Choice Partitioner::choose(const Profile& profile, const ChooseOptions& options) const { return Chooser{*this, profile, options}.run(); }

}  // namespace splitcnn::inline v0
