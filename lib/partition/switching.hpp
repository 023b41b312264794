#pragma once
/// Per-unit device assignment on a chain of units (the second paper's layer switching), on plain numbers.
///
///     SwitchProblem p{.devices = 2, .units = 8, .unit_ms = {...}, .switch_ms = {...}};
///     Assignment a = optimal_latency(p);          // a.device[i] runs unit i
///     to_order_string(a, "BG") == "GGBBBGGG";
///
/// Cost of one frame: the sum of unit times plus a switch overhead wherever neighbours are on different devices. Interval: the most
/// loaded device, each device charged with its units and with the overhead of the switches INTO it (the receiver copies).
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace splitcnn::inline v0 {

struct SwitchProblem {
  std::size_t devices = 0, units = 0;
  std::vector<double> unit_ms{};  ///< [device * units + unit]; infinite where the device cannot run the unit
  std::vector<double> switch_ms{};///< [(unit * devices + from) * devices + to]: change from `from` to `to` right before `unit`; 0 for from == to

  [[nodiscard]] double time(std::size_t device, std::size_t unit) const { return unit_ms[device * units + unit]; }
  [[nodiscard]] double overhead(std::size_t unit, std::size_t from, std::size_t to) const {
    return switch_ms[(unit * devices + from) * devices + to];
  }
};

struct Assignment {
  std::vector<std::size_t> device;  ///< per unit; empty when no device can run some unit
  double latency_ms = std::numeric_limits<double>::infinity();
  double interval_ms = std::numeric_limits<double>::infinity();

  [[nodiscard]] std::size_t switches() const noexcept;
};

/// Both costs of a given assignment.
Assignment evaluate(const SwitchProblem& problem, std::vector<std::size_t> device);

/// The least latency, exactly: dynamic programming over (unit, device), O(units * devices^2).
Assignment optimal_latency(const SwitchProblem& problem);

/// The paper's method: every unit on its fastest device, then runs are given back to a neighbour's device as long as the switches they
/// cost are dearer than what they gain. Never better than optimal_latency.
Assignment greedy_latency(const SwitchProblem& problem);

/// The least interval: dynamic programming that keeps, per last device, the loads no other partial assignment beats on
/// every device, and drops those that cannot beat the best plan known. Exact as long as no front exceeds `max_front`; then the
/// front is thinned evenly and the result is good, not proven best.
Assignment optimal_interval(const SwitchProblem& problem, std::size_t max_front = 1 << 14);

/// One letter per unit; `letters[d]` names device d.
std::string to_order_string(const Assignment& assignment, std::string_view letters);
/// The inverse. Throws bad_argument: wrong length, or a letter that is not in `letters`. "G" alone stands for all units.
std::vector<std::size_t> parse_order_string(std::string_view order, std::string_view letters, std::size_t units);

}  // namespace splitcnn::inline v0
