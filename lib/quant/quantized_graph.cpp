#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <tuple>

#include "core/json_file.hpp"
#include "quant/fix_point.hpp"
#include "quant/weight_file.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr const char* format_name = "splitcnn-calibration";
constexpr int format_version = 1;

auto key(const WeightQuant& w) { return std::tuple{w.node, w.folded_through, w.equalised_in, w.equalised_out}; }

bool in_range(int fix_point) { return std::abs(fix_point) <= fix_point_limit; }

int read_fix_point(const nlohmann::json& value, const char* name, const std::string& where) {
  const auto fp = require<std::int64_t>(value, name, where);
  if (fp < -fix_point_limit || fp > fix_point_limit) {
    throw Error{Errc::bad_file, fmt::format("{}: '{}' is {}; a fix point is -{} to {}", where, name, fp, fix_point_limit, fix_point_limit)};
  }
  return static_cast<int>(fp);
}

NodeId read_node(const nlohmann::json& value, const char* name, const Graph& graph, const std::string& where) {
  const auto wanted = require<std::string>(value, name, where);
  const auto nodes = graph.nodes();
  const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.name == wanted; });
  if (found == nodes.end()) throw Error{Errc::bad_file, fmt::format("{}: '{}' names the node '{}' which the graph does not have", where, name, wanted)};
  return static_cast<NodeId>(found - nodes.begin());
}

std::vector<int> read_tensors(const nlohmann::json& part, const Graph& graph, const std::string& where) {
  const auto object = require<nlohmann::json>(part, "fix_points", where);
  if (!object.is_object()) throw Error{Errc::bad_file, where + ": 'fix_points' must be an object of tensor names"};
  std::vector<int> fix_points(graph.tensors().size(), 0);
  for (TensorId t = 0; t < fix_points.size(); ++t) {
    const GraphTensor& tensor = graph.tensor(t);
    if (!tensor.constant) fix_points[t] = read_fix_point(object, tensor.name.c_str(), where + ": fix_points");
  }
  return fix_points;
}

constexpr float largest_factor = 65536;

bool counts_channels(const Graph& graph, TensorId tensor, std::size_t count) {
  const Shape& shape = graph.tensor(tensor).shape;
  return shape.rank() >= 2 && static_cast<std::int64_t>(count) == shape[1];
}

void check_moments(const Graph& graph, const std::vector<ChannelMoments>& moments) {
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const ChannelMoments& m = moments[i];
    bool fits = (i == 0 || moments[i - 1].tensor < m.tensor) && m.tensor < graph.tensors().size() && counts_channels(graph, m.tensor, m.mean.size()) &&
                m.mean.size() == m.variance.size();
    for (std::size_t c = 0; fits && c < m.mean.size(); ++c) fits = std::isfinite(m.mean[c]) && std::isfinite(m.variance[c]) && m.variance[c] >= 0;
    if (!fits) throw Error{Errc::bad_argument, fmt::format("QuantizedGraph: moments entry {} does not fit '{}'", i, graph.name())};
  }
}

void check_scales(const Graph& graph, const std::vector<ChannelScale>& scales) {
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const ChannelScale& s = scales[i];
    const std::size_t nodes = graph.nodes().size();
    bool fits = (i == 0 || scales[i - 1].tensor < s.tensor) && s.tensor < graph.tensors().size() && s.first < s.last && s.last <= nodes &&
                in_range(s.fix_point);
    if (fits) {
      fits = counts_channels(graph, s.tensor, s.factors.size());
      for (const float f : s.factors) fits = fits && f >= 1 / largest_factor && f <= largest_factor;
    }
    if (!fits) throw Error{Errc::bad_argument, fmt::format("QuantizedGraph: equalisation entry {} does not fit '{}'", i, graph.name())};
  }
}

TensorId read_tensor(const nlohmann::json& value, const Graph& graph, const std::string& where) {
  const auto name = require<std::string>(value, "tensor", where);
  const auto tensor = graph.find_tensor(name);
  if (!tensor) throw Error{Errc::bad_file, fmt::format("{}: 'tensor' names '{}' which the graph does not have", where, name)};
  return *tensor;
}

std::vector<ChannelMoments> read_moments(const nlohmann::json& part, const Graph& graph, const std::string& where) {
  const auto list = require<nlohmann::json>(part, "moments", where);
  if (!list.is_array()) throw Error{Errc::bad_file, where + ": 'moments' must be a list"};
  std::vector<ChannelMoments> moments;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}: moments[{}]", where, i);
    moments.push_back({read_tensor(list[i], graph, at), require<std::vector<float>>(list[i], "mean", at),
                       require<std::vector<float>>(list[i], "variance", at)});
  }
  std::sort(moments.begin(), moments.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  return moments;
}

