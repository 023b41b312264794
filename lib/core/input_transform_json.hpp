#pragma once
/// InputTransform as JSON: the same words in plan files and in the sidecar.
#include <nlohmann/json.hpp>
#include <string>

#include "splitcnn/input_transform.hpp"

namespace splitcnn::inline v0 {

/// {"resize": "center_crop", "sampling": "bilinear", "order": "rgb", "short_side": 256, "border": 128,
/// "mean": [..], "scale": [..]}
nlohmann::json input_transform_to_json(const InputTransform& transform);
/// Throws bad_file naming `where` (file and key). Every key but "resize" may be missing and then has its
/// default.
InputTransform input_transform_from_json(const nlohmann::json& value, const std::string& where);

}  // namespace splitcnn::inline v0
