#include "partition/switching.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "partition/numbers.hpp"
#include "splitcnn/error.hpp"

namespace splitcnn::inline v0 {

namespace {

/// A partial assignment of the interval search: what each device carries so far, and how we came here.
struct State {
  std::vector<double> load;
  std::size_t parent = 0;       // index into the previous unit's states
  std::size_t device = 0;
};

double worst(const State& s) { return *std::max_element(s.load.begin(), s.load.end()); }

bool dominates(const State& a, const State& b) {
  for (std::size_t d = 0; d < a.load.size(); ++d) {
    if (a.load[d] > b.load[d]) return false;
  }
  return true;
}

/// Keeps the states of one last device that nothing dominates, thinned to max_front. Sorted by the first device's load, a state can only
/// be dominated by an earlier one; for two devices that is one comparison per state.
std::vector<State> pareto(std::vector<State> states, std::size_t max_front) {
  std::sort(states.begin(), states.end(), [](const State& a, const State& b) { return a.load < b.load; });
  std::vector<State> front;
  for (State& s : states) {
    const bool two = s.load.size() == 2;
    const bool beaten = two ? !front.empty() && dominates(front.back(), s)
                            : std::any_of(front.begin(), front.end(), [&](const State& f) { return dominates(f, s); });
    if (!beaten) front.push_back(std::move(s));
  }
  if (front.size() <= max_front) return front;
  std::vector<State> thin;
  for (std::size_t i = 0; i < max_front; ++i) thin.push_back(front[i * (front.size() - 1) / (max_front - 1)]);
  return thin;
}

/// What the units behind each unit cost at the very least, for the lower bound of optimal_interval.
std::vector<double> least_rest(const SwitchProblem& p) {
  std::vector<double> rest(p.units + 1, 0.0);
  for (std::size_t i = p.units; i-- > 0;) {
    double least = infinite;
    for (std::size_t d = 0; d < p.devices; ++d) least = std::min(least, p.time(d, i));
    rest[i] = rest[i + 1] + least;
  }
  return rest;
}

/// No way to finish `s` has an interval below this: the most loaded device, or everything spread evenly.
double lower_bound(const State& s, double rest) {
  double sum = rest;
  for (const double ms : s.load) sum += ms;
  return std::max(worst(s), sum / static_cast<double>(s.load.size()));
}

/// `limit`: interval of the best assignment known.
std::vector<State> extend(const SwitchProblem& p, const std::vector<State>& before, std::size_t unit, double rest, double limit,
                          std::size_t max_front) {
  std::vector<State> all;
  for (std::size_t to = 0; to < p.devices; ++to) {
    if (p.time(to, unit) == infinite) continue;
    std::vector<State> next;
    for (std::size_t i = 0; i < before.size(); ++i) {
      State s = before[i];
      s.load[to] += p.time(to, unit) + (unit == 0 ? 0 : p.overhead(unit, before[i].device, to));
      s.parent = i;
      s.device = to;
      if (lower_bound(s, rest) < limit) next.push_back(std::move(s));
    }
    std::vector<State> kept = pareto(std::move(next), max_front);
    all.insert(all.end(), std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end()));
  }
  return all;
}

struct Run {
  std::size_t first, last;  // units [first, last)
};

std::vector<Run> runs_of(const std::vector<std::size_t>& device) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < device.size(); ++i) {
    if (i == 0 || device[i] != device[i - 1]) runs.push_back({i, i});
    runs.back().last = i + 1;
  }
  return runs;
}

}  // namespace

std::size_t Assignment::switches() const noexcept {
  std::size_t n = 0;
  for (std::size_t i = 1; i < device.size(); ++i) n += device[i] != device[i - 1];
  return n;
}

Assignment evaluate(const SwitchProblem& p, std::vector<std::size_t> device) {
  Assignment a;
  std::vector<double> load(p.devices, 0.0);
  for (std::size_t i = 0; i < device.size(); ++i) {
    load[device[i]] += p.time(device[i], i) + (i == 0 ? 0 : p.overhead(i, device[i - 1], device[i]));
  }
  a.latency_ms = 0;
  for (const double ms : load) a.latency_ms += ms;
  a.interval_ms = *std::max_element(load.begin(), load.end());
  a.device = std::move(device);
  return a;
}

