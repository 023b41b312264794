#pragma once
/// Plans as JSON, for plan files and for files that contain a plan.
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "splitcnn/plan.hpp"

namespace splitcnn::inline v0 {

nlohmann::json plan_to_json(const Plan& plan);
/// Throws bad_file, mismatch naming `where`.
Plan plan_from_json(const nlohmann::json& value, const std::string& where, const Graph& graph, std::optional<QuantizedGraph> quant);

}  // namespace splitcnn::inline v0
