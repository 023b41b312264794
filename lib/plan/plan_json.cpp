#include "plan/plan_json.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "core/input_transform_json.hpp"
#include "core/json_file.hpp"
#include "plan/segment_io.hpp"
#include "plan/calibration_hash.hpp"
#include "splitcnn/plan.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr const char* format_name = "splitcnn-plan";
constexpr int format_version = 2;  ///< 2: standby routes
constexpr Origin origins[] = {Origin::none, Origin::measured, Origin::modelled, Origin::predicted};

nlohmann::json to_json(const Route& route) {
  nlohmann::json segments = nlohmann::json::array();
  for (const Segment& s : route.segments) {
    segments.push_back({{"device", s.device},
                        {"first", s.first},
                        {"last", s.last},
                        {"first_unit", s.first_unit},
                        {"last_unit", s.last_unit},
                        {"expected_ms", s.expected_ms}});
  }
  return {{"weight", route.weight}, {"segments", std::move(segments)}};
}

const nlohmann::json& require_array(const nlohmann::json& value, const char* key, const std::string& where) {
  const auto found = value.is_object() ? value.find(key) : value.end();
  if (!value.is_object() || found == value.end() || !found->is_array()) {
    throw Error{Errc::bad_file, where + ": '" + key + "' is missing or not a list"};
  }
  return *found;
}

Route route_from_json(const nlohmann::json& value, const std::string& where) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  Route route;
  route.weight = require_number(value, "weight", where);
  for (const nlohmann::json& item : require_array(value, "segments", where)) {
    const std::string here = fmt::format("{}, segment {}", where, route.segments.size());
    Segment& s = route.segments.emplace_back();
    s.device = require<std::string>(item, "device", here);
    s.first = static_cast<NodeId>(require_integer(item, "first", here, 0, most));
    s.last = static_cast<NodeId>(require_integer(item, "last", here, 0, most));
    s.first_unit = static_cast<int>(require_integer(item, "first_unit", here, 0, most));
    s.last_unit = static_cast<int>(require_integer(item, "last_unit", here, 0, most));
    s.expected_ms = require_number(item, "expected_ms", here);
  }
  return route;
}

Cost cost_from_json(const nlohmann::json& value, const std::string& where) {
  Cost cost{.interval_ms = require_number(value, "interval_ms", where),
            .latency_ms = require_number(value, "latency_ms", where)};
  const auto origin = require<std::string>(value, "origin", where);
  const auto* found =
      std::find_if(std::begin(origins), std::end(origins), [&](Origin o) { return origin == to_string(o); });
  if (found == std::end(origins))
    throw Error{Errc::bad_file, where + ": 'origin' is none of none, measured, modelled, predicted"};
  cost.origin = *found;
  return cost;
}

/// `calibration` of the file against what the caller has.
void check_calibration(const nlohmann::json& value, const std::optional<QuantizedGraph>& quant,
                       const std::string& where) {
  const auto calibration = require<nlohmann::json>(value, "calibration", where);
  if (calibration.is_null()) return;
  const auto expected = require<std::string>(value, "calibration", where);
  if (!quant) return;  // the constructor complains if a DPU segment needs it
  const std::string actual = calibration_hash(*quant);
  if (actual != expected) {
    throw Error{Errc::mismatch,
                fmt::format("{}: was made with calibration {}, this one is {}; make the plan again", where,
                            expected.substr(0, 64), actual)};
  }
}

/// A file that names a DPU without saying by which calibration was not written by save().
void check_dpu_has_calibration(const nlohmann::json& value, const std::vector<Route>& routes,
                               const std::string& where) {
  if (!value.at("calibration").is_null()) return;
  for (const Route& route : routes) {
    for (const Segment& segment : route.segments) {
      if (device_kind(segment.device) == DeviceKind::dpu) {
        throw Error{Errc::bad_file, where + ": has a segment on " + segment.device +
                                        " but 'calibration' is null; make the plan again"};
      }
    }
  }
}

}  // namespace

nlohmann::json plan_to_json(const Plan& plan) {
  nlohmann::json routes = nlohmann::json::array();
  for (const Route& route : plan.routes()) routes.push_back(to_json(route));
  nlohmann::json value{{"format", format_name},
                       {"version", plan.routes().back().weight == 0 ? 2 : 1},  // older readers would refuse weight 0
                       {"graph", {{"name", plan.graph().name()}, {"hash", plan.graph().hash()}}},
                       {"calibration", nullptr},
                       {"routes", std::move(routes)},
                       {"expected",
                        {{"interval_ms", plan.expected().interval_ms},
                         {"latency_ms", plan.expected().latency_ms},
                         {"origin", to_string(plan.expected().origin)}}},
                       {"why", plan.why()}};
  if (plan.quant()) value["calibration"] = calibration_hash(*plan.quant());
  if (plan.input_transform) value["input_transform"] = input_transform_to_json(*plan.input_transform);
  if (!plan.labels.empty()) value["labels"] = plan.labels;
  return value;
}

void Plan::save(const std::filesystem::path& path) const { write_json(path, plan_to_json(*this)); }

Plan Plan::load(const std::filesystem::path& path, const Graph& graph, std::optional<QuantizedGraph> quant) {
  return plan_from_json(read_json(path), path.string(), graph, std::move(quant));
}

Plan plan_from_json(const nlohmann::json& value, const std::string& where, const Graph& graph, std::optional<QuantizedGraph> quant) {
  check_format(value, format_name, format_version, where);
  const auto of = require<nlohmann::json>(value, "graph", where);
  const auto hash = require<std::string>(of, "hash", where + ", graph");
  if (hash != graph.hash()) {
    throw Error{Errc::mismatch,
                fmt::format("{}: was made for graph {}, '{}' is {}; make the plan again for this graph",
                            where, hash.substr(0, 64), graph.name(), graph.hash())};
  }
  check_calibration(value, quant, where);

  std::vector<Route> routes;
  for (const nlohmann::json& item : require_array(value, "routes", where)) {
    routes.push_back(route_from_json(item, fmt::format("{}, route {}", where, routes.size())));
  }
  check_dpu_has_calibration(value, routes, where);
  const Cost expected =
      cost_from_json(require<nlohmann::json>(value, "expected", where), where + ", expected");
  try {
    Plan plan{graph, std::move(quant), std::move(routes), expected,
              require<std::string>(value, "why", where)};
    if (value.contains("input_transform")) {
      plan.input_transform = input_transform_from_json(value["input_transform"], where + ", input_transform");
    }
    if (value.contains("labels")) plan.labels = require<std::vector<std::string>>(value, "labels", where);
    return plan;
  } catch (const Error& e) {
    if (e.code() != Errc::bad_argument) throw;
    throw Error{Errc::bad_file, where + ": " + e.what()};
  }
}

}  // namespace splitcnn::inline v0