std::vector<ChannelScale> read_scales(const nlohmann::json& part, const Graph& graph, const std::string& where) {
  const auto list = require<nlohmann::json>(part, "equalisation", where);
  if (!list.is_array()) throw Error{Errc::bad_file, where + ": 'equalisation' must be a list"};
  std::vector<ChannelScale> scales;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}: equalisation[{}]", where, i);
    scales.push_back({read_tensor(list[i], graph, at), read_node(list[i], "first", graph, at), read_node(list[i], "last", graph, at) + 1,
                      read_fix_point(list[i], "fix_point", at),
                      require<std::vector<float>>(list[i], "factors", at)});
  }
  std::sort(scales.begin(), scales.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  return scales;
}

/// What a file says may contradict itself: then the file is at fault, not the caller.
QuantizedGraph from_file(const Graph& graph, std::vector<int> fix_points, std::vector<WeightQuant> weights, bool synthetic,
                         std::vector<ChannelScale> scales, std::vector<ChannelMoments> moments, const std::string& where) {
  try {
    return {graph, std::move(fix_points), std::move(weights), synthetic, std::move(scales), std::move(moments)};
  } catch (const Error& e) {
    throw Error{Errc::bad_file, where + ": " + e.what()};
  }
}

}  // namespace

bool operator==(const WeightQuant& a, const WeightQuant& b) {
  const bool same_bytes = a.tuned == b.tuned || (a.tuned && b.tuned && *a.tuned == *b.tuned);
  return key(a) == key(b) && a.weight_fix_point == b.weight_fix_point && a.bias_fix_point == b.bias_fix_point && same_bytes;
}

QuantizedGraph::QuantizedGraph(Graph graph, std::vector<int> fix_points, std::vector<WeightQuant> weights, bool synthetic,
                               std::vector<ChannelScale> scales, std::vector<ChannelMoments> moments)
    : graph_{std::move(graph)}, fix_points_{std::move(fix_points)}, weights_{std::move(weights)}, scales_{std::move(scales)},
      moments_{std::move(moments)}, synthetic_{synthetic} {
  if (fix_points_.size() != graph_.tensors().size()) {
    throw Error{Errc::bad_argument, fmt::format("QuantizedGraph: {} fix points for the {} tensors of '{}'; give one for each", fix_points_.size(),
                                                graph_.tensors().size(), graph_.name())};
  }
  const bool sorted = std::is_sorted(weights_.begin(), weights_.end(), [](const auto& a, const auto& b) { return key(a) < key(b); });
  if (!sorted) throw Error{Errc::bad_argument, "QuantizedGraph: weights are not sorted by (node, folded_through); sort them"};
  for (std::size_t t = 0; t < fix_points_.size(); ++t) {
    if (!in_range(fix_points_[t])) {
      throw Error{Errc::bad_argument, fmt::format("QuantizedGraph: fix point {} of '{}' is outside [-{}, {}]", fix_points_[t],
                                                  graph_.tensors()[t].name, fix_point_limit, fix_point_limit)};
    }
  }
  for (const WeightQuant& w : weights_) {
    if (w.node >= graph_.nodes().size() || w.folded_through >= graph_.nodes().size() || !in_range(w.weight_fix_point) || !in_range(w.bias_fix_point)) {
      throw Error{Errc::bad_argument, fmt::format("QuantizedGraph: the weights entry (node {}, through {}) does not fit '{}'", w.node,
                                                  w.folded_through, graph_.name())};
    }
  }
  check_scales(graph_, scales_);
  check_moments(graph_, moments_);
}

const WeightQuant& QuantizedGraph::weight(NodeId node, NodeId folded_through, bool equalised_in, bool equalised_out) const {
  const auto wanted = std::tuple{node, folded_through, equalised_in, equalised_out};
  const auto at = std::lower_bound(weights_.begin(), weights_.end(), wanted,
                                   [](const WeightQuant& w, const auto& k) { return key(w) < k; });
  if (at == weights_.end() || key(*at) != wanted) {
    const auto nodes = graph_.nodes();
    throw Error{Errc::mismatch, fmt::format("node '{}' folded up to '{}': the calibration has no weights for it; calibrate again",
                                            node < nodes.size() ? nodes[node].name : "?",
                                            folded_through < nodes.size() ? nodes[folded_through].name : "?")};
  }
  return *at;
}

