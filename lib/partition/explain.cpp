// Why a cut was chosen, in one readable paragraph with the numbers.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "partition/search.hpp"
#include "plan/segment_io.hpp"

namespace splitcnn::inline v0 {

namespace {

std::string all_name(std::string_view device) {
  switch (device_kind(device)) {
    case DeviceKind::dpu:
      return "all-DPU";
    case DeviceKind::gpu:
      return "all-GPU";
    case DeviceKind::cpu:
      break;
  }
  return fmt::format("all-{}", device);
}

/// Three digits that mean something also for networks of microseconds.
std::string ms_text(double ms) {
  return ms < 1 ? fmt::format("{:.3f} ms", ms) : fmt::format("{:.2f} ms", ms);
}

double objective_ms(const Cost& cost, Objective objective) {
  return objective == Objective::interval ? cost.interval_ms : cost.latency_ms;
}

struct Baseline {
  std::string name;
  double ms = std::numeric_limits<double>::infinity();
  std::string text;  ///< "all-GPU 39.80 ms"
};

/// `make` builds the plan; what cannot be built or costed is named with the reason instead of a number.
template <class Make>
Baseline baseline(const Partitioner& parts, const Profile& profile, Objective objective, std::string name,
                  Make make) {
  Baseline b{.name = std::move(name)};
  try {
    const Plan plan = make();
    b.ms = objective_ms(parts.cost(plan, profile), objective);
    const auto segments = plan.route(0).segments;
    const std::string devices = segments.size() > 1 && plan.routes().size() == 1
                                    ? fmt::format(" ({} up to cut {}, {} behind)", segments[0].device,
                                                  segments[0].last_unit, segments[1].device)
                                    : "";
    b.text = std::isfinite(b.ms) ? fmt::format("{} {}{}", b.name, ms_text(b.ms), devices)
                                 : b.name + " is not in this profile";
  } catch (const Error&) {
    b.text = b.name + " is not possible";
  }
  return b;
}

std::string chosen_text(const Partitioner& parts, const SearchOptions& options, const Candidate& c) {
  const int last = static_cast<int>(parts.units().size());
  const double fps = c.cost.interval_ms > 0 ? 1000 / c.cost.interval_ms : 0;
  const std::string result =
      fmt::format("a result every {} ({:.{}f} per second), {} from frame to result",
                  ms_text(c.cost.interval_ms), fps, fps < 100 ? 1 : 0, ms_text(c.cost.latency_ms));
  if (c.k == 0 || c.k == last || options.head == options.tail) {
    return fmt::format("No cut: everything runs on {}, {}.", c.k == 0 ? options.tail : options.head, result);
  }
  const std::string link = c.link_ms > 0 ? " in " + ms_text(c.link_ms) : "";
  return fmt::format("Cut {} of {}, after '{}': head on {} {}, tail on {} {}, {:.1f} KiB cross{}; {}.", c.k,
                     last, parts.cuts()[static_cast<std::size_t>(c.k)].after, options.head,
                     ms_text(c.head_ms), options.tail, ms_text(c.tail_ms),
                     static_cast<double>(c.bytes) / 1024, link, result);
}

/// The plain verdict. Differences below half a percent are no differences.
std::string verdict(const Partitioner& parts, const SearchOptions& options, const Candidate& c,
                    const std::vector<Baseline>& all) {
  const double chosen = objective_ms(c.cost, options.objective);
  const Baseline& interleave = all.back();
  if (interleave.ms < 0.995 * chosen) {
    return fmt::format(" Interleaving whole frames would be faster than any single cut ({}).",
                       ms_text(interleave.ms));
  }
  const bool whole = c.k == 0 || c.k == static_cast<int>(parts.units().size());
  if (whole)
    return fmt::format(" {} wins: no cut is better.", all_name(c.k == 0 ? options.tail : options.head));
  double next = std::numeric_limits<double>::infinity();
  for (const Baseline& b : all) next = std::min(next, b.ms);
  if (!std::isfinite(next)) return "";
  if (next < 0.995 * chosen) return "";  // the all-DPU row uses a third device, which this search does not
  return fmt::format(" The cut is {:.2f} times as fast as the best of these.", next / chosen);
}

}  // namespace

std::string explain(const Partitioner& parts, const Profile& profile, const SearchOptions& options,
                    const Candidate& chosen) {
  const std::string rest = rest_device(profile, options.tail);
  std::vector<Baseline> all;
  for (const std::string& device : {options.head, options.tail}) {
    all.push_back(baseline(parts, profile, options.objective, all_name(device),
                           [&] { return parts.all_on(device, rest); }));
  }
  all.push_back(baseline(parts, profile, options.objective, "frame interleave",
                         [&] { return parts.interleave(profile, options.head, options.tail); }));
  const char* what = options.objective == Objective::interval ? "interval" : "latency";
  return fmt::format("{} By the same {} profile, {}: {}, {}, {}.{}", chosen_text(parts, options, chosen),
                     to_string(profile.origin), what, all[0].text, all[1].text, all[2].text,
                     verdict(parts, options, chosen, all));
}

}  // namespace splitcnn::inline v0
