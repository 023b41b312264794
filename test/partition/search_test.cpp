// search() against brute force written down again from the definitions, on random profiles.
#include <cmath>

#include "partition/lenet.hpp"
#include "partition/random_profile.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using splitcnn_test::lenet;
using splitcnn_test::random_profile;

namespace {

struct Expected {
  double interval = std::numeric_limits<double>::infinity(), latency = interval;
};

double link_time(const Profile& p, const std::string& from, const std::string& to, std::size_t bytes) {
  for (const Link& l : p.links) {
    if (l.from == from && l.to == to) return l.fixed_ms + static_cast<double>(bytes) * l.ms_per_byte;
  }
  return 0;
}

const DeviceProfile& find(const Profile& p, const std::string& name) {
  for (const DeviceProfile& d : p.devices) {
    if (d.device == name) return d;
  }
  throw std::logic_error{name};
}

/// The definition: interval is the slowest of head, link and tail; latency is their sum, whole batches, and
/// the fill.
Expected by_hand(const Partitioner& parts, const Profile& p, const std::string& head, const std::string& tail,
                 std::size_t k, double frame_interval) {
  const Cut& cut = parts.cuts()[k];
  const std::size_t last = parts.units().size();
  if (head.starts_with("dpu") && k > 0 && !cut.legal) return {};
  const DeviceProfile &h = find(p, head), &t = find(p, tail);
  const double head_ms = k > 0 ? h.prefix_ms[k] : 0, tail_ms = k < last ? t.suffix_ms[k] : 0;
  std::size_t bytes = 0;
  if (k > 0 && k < last) {
    for (const TensorId id : cut.tensors) {
      if (parts.graph().producer(id)) {
        const bool dpu = head.starts_with("dpu") || tail.starts_with("dpu"),
                   gpu = head.starts_with("gpu") || tail.starts_with("gpu");
        bytes += static_cast<std::size_t>(parts.graph().tensor(id).shape.elements()) * (dpu   ? 1
                                                                                        : gpu ? 2
                                                                                              : 4);
      }
    }
  }
  const double link = bytes > 0 ? link_time(p, head, tail, bytes) : 0;
  double fill = 0;
  if (k > 0) fill = std::max(fill, frame_interval * static_cast<double>(h.batch - 1));
  if (k < last) fill = std::max(fill, frame_interval * static_cast<double>(t.batch - 1));
  if (std::isnan(head_ms) || std::isnan(tail_ms)) return {};
  return {std::max({head_ms, link, tail_ms}),
          head_ms * static_cast<double>(h.batch) + link + tail_ms * static_cast<double>(t.batch) + fill};
}

}  // namespace

TEST_CASE("search finds what brute force finds") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const Partitioner& parts = lenet();
  const std::vector<std::pair<std::string, std::string>> pairs{
      {"dpu:0", "gpu:0"}, {"dpu:0", "cpu"}, {"gpu:0", "cpu"}, {"cpu", "gpu:0"}};
  for (int round = 0; round < 200; ++round) {
    Profile p = random_profile(random, parts);
    if (random() % 3 == 0) p.devices[0].batch = 6;
    for (const auto& [head, tail] : pairs) {
      for (const Objective objective : {Objective::interval, Objective::latency}) {
        const double frame_interval = random() % 2 ? 33.3 : 0;
        const SearchOptions options{objective, head, tail, frame_interval};
        const std::vector<Candidate> rows = parts.candidates(p, options);
        REQUIRE(rows.size() == parts.cuts().size());
        double best = std::numeric_limits<double>::infinity();
        for (std::size_t k = 0; k < rows.size(); ++k) {
          CAPTURE(round, head, tail, k);
          const Expected e = by_hand(parts, p, head, tail, k, frame_interval);
          REQUIRE(rows[k].legal == std::isfinite(e.interval));
          if (!rows[k].legal) continue;
          REQUIRE(rows[k].cost.interval_ms == Approx(e.interval));
          REQUIRE(rows[k].cost.latency_ms == Approx(e.latency));
          best = std::min(best, objective == Objective::interval ? e.interval : e.latency);
        }
        const Plan plan = parts.search(p, options);
        REQUIRE((objective == Objective::interval ? plan.expected().interval_ms
                                                  : plan.expected().latency_ms) == Approx(best));
        REQUIRE(plan.expected().origin == Origin::measured);
        if (frame_interval == 0) {
          const Cost again = parts.cost(plan, p);
          REQUIRE(again.interval_ms == Approx(plan.expected().interval_ms));
          REQUIRE(again.latency_ms == Approx(plan.expected().latency_ms));
        }
      }
    }
  }
}