const ChannelScale* QuantizedGraph::channel_scale(TensorId id) const noexcept {
  const auto at = std::lower_bound(scales_.begin(), scales_.end(), id, [](const ChannelScale& s, TensorId t) { return s.tensor < t; });
  return at != scales_.end() && at->tensor == id ? &*at : nullptr;
}

const ChannelMoments* QuantizedGraph::moments(TensorId id) const noexcept {
  const auto at = std::lower_bound(moments_.begin(), moments_.end(), id, [](const ChannelMoments& m, TensorId t) { return m.tensor < t; });
  return at != moments_.end() && at->tensor == id ? &*at : nullptr;
}

void QuantizedGraph::save(const std::filesystem::path& json) const {
  nlohmann::json fix_points = nlohmann::json::object();
  for (TensorId t = 0; t < fix_points_.size(); ++t) {
    if (!graph_.tensor(t).constant) fix_points[graph_.tensor(t).name] = fix_points_[t];
  }
  nlohmann::json weights = nlohmann::json::array();
  for (const WeightQuant& w : weights_) {
    weights.push_back({{"node", graph_.nodes()[w.node].name},
                       {"folded_through", graph_.nodes()[w.folded_through].name},
                       {"weight_fix_point", w.weight_fix_point},
                       {"bias_fix_point", w.bias_fix_point},
                       {"equalised", {w.equalised_in, w.equalised_out}}});
  }
  nlohmann::json scales = nlohmann::json::array();
  for (const ChannelScale& s : scales_) {
    scales.push_back({{"tensor", graph_.tensor(s.tensor).name},
                      {"first", graph_.nodes()[s.first].name},
                      {"last", graph_.nodes()[s.last - 1].name},
                      {"fix_point", s.fix_point},
                      {"factors", s.factors}});
  }
  nlohmann::json moments = nlohmann::json::array();
  for (const ChannelMoments& m : moments_) {
    moments.push_back({{"tensor", graph_.tensor(m.tensor).name}, {"mean", m.mean}, {"variance", m.variance}});
  }
  nlohmann::json about = save_tuned(json, weights_, weights);
  nlohmann::json file = nlohmann::json::object();
  std::error_code ignored;
  if (std::filesystem::exists(json, ignored)) file = read_json(json);
  if (!file.is_object()) throw Error{Errc::bad_file, json.string() + ": is not a JSON object; give another file name"};
  file["calibration"] = {{"format", format_name}, {"version", format_version}, {"graph", graph_.name()},
                         {"graph_hash", graph_.hash()}, {"synthetic", synthetic_}, {"fix_points", std::move(fix_points)},
                         {"weights", std::move(weights)}, {"equalisation", std::move(scales)},
                         {"moments", std::move(moments)}};
  if (!about.is_null()) file["calibration"]["tuned"] = std::move(about);
  write_json(json, file);
}

QuantizedGraph QuantizedGraph::load(const Graph& graph, const std::filesystem::path& json) {
  const nlohmann::json file = read_json(json);
  const auto part = require<nlohmann::json>(file, "calibration", json.string());
  const std::string where = json.string() + ": calibration";
  check_format(part, format_name, format_version, where);
  const auto hash = require<std::string>(part, "graph_hash", where);
  if (hash != graph.hash()) {
    throw Error{Errc::mismatch, fmt::format("{}: was made for graph {} and this is {} ('{}'); calibrate this model", where, hash, graph.hash(), graph.name())};
  }
  std::vector<int> fix_points = read_tensors(part, graph, where);
  std::vector<WeightQuant> weights;
  const auto list = require<nlohmann::json>(part, "weights", where);
  if (!list.is_array()) throw Error{Errc::bad_file, where + ": 'weights' must be a list"};
  const TunedFile tuned{json, part.value("tuned", nlohmann::json{})};
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}: weights[{}]", where, i);
    weights.push_back({read_node(list[i], "node", graph, at), read_node(list[i], "folded_through", graph, at),
                       read_fix_point(list[i], "weight_fix_point", at), read_fix_point(list[i], "bias_fix_point", at)});
    const auto equalised = require<std::vector<bool>>(list[i], "equalised", at);
    if (equalised.size() != 2) throw Error{Errc::bad_file, at + ": 'equalised' must be two booleans"};
    weights.back().equalised_in = equalised[0];
    weights.back().equalised_out = equalised[1];
    weights.back().tuned = tuned.at(list[i], at);
  }
  std::sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) { return key(a) < key(b); });
  return from_file(graph, std::move(fix_points), std::move(weights), require<bool>(part, "synthetic", where), read_scales(part, graph, where),
                   read_moments(part, graph, where), where);
}

}  // namespace splitcnn::inline v0
