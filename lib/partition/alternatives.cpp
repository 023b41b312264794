// Standby routes for a pipeline that re-plans: what would be best if a device were slower or faster than its
// profile says.
#include <algorithm>

#include "partition/route_cost.hpp"
#include "partition/search.hpp"
#include "plan/same_way.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

Profile slowed(Profile profile, const std::string& device, double factor) {
  for (DeviceProfile& d : profile.devices) {
    if (d.device != device) continue;
    for (double& ms : d.prefix_ms) ms *= factor;
    for (double& ms : d.suffix_ms) ms *= factor;
    d.fixed_ms *= factor;
  }
  return profile;
}

/// The plan's devices that the profile knows, in the plan's order.
std::vector<std::string> devices_of(const Plan& plan, const Profile& profile) {
  std::vector<std::string> names;
  for (const Route& route : plan.routes()) {
    for (const Segment& s : route.segments) {
      if (std::find(names.begin(), names.end(), s.device) == names.end())
        names.push_back(profile.device(s.device).device);
    }
  }
  for (const DeviceProfile& d : profile.devices) {  // a plan of one device has alternatives on the others
    if (names.size() < 2 && std::find(names.begin(), names.end(), d.device) == names.end())
      names.push_back(d.device);
  }
  return names;
}

}  // namespace

Plan Partitioner::with_alternatives(const Plan& plan, const Profile& profile,
                                    std::span<const double> slowdowns, std::size_t most) const {
  check_profile(*this, profile);
  std::vector<Route> routes{plan.routes().begin(), plan.routes().end()};
  const auto add = [&](const Plan& other) {
    for (Route route : other.routes()) {
      const auto known = [&](const Route& r) { return same_way(r, route); };
      if (routes.size() >= most || std::any_of(routes.begin(), routes.end(), known)) continue;
      route.weight = 0;
      routes.push_back(std::move(route));
    }
  };
  const std::vector<std::string> devices = devices_of(plan, profile);
  for (const double slowdown : slowdowns) {
    if (!(slowdown > 0))
      throw Error{
          Errc::bad_argument,
          "with_alternatives: a slowdown is not above 0; 2 asks what if a device takes twice as long"};
    for (const std::string& slow : devices) {
      for (std::size_t a = 0; a < devices.size(); ++a) {
        for (std::size_t b = a + 1; b < devices.size(); ++b)
          add(mix(slowed(profile, slow, slowdown), {.a = devices[a], .b = devices[b]}));
      }
    }
  }
  for (Route& route : routes)
    route_cost(graph_, route, profile);  // for the expected times; of the profile as it is
  Plan result{graph_, quant_, std::move(routes), plan.expected(), plan.why()};
  result.input_transform = plan.input_transform;
  result.labels = plan.labels;
  return result;
}

}  // namespace splitcnn::inline v0