TEST_CASE("interleave takes the best share") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const Partitioner& parts = lenet();
  for (int round = 0; round < 200; ++round) {
    const Profile p = random_profile(random, parts);
    const std::string b = random() % 2 ? "gpu:0" : "cpu";
    const Plan plan = parts.interleave(p, "dpu:0", b);
    const Cost all_a = parts.cost(parts.all_on("dpu:0"), p), all_b = parts.cost(parts.all_on(b), p);
    const Cost mixed = parts.cost(plan, p);
    REQUIRE(mixed.interval_ms == Approx(plan.expected().interval_ms));
    REQUIRE(mixed.interval_ms <= std::min(all_a.interval_ms, all_b.interval_ms) + 1e-9);
    double weights = 0;
    for (const Route& r : plan.routes()) weights += r.weight;
    REQUIRE(weights == Approx(1));
    for (int i = 1 + round % 100; i < 1000; i += 100) {  // no share on a grid is better
      std::vector<Route> routes{parts.all_on("dpu:0").route(0), parts.all_on(b).route(0)};
      routes[0].weight = i / 1000.0;
      routes[1].weight = 1 - routes[0].weight;
      const Plan grid{parts.graph(), *parts.quant(), routes};
      REQUIRE(parts.cost(grid, p).interval_ms >= mixed.interval_ms - 1e-9);
    }
  }
}

TEST_CASE("the explanation names the numbers and says when a device alone wins") {
  std::mt19937_64 random{1};
  const Partitioner& parts = lenet();
  Profile p = random_profile(random, parts);
  p.links.clear();
  const auto flat = [&](DeviceProfile& d, double per_unit) {
    const auto last = static_cast<double>(d.prefix_ms.size()) - 1;
    for (std::size_t k = 0; k < d.prefix_ms.size(); ++k) {
      if (!std::isnan(d.prefix_ms[k])) d.prefix_ms[k] = per_unit * static_cast<double>(k);
      d.suffix_ms[k] = per_unit * (last - static_cast<double>(k));
    }
    d.fixed_ms = 0;
  };
  flat(p.devices[0], 100);
  flat(p.devices[1], 1);
  flat(p.devices[2], 50);
  const Plan gpu = parts.search(p, {.objective = Objective::latency});
  REQUIRE(gpu.route(0).segments.size() == 1);
  REQUIRE(gpu.why().find("all-GPU wins") != std::string::npos);

  flat(p.devices[0], 1);
  const Plan split = parts.search(p);
  INFO(split.why());
  REQUIRE(split.route(0).segments.size() == 2);
  REQUIRE(split.head().expected_ms > 0);
  for (const char* word : {"Cut ", "dpu:0", "gpu:0", "all-DPU", "all-GPU", "interleave", "measured"}) {
    REQUIRE(split.why().find(word) != std::string::npos);
  }
}

TEST_CASE("a profile of something else is refused") {
  std::mt19937_64 random{2};
  const Partitioner& parts = lenet();
  const auto code_of = [&](const Profile& p, const Partitioner& with) {
    try {
      (void)with.search(p);
    } catch (const Error& e) {
      return e.code();
    }
    return Errc::ok;
  };
  Profile p = random_profile(random, parts);
  REQUIRE(code_of(p, parts) == Errc::ok);
  REQUIRE(code_of(p, Partitioner{Graph::zoo("lenet5")}) == Errc::not_calibrated);
  Profile other = p;
  other.graph_hash[0] = other.graph_hash[0] == '0' ? '1' : '0';
  REQUIRE(code_of(other, parts) == Errc::mismatch);
  other = p;
  other.granularity = Granularity::op;
  REQUIRE(code_of(other, parts) == Errc::mismatch);
  other = p;
  other.devices[1].suffix_ms.pop_back();
  REQUIRE(code_of(other, parts) == Errc::mismatch);
  other = p;
  other.devices.erase(other.devices.begin());
  REQUIRE(code_of(other, parts) == Errc::no_device);
  REQUIRE_THROWS_AS(parts.search(p, {.frame_interval_ms = -1}), Error);
}