Assignment optimal_latency(const SwitchProblem& p) {
  std::vector<std::vector<double>> best(p.units, std::vector<double>(p.devices, infinite));
  std::vector<std::vector<std::size_t>> from(p.units, std::vector<std::size_t>(p.devices, 0));
  for (std::size_t i = 0; i < p.units; ++i) {
    for (std::size_t d = 0; d < p.devices; ++d) {
      if (i == 0) best[i][d] = p.time(d, i);
      for (std::size_t e = 0; i > 0 && e < p.devices; ++e) {
        const double ms = best[i - 1][e] + p.overhead(i, e, d) + p.time(d, i);
        if (ms < best[i][d]) best[i][d] = ms, from[i][d] = e;
      }
    }
  }
  const auto& end = best.back();
  std::size_t d = static_cast<std::size_t>(std::min_element(end.begin(), end.end()) - end.begin());
  if (end[d] == infinite) return {};
  std::vector<std::size_t> device(p.units);
  for (std::size_t i = p.units; i-- > 0; d = from[i][d]) device[i] = d;
  return evaluate(p, std::move(device));
}

Assignment greedy_latency(const SwitchProblem& p) {
  std::vector<std::size_t> device(p.units, 0);
  for (std::size_t i = 0; i < p.units; ++i) {
    for (std::size_t d = 1; d < p.devices; ++d) {
      if (p.time(d, i) < p.time(device[i], i)) device[i] = d;
    }
    if (p.time(device[i], i) == infinite) return {};
  }
  Assignment now = evaluate(p, std::move(device));
  while (true) {
    Assignment best = now;
    for (const Run& run : runs_of(now.device)) {
      for (const std::size_t neighbour : {run.first == 0 ? run.last : run.first - 1, run.last == p.units ? run.first - 1 : run.last}) {
        if (neighbour >= p.units) continue;
        std::vector<std::size_t> merged = now.device;
        std::fill(merged.begin() + static_cast<std::ptrdiff_t>(run.first), merged.begin() + static_cast<std::ptrdiff_t>(run.last),
                  now.device[neighbour]);
        Assignment candidate = evaluate(p, std::move(merged));
        if (candidate.latency_ms < best.latency_ms) best = std::move(candidate);
      }
    }
    if (best.latency_ms >= now.latency_ms) return now;
    now = std::move(best);
  }
}

Assignment optimal_interval(const SwitchProblem& p, std::size_t max_front) {
  Assignment known = optimal_latency(p);
  for (std::size_t d = 0; d < p.devices; ++d) {
    Assignment single = evaluate(p, std::vector<std::size_t>(p.units, d));
    if (single.interval_ms < known.interval_ms) known = std::move(single);
  }
  const std::vector<double> rest = least_rest(p);
  std::vector<std::vector<State>> states{{State{std::vector<double>(p.devices, 0.0), 0, 0}}};
  for (std::size_t i = 0; i < p.units; ++i) {
    states.push_back(extend(p, states.back(), i, rest[i + 1], known.interval_ms, std::max<std::size_t>(max_front, 2)));
    if (states.back().empty()) return known;  // nothing beats it
  }
  const auto& end = states.back();
  std::size_t at = static_cast<std::size_t>(
      std::min_element(end.begin(), end.end(), [](const State& a, const State& b) { return worst(a) < worst(b); }) - end.begin());
  std::vector<std::size_t> device(p.units);
  for (std::size_t i = p.units; i-- > 0;) {
    device[i] = states[i + 1][at].device;
    at = states[i + 1][at].parent;
  }
  return evaluate(p, std::move(device));
}

std::string to_order_string(const Assignment& assignment, std::string_view letters) {
  std::string order;
  for (const std::size_t d : assignment.device) order += letters[d];
  return order;
}

std::vector<std::size_t> parse_order_string(std::string_view order, std::string_view letters, std::size_t units) {
  if (order.size() != units && order.size() != 1) {
    throw Error{Errc::bad_argument, fmt::format("order string '{}' has {} letters for {} units; give one letter per unit, or one for all",
                                                order, order.size(), units)};
  }
  std::vector<std::size_t> device(units);
  for (std::size_t i = 0; i < units; ++i) {
    const char letter = order[order.size() == 1 ? 0 : i];
    const std::size_t d = letters.find(letter);
    if (d == std::string_view::npos) {
      throw Error{Errc::bad_argument, fmt::format("order string '{}': letter '{}' names no device; known letters are '{}'", order, letter, letters)};
    }
    device[i] = d;
  }
  return device;
}

}  // namespace splitcnn::inline v0
