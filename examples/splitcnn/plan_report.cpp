// What `plan` prints: one JSON object, or the table of cuts and the choice in words.
#include <fmt/core.h>

#include "plan_command.hpp"
#include "terminal.hpp"

namespace tool {

namespace {

nlohmann::json routes_json(const std::vector<sc::Route>& routes) {
  nlohmann::json list = nlohmann::json::array();
  for (const sc::Route& route : routes) {
    nlohmann::json segments = nlohmann::json::array();
    for (const sc::Segment& s : route.segments) {
      segments.push_back({{"device", s.device}, {"first_unit", s.first_unit}, {"last_unit", s.last_unit}, {"expected_ms", json_number(s.expected_ms)}});
    }
    list.push_back({{"weight", route.weight}, {"segments", std::move(segments)}});
  }
  return list;
}

nlohmann::json considered_json(const sc::Considered& c) {
  return {{"strategy", sc::to_string(c.strategy)},
          {"name", c.name},
          {"interval_ms", json_number(c.cost.interval_ms)},
          {"latency_ms", json_number(c.cost.latency_ms)},
          {"energy_mj", json_number(c.energy_mj)},
          {"memory_mib", json_number(c.memory_mib)},
          {"agreement", json_number(c.agreement)},
          {"score", json_number(c.score)},
          {"refused", c.refused.empty() ? nlohmann::json{} : nlohmann::json(c.refused)},
          {"routes", routes_json(c.routes)}};
}

nlohmann::json curve_json(const std::vector<sc::Candidate>& rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const sc::Candidate& c : rows) {
    list.push_back({{"k", c.k},
                    {"legal", c.legal},
                    {"head_ms", json_number(c.head_ms)},
                    {"link_ms", json_number(c.link_ms)},
                    {"tail_ms", json_number(c.tail_ms)},
                    {"bytes", c.bytes},
                    {"interval_ms", json_number(c.cost.interval_ms)},
                    {"latency_ms", json_number(c.cost.latency_ms)}});
  }
  return list;
}

}  // namespace

nlohmann::json plan_json(const sc::Choice& choice, const std::vector<sc::Candidate>& rows) {
  const sc::Plan& plan = choice.plan;
  nlohmann::json result = considered_json(choice.chosen);
  result["origin"] = sc::to_string(plan.expected().origin);
  result["why"] = plan.why();
  result["bound_ms"] = json_number(choice.bound_ms);
  result["bound_share"] = json_number(choice.bound_ms / plan.expected().interval_ms);
  result["segments"] = result["routes"][0]["segments"];
  result["plan"] = {{"routes", result["routes"]}};
  result["runner_up"] = choice.runner_up ? considered_json(*choice.runner_up) : nlohmann::json{};
  result["strategies"] = nlohmann::json::array();
  for (const sc::Considered& c : choice.by_strategy) result["strategies"].push_back(considered_json(c));
  result["baselines"] = nlohmann::json::object();
  for (const sc::Considered& c : choice.baselines) result["baselines"][c.name.substr(0, c.name.find(": "))] = considered_json(c);
  result["candidates"] = curve_json(rows);
  return result;
}

void print_plan(const sc::Partitioner& parts, const sc::Choice& choice, const std::vector<sc::Candidate>& rows,
                const std::vector<std::string>& devices) {
  const auto& routes = choice.chosen.routes;
  const auto marks = [&](int k) {
    for (const sc::Route& r : routes) {
      for (std::size_t s = 1; s < r.segments.size(); ++s) {
        if (r.segments[s].first_unit == k) return true;
      }
    }
    return false;
  };
  Table curve{{{"cut"}, {"after", Table::Align::left}, {devices[0]}, {"link"}, {devices[1]}, {"crosses"}, {"interval"}, {"latency"}, {""}}, 1};
  for (const sc::Candidate& c : rows) {
    curve.row({std::to_string(c.k), parts.cuts()[static_cast<std::size_t>(c.k)].after, milliseconds(c.head_ms),
               c.link_ms > 0 ? milliseconds(c.link_ms) : "-", milliseconds(c.tail_ms), c.bytes ? kibibytes(c.bytes) : "-",
               milliseconds(c.cost.interval_ms), milliseconds(c.cost.latency_ms), !c.legal ? "not legal" : marks(c.k) ? "<- chosen" : ""});
  }
  Table others{{{"", Table::Align::left}, {"interval"}, {"frames/s"}, {"latency"}, {"memory"}, {"plan", Table::Align::left}}, 5};
  const auto add = [&](const std::string& what, const sc::Considered& c) {
    others.row({what, milliseconds(c.cost.interval_ms), fmt::format("{:.1f}", 1000 / c.cost.interval_ms), milliseconds(c.cost.latency_ms),
                fmt::format("{:.1f} MiB", c.memory_mib), c.refused.empty() ? c.name : c.name + " (" + c.refused + ")"});
  };
  add("chosen", choice.chosen);
  if (choice.runner_up) add("runner-up", *choice.runner_up);
  for (const sc::Considered& c : choice.by_strategy) add(std::string{"best "} + sc::to_string(c.strategy), c);
  for (const sc::Considered& c : choice.baselines) {
    sc::Considered plain = c;
    plain.name = c.name.substr(c.name.find(": ") + 2);
    add(c.name.substr(0, c.name.find(": ")), plain);
  }
  fmt::print("Times are {}.\n\n{}\n{}\n{}", sc::to_string(choice.plan.expected().origin), curve.text(), others.text(), wrapped(choice.plan.why()));
}

nlohmann::json tried_json(const std::vector<sc::TriedPlan>& tried) {
  nlohmann::json list = nlohmann::json::array();
  for (const sc::TriedPlan& t : tried) {
    list.push_back({{"strategy", sc::to_string(t.strategy)},
                    {"name", t.name},
                    {"expected_interval_ms", json_number(t.expected.interval_ms)},
                    {"interval_ms", json_number(t.interval_ms)},
                    {"latency_ms", json_number(t.latency_ms)},
                    {"spread", json_number(t.spread)},
                    {"rounds", t.rounds}});
  }
  return list;
}

void print_tried(const std::vector<sc::TriedPlan>& tried) {
  Table table{{{"tried", Table::Align::left}, {"expected"}, {"measured"}, {"spread"}, {"latency"}}, 0};
  for (const sc::TriedPlan& t : tried) {
    table.row({t.name, milliseconds(t.expected.interval_ms), milliseconds(t.interval_ms), fmt::format("{:.1f} %", 100 * t.spread), milliseconds(t.latency_ms)});
  }
  fmt::print("\n{}", table.text());
}

}  // namespace tool
